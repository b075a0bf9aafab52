"""Options that several commands share, and how a command shows its progress and result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeq import progress
from edgeq.cli.printing import say, show, show_json
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import Choice
from edgeq.device_runners.devices.kinds import EXAMPLES
from edgeq.errors import UsageError
from edgeq.escaping import printable
from edgeq.files import storage
from edgeq.progress import OnProgress
from edgeq.values import LAYOUTS, RECURRENT_DTYPES

Command = TypeVar("Command", bound=Callable[..., Any])


def _stack(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several option decorators as one, shown in `--help` in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


data_options = _stack(
    click.option(
        "--preprocess",
        multiple=True,
        metavar="SPEC",
        help="How raw samples become inputs: scale=1/255, mean=..., std=..., resize=224x224, "
        "letterbox=640x640, channels=bgr, exif=apply, a keras.applications family such as "
        "mobilenet_v2, or for sounds sound=log-mel,rate=16000,window=480,hop=320,bands=40. "
        "Parts are separated by commas: resize=64x64,scale=1/127.5,offset=-1 for pictures; values "
        "become (x * scale + offset - mean) / std. Repeat with NAME:SPEC for several inputs.",
    ),
    click.option("--seed", default=0, show_default=True, help="Seed for choosing samples."),
)

task_options = _stack(
    click.option(
        "--metric", "metrics", multiple=True, metavar="NAME",
        help="Metric of the task. Classes: accuracy (top1), topN, f1, auc, eer (equal error rate); "
        "boxes: map, map@IOU; masks: miou; keypoints: pck@SHARE; numbers: r2, mae, rmse, mse; or "
        "your own module:function. Repeat for several. By default chosen from the labels.",
    ),
    click.option(
        "--labels", metavar="PATH", type=click.Path(path_type=Path),
        help="Labels beside the samples: a COCO JSON file, a folder of YOLO text files or of mask "
        "images, a CSV file of file names and values, an .npy file.",
    ),
    click.option(
        "--decode", metavar="SPEC",
        help="How boxes are read from the outputs: boxes=cxcywh|xywh|xyxy|yxyx, unit=pixels, "
        "scores=sigmoid|softmax|listed, objectness=yes, background=first|last, iou=0.5, "
        "min_score=0.01.",
    ),
)  # fmt: skip

recurrent_option = click.option(
    "--recurrent",
    type=Choice(RECURRENT_DTYPES),
    default="int16",
    show_default=True,
    help="Activations inside unrolled recurrent layers with INT8. int8 is faster on CPUs with "
    "XNNPACK, and less accurate, because errors add up over the steps.",
)
samples_option = click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="Number of samples to use."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Parallel runs; all cores by default.",
)

input_options = _stack(
    click.option(
        "--input-shape",
        "shapes",
        multiple=True,
        metavar="NAME=D,D,...",
        help="Fix dynamic dimensions of an input; ? keeps one dynamic.",
    ),
    click.option(
        "--fix-input",
        "fixed",
        multiple=True,
        metavar="NAME=VALUE",
        help="Make a constant of an input of an .onnx model, e.g. sr=16000.",
    ),
)

source_options = _stack(
    click.option("--batch", metavar="N|dynamic", help="Fix the batch size.  [default: 1]"),
    input_options,
    click.option(
        "--outputs",
        multiple=True,
        metavar="TENSOR",
        help="Cut the model off at these tensors, for example before it suppresses boxes.",
    ),
    click.option(
        "--signature", metavar="NAME", help="Signature to convert, if the SavedModel has several."
    ),
    click.option(
        "--custom-objects",
        multiple=True,
        metavar="module:NAME",
        help="Custom layers and functions that the model file uses.",
    ),
    click.option(
        "--unsafe-deserialization",
        is_flag=True,
        help="Run code stored in the model file (Lambda layers). Only for files you trust.",
    ),
    click.option(
        "--layout",
        type=Choice(LAYOUTS),
        default="source",
        show_default=True,
        help="Image layout of .pt2 and .onnx inputs. source: as in the file (channels first); "
        "nhwc: channels last.",
    ),
    click.option(
        "--torch-python", metavar="PATH", help="The Python that has litert-torch, for .pt2."
    ),
    click.option("--onnx-python", metavar="PATH", help="The Python that has onnx2tf, for .onnx."),
)

runtime_option = click.option(
    "--runtime",
    type=Choice(["ai-edge-litert", "tflite-runtime", "tensorflow"]),
    help="Runtime to use; the first one found by default.",
)

run_options = _stack(
    click.option(
        "--device",
        "devices",
        multiple=True,
        default=("local",),
        show_default=True,
        metavar="DEVICE",
        callback=trusting,
        help=f"Where to run: {EXAMPLES}, a name of `edgeq devices`. Several (repeated, or "
        "separated by commas) run at the same time.",
    ),
    trust_option,
    click.option(
        "--threads",
        default=1,
        show_default=True,
        type=click.IntRange(1, 256),
        metavar="N",
        help="Threads that compute one inference.",
    ),
    click.option(
        "--python",
        type=click.Path(path_type=Path),
        help="Interpreter to run the model with, e.g. of an environment with tflite-runtime.",
    ),
    runtime_option,
)

output_options = _stack(
    click.option("--json", "as_json", is_flag=True, help="Print the record alone, as JSON."),
    click.option("-v", "--verbose", is_flag=True, help="Also show the output of the libraries."),
)

record_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="RECORD.json",
    help="Write the record to a file.",
)


def parse_batch(text: str | None) -> int | None:
    """`--batch`: a size, or "dynamic" (0).

    Raises:
        UsageError: neither.
    """
    if text is None:
        return None
    if text == "dynamic":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch {text!r} is neither a positive number nor 'dynamic'.")
    return int(text)


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`--input-shape NAME=1,224,224,3`, with ? for a dynamic size.

    Raises:
        UsageError: not of that form.
    """
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(-1 if size == "?" else int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or any(size < 1 and size != -1 for size in shape):
        raise UsageError(
            f"--input-shape {text!r} cannot be read.", hint="Write NAME=1,224,224,3 (? = dynamic)."
        )
    return name, shape


def parse_fixed(text: str) -> tuple[str, float]:
    """`--fix-input NAME=VALUE`.

    Raises:
        UsageError: not of that form.
    """
    name, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise UsageError(f"--fix-input {text!r} cannot be read.", hint="Write NAME=16000.")
    return name, number


def read_inputs(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ConvertOptions` that `input_options` decide.

    Raises:
        UsageError: one cannot be read.
    """
    return {
        "input_shapes": tuple(map(parse_shape, given["shapes"])),
        "fixed_inputs": tuple(map(parse_fixed, given["fixed"])),
    }


def read_source(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ConvertOptions` that `source_options` decide.

    Raises:
        UsageError: one cannot be read.
    """
    return {
        "batch": parse_batch(given["batch"]),
        **read_inputs(given),
        "custom_objects": given["custom_objects"],
        "trusted": given["unsafe_deserialization"],
        "outputs": given["outputs"],
        "signature": given["signature"],
        "layout": given["layout"],
        "torch_python": given["torch_python"],
        "onnx_python": given["onnx_python"],
    }


@contextmanager
def progress_display() -> Iterator[OnProgress]:
    """Show a progress line on stderr during long work; in a log, one line from time to time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal or console.is_dumb_terminal:
        yield progress.now_and_then(lambda text: say(text, err=True), progress.LINES_S)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    # What is printed meanwhile goes above the line, unless it goes to a file: then it stays there.
    above = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=above) as bar:
        task = bar.add_task("start", total=None)
        current = [""]

        def tell(step: str, done: int, total: int | None) -> None:
            if step != current[0]:
                current[0] = step
                bar.reset(task, description=printable(step), total=total)
            bar.update(task, completed=done, total=total)

        yield tell


def emit(kind: str, value: Any, text: str, *, as_json: bool, output: Path | None = None) -> None:
    """Write the record to the user's path, and show the result as text or as the record."""
    if output is not None:
        with storage.replacing(output) as target:
            storage.write_record(target, kind, value)
    if as_json:
        show_json(storage.record_json(kind, storage.to_plain(value), storage.find_issues(value)))
    else:
        show(text)


def run_on_devices(
    kind: str,
    given: Mapping[str, Any],
    work: Callable[[str, OnProgress], Any],
    show_result: Callable[[Any], str],
) -> None:
    """One device gives its own result; several give one table, and status 1 if one failed.

    Args:
        work: the run on one device.
        show_result: a single device's result as text.

    Raises:
        UsageError: an unknown device, or one interpreter for several.
        EdgeqError: the run on the only device failed.
    """
    from edgeq.devices.fleet import run_fleet, split_names
    from edgeq.render.fleet import show_fleet

    names = split_names(given["devices"])
    if len(names) > 1 and given["python"] is not None:
        raise UsageError(
            f"--python {given['python']} cannot be meant for {len(names)} devices.",
            hint="Name the interpreter with the device: edgeq devices add NAME ADDRESS --python P",
        )
    with progress_display() as tell:
        result = work(names[0], tell) if len(names) == 1 else run_fleet(kind, names, work, tell)
    single = len(names) == 1
    body = {"evaluations": result} if single and isinstance(result, tuple) else result
    emit(
        kind if single else f"fleet-{kind}",
        body,
        (show_result if single else show_fleet)(result),
        as_json=given["as_json"],
        output=given["output"],
    )
    if not single and not result.is_complete:
        raise SystemExit(1)


def guard_output(
    output: Path | None,
    *sources: Any,
    ending: str = ".json",
    what: str = "a record, which is JSON",
    option: str = "-o",
) -> None:
    """Refuse, before any work, an output that would replace a model or the data.

    Args:
        output: by default a record.
        sources: the files that are read.
        ending: of this kind of output.
        what: its kind.
        option: what named it.

    Raises:
        UsageError: it would, or does not have the ending.
        OutputError: it cannot be written.
    """
    if output is not None:
        storage.refuse_overwriting(output, sources)
        storage.refuse_ending(output, ending, what, option)
        storage.require_writable(output)
