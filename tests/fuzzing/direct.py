"""Readers that no cheap command reaches, called as the commands call them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

# Longer takes no small model.
MOST_S = 90


def journal(path: str) -> None:
    """What `edgeq tune` reads first; outcomes are looked up as its trials are."""
    import json

    from edgeq.tuning.journal import Journal
    from edgeq.values import Recipe

    first = Path(path).read_bytes().split(b"\n", 1)[0]
    try:
        plain = json.loads(first)
    except (ValueError, RecursionError):
        plain = {}
    identity = {k: v for k, v in plain.items() if k != "schema"} if isinstance(plain, dict) else {}
    opened = Journal(Path(path), identity)
    opened.known("search", Recipe("minmax", False, "channel"))
    opened.close()


def state(path: str) -> None:
    """What `edgeq run` reads first, and what it removes by it."""
    from edgeq.pipeline.state import State

    folder = Path(path).parent
    outputs = [folder / "tiny.tflite", folder / "tiny.tflite.json"]
    found = State(Path(path))
    for name in ("baseline", "convert", "compare local", "gate"):
        found.why(name, {"a": 1}, outputs)
    found.withdraw((), folder)


def torch_archive(path: str) -> None:
    """What is looked at before PyTorch is started."""
    from edgeq.converters.lowering.model_kinds import identify
    from edgeq.converters.safe_reading.torch_archive import refuse_code

    if identify(Path(path)) == "torch":
        refuse_code(Path(path))


def learned_ranges(path: str) -> None:
    """What is looked at in a Keras file before TensorFlow is started."""
    from edgeq.converters.lowering.model_kinds import identify
    from edgeq.converters.training.learned_ranges import trained_granularity

    identify(Path(path))
    trained_granularity(Path(path))


def board(path: str) -> None:
    """The file that tells whether a virtual board runs."""
    from edgeq.device_runners.devices.emulated import VirtualBoard

    virtual = VirtualBoard(Path(path).parent)
    if virtual.pid is not None:
        raise RuntimeError("a process that is no board's was taken for one")


def labels(path: str) -> None:
    """Labels beside the pictures in `d`, each read for its picture."""
    from edgeq.converters.samples.label_files import LabelledData
    from edgeq.converters.samples.open_samples import open_samples
    from edgeq.values import TensorSpec

    picture = TensorSpec("image", (1, 8, 8, 1), "float32")
    for sample in open_samples(LabelledData("d", path), [picture]).iterate():
        if sample.label is None:
            raise RuntimeError(f"picture {sample.index} has no label")


def lowered(folder: str) -> None:
    """Many model files in one child of a framework; a new one when it dies."""
    import contextlib
    import signal
    import tempfile

    from edgeq.converters.lowering.exported_models import FRAMEWORKS, ExportedReader
    from edgeq.converters.lowering.framework_process import TensorFlowProcess
    from edgeq.converters.lowering.lower import FileReader
    from edgeq.converters.lowering.model_kinds import identify
    from edgeq.errors import EdgeqError, QuantizationError
    from edgeq.escaping import printable
    from edgeq.values import ConvertOptions

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    options, holder = ConvertOptions(), None
    with contextlib.ExitStack() as stack:
        for path in sorted(Path(folder).iterdir()):
            signal.alarm(MOST_S)
            with tempfile.TemporaryDirectory(prefix="edgeq-") as made:
                try:
                    kind = identify(path)
                    if kind in FRAMEWORKS:
                        holder = holder or stack.enter_context(ExportedReader(path, kind, options))
                        holder.path = path
                        holder.lower(options, Path(made))
                    else:
                        holder = holder or stack.enter_context(TensorFlowProcess())
                        FileReader(path, kind, holder).lower(options, Path(made))
                    print(f"{path.name}: lowered", flush=True)
                except (EdgeqError, TimeoutError) as error:
                    told = "late" if isinstance(error, TimeoutError) else f"refused: {error}"
                    print(printable(f"{path.name}: {told}"), flush=True)
                    # The child died of it, or is still at it.
                    if isinstance(error, (QuantizationError, TimeoutError)):
                        signal.alarm(0)
                        stack.close()
                        holder = None
    signal.alarm(0)


READERS: dict[str, Callable[[str], None]] = {
    reader.__name__: reader
    for reader in (journal, state, torch_archive, learned_ranges, board, labels, lowered)
}


def main(name: str, path: str) -> None:
    """Run a reader as `edgeq` would, with its way to tell errors."""
    from edgeq.cli.printing import show_error
    from edgeq.errors import EdgeqError

    try:
        READERS[name](path)
    except EdgeqError as error:
        show_error(error, in_full=False)
        sys.exit(error.exit_code)
    sys.exit(0)
