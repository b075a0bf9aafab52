"""Corrections after quantization, without labels: the parent of `worker.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeq.children.child import Child, time_limit_s
from edgeq.children.framing import write_sample
from edgeq.converters.calibration.calibrate import Inputs, batches
from edgeq.errors import QuantizationError, UsageError, unknown_name
from edgeq.values import CORRECTIONS, FloatModel, LayerCorrection

OF_LAYERS = CORRECTIONS[2:-1]  # layer by layer, by `Corrector`

MOST_ROWS = 8192  # positions of a layer to fit and check on

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def parse_corrections(text: str) -> tuple[str, ...]:
    """The names in `--corrections`: "auto" means all, "none" an empty tuple.

    Raises:
        UsageError: an unknown name.
    """
    if text in ("auto", "all"):
        return CORRECTIONS
    names = () if text == "none" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name in ("auto", "all", "none"):
            raise UsageError(
                f"--corrections {text} combines {name!r} with other corrections.",
                hint=f"Pass {name!r} alone, or remove it.",
            )
        if name not in CORRECTIONS:
            use = f"auto, none or some of {', '.join(CORRECTIONS)}"
            raise unknown_name("correction", name, CORRECTIONS, use=use)
    return names


class Corrector:
    """The child process that will correct a model, started early, while others work.

    Args:
        folder: its own working folder.
        threads: of each of its two interpreters.
    """

    def __init__(self, folder: Path, threads: int = 1):
        self._folder, self._threads = folder, threads
        self._child = Child(
            ["edgeq.converters.corrections.worker"],
            folders=[folder],
            environment=dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            feed=True,
        )

    def __enter__(self) -> Corrector:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def correct(
        self,
        model: FloatModel,
        quantized: bytes,
        samples: Iterable[Inputs],
        corrections: Sequence[str],
        most_rows: int = MOST_ROWS,
    ) -> tuple[bytes, tuple[LayerCorrection, ...]]:
        """Give each layer the integers that reproduce the float model's outputs best.

        Layers are corrected in execution order, each on the outputs of the corrected ones before
        it, and each change is kept only where it lowers the error on every fourth sample, which was
        kept apart when it was made. A corrector corrects once.

        Args:
            model: the float model that was quantized.
            quantized: the flatbuffer that was made from it.
            samples: input name to array without batch dimension, real units; all are held in
                memory together with the activations of the layers at work.
            corrections: names in `OF_LAYERS`.
            most_rows: positions of a layer to fit and check on.

        Returns:
            The flatbuffer, and what was done to each layer.

        Raises:
            QuantizationError: the interpreter refused an operator, died, or took longer than
                `time_limit_s`.
        """
        names = ("quantized", "result", "report")
        paths = {name: self._folder / f"correct-{name}" for name in names}
        paths["quantized"].write_bytes(quantized)
        job = {
            **{name: str(path) for name, path in paths.items()},
            "float": model.file.path,
            "corrections": list(corrections),
            "threads": self._threads,
            "rows": most_rows,
        }
        child, limit_s = self._child, time_limit_s()
        with child.feeding() as stream:
            stream.write(json.dumps(job).encode() + b"\n")
            for arrays in batches(iter(samples), model.inputs):
                with child.limited(limit_s):
                    write_sample(stream, [arrays[spec.name] for spec in model.inputs])
        with child.limited(limit_s):
            status = child.wait()
        if status != 0:
            last = child.last_line(f"it {child.ending}.")
            raise QuantizationError(
                f"The quantized model cannot be corrected: {last}",
                hint=child.hint("Pass --corrections none to leave it as the quantizer made it."),
                details=child.log(),
            )
        report = json.loads(paths["report"].read_text("utf-8"))
        return paths["result"].read_bytes(), tuple(LayerCorrection(**entry) for entry in report)
