"""`edgeq convert`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import (
    data_options,
    emit,
    output_options,
    progress_display,
    read_source,
    recurrent_option,
    source_options,
    task_options,
)
from edgeq.cli.printing import say, say_written
from edgeq.cli.words import Choice, example
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.resolve_scheme import GRANULARITIES
from edgeq.values import (
    CALIBRATORS,
    CORRECTIONS,
    EFFORTS,
    LSTM_FORMS,
    WEIGHTS,
    ConvertOptions,
)
from edgeq.values.schemes import IO_DTYPES, SCHEMES


def read_options(given: Mapping[str, Any]) -> ConvertOptions:
    """The options of a conversion from the flags as click gives them."""
    return ConvertOptions(
        scheme=given["scheme"],
        io=given["io"],
        engine=given["engine"],
        granularity=given["granularity"],
        effort=given["effort"],
        calibrator=given["calibrator"],
        statistic=given["statistic"],
        corrections=given["corrections"],
        samples=given["samples"],
        seed=given["seed"],
        **read_source(given),
        allow_float=given["allow_float"],
        keep_float=given["keep_float"],
        int16=given["int16"],
        weights=given["weights"],
        int4=given["int4"],
        lstm=given["lstm"],
        recurrent=given["recurrent"],
        min_sqnr_db=given["min_sqnr"],
        max_drop_points=given["max_drop"],
        split_outputs=given["split_outputs"],
        metrics=given["metrics"],
        decode=given["decode"],
    )


@click.command(
    epilog=example(
        "edgeq convert model.keras --data samples.npz --preprocess scale=1/255 -o model.tflite"
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.tflite",
    required=True, help="The .tflite to write; its record is written beside it as OUT.tflite.json.",
)  # fmt: skip
@click.option(
    "--data", metavar="DATA",
    help="Representative dataset, a few hundred real samples for calibration: .npz, .npy, .csv, a "
    "folder of images, .npy or .wav files (or of class folders), or package.module:function that "
    "yields samples or returns a data set.",
)  # fmt: skip
@click.option("--test-data", metavar="DATA", help="Labelled samples to measure quality on.")
@task_options
@click.option(
    "--scheme", type=Choice(list(SCHEMES), case_sensitive=False), default="int8",
    show_default=True,
    help="Number types of the file. "
    + "; ".join(f"{scheme.name}: {scheme.summary}" for scheme in SCHEMES.values()) + ".",
)  # fmt: skip
@click.option(
    "--io", type=Choice(IO_DTYPES),
    help="Number type of the file's inputs and outputs.  [default: int8 with --scheme int8, "
    "int16 with int16x8, float32 with the others]",
)  # fmt: skip
@click.option(
    "--split-outputs", is_flag=True,
    help="Make each part that an output joins (boxes beside scores) an output with its own scale; "
    "edgeq joins them again.",
)  # fmt: skip
@click.option("--engine", default="edgeq", hidden=True)  # of edgeq 0.1
@click.option(
    "--granularity", default="channel", show_default=True, metavar="|".join(GRANULARITIES),
    help="Weights share a scale per output channel, per tensor, or per block of inputs: "
    "smaller groups lose less.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N",
    help="Number of calibration samples.  [default: up to 256; others are held out to measure on]",
)  # fmt: skip
@data_options
@click.option(
    "--calibrator", type=Choice(CALIBRATORS), default="edgeq", show_default=True,
    help="What measures the ranges: edgeq, or TensorFlow's TFLiteConverter.",
)  # fmt: skip
@click.option(
    "--statistic", default="auto", show_default=True, metavar="NAME",
    help="How the range of a tensor follows from its values in calibration: minmax, mean-minmax, "
    "percentile:P (P from 50 to 100, such as 99.99), mse, entropy, or auto, which keeps the one "
    "with the best outputs.",
)  # fmt: skip
@click.option(
    "--corrections", default="auto", show_default=True, metavar="NAMES",
    help="What may be changed after quantization to lower the error, without labels; kept only if "
    "it does: none, auto, or some of " + ",".join(CORRECTIONS) + ".",
)  # fmt: skip
@click.option(
    "--effort", type=Choice(EFFORTS), default="balanced", show_default=True,
    help="How long to look for a good file. fast: one try. balanced: several statistics and "
    "corrections. best: more of them.",
)  # fmt: skip
@source_options
@click.option(
    "--keep-float", multiple=True, metavar="SELECTOR",
    help="Keep operators in float: a regular expression on their names (layer names begin them), "
    "or type:CONV_2D. Repeat for several.",
)  # fmt: skip
@click.option(
    "--int16", multiple=True, metavar="SELECTOR",
    help="Give operators INT16 activations; selectors as for --keep-float.",
)  # fmt: skip
@click.option(
    "--weights", type=Choice(WEIGHTS), default="int8", show_default=True,
    help="With --scheme int8: int4 stores the weights of all convolutions and fully connected "
    "layers in INT4. Such convolutions are slower on CPUs.",
)  # fmt: skip
@click.option(
    "--int4", multiple=True, metavar="SELECTOR",
    help="Store the weights of some layers in INT4; selectors as for --keep-float.",
)  # fmt: skip
@click.option(
    "--lstm", type=Choice(LSTM_FORMS), default="auto", show_default=True,
    help="Form of the LSTM layers of Keras and PyTorch with INT8: fused: one operator each, with "
    "INT16 cell state. unrolled: the operators of every step. auto: measure both, keep the better.",
)  # fmt: skip
@recurrent_option
@click.option("--allow-float", is_flag=True, help="Accept a file with float operators left in it.")
@click.option(
    "--min-sqnr", type=float, metavar="DB", help="Fail if the outputs' SQNR is below this (exit 3)."
)
@click.option(
    "--max-drop", type=float, metavar="POINTS",
    help="Fail if accuracy, or the first --metric, gets worse by more points than this (exit 3).",
)  # fmt: skip
@output_options
def command(model: Path, output: Path, **given: Any) -> None:
    """Convert MODEL to a quantized .tflite, prove what the file is, and measure what it lost.

    MODEL is a .keras or .h5 file, a SavedModel folder, a .pt2 file of torch.export.save, an .onnx
    file, or a float .tflite. Most models need --data and --preprocess only: the defaults of the
    other options are good for most.

    Exit status: 0 if the file is as requested, 1 if it cannot be made, 3 if it misses
    --min-sqnr or --max-drop.
    """
    options = read_options(given)
    with ExitStack() as stack:
        tensorflow = None
        if model.suffix != ".tflite":
            # Its import is the longest step of all: it begins before our own imports.
            tensorflow = stack.enter_context(TensorFlowProcess(verbose=given["verbose"]))
        from edgeq import api
        from edgeq.render.conversion import show_conversion

        show = stack.enter_context(progress_display())
        result = api.convert(
            model,
            output,
            data=given["data"],
            test_data=given["test_data"],
            labels=given["labels"],
            preprocess=given["preprocess"],
            options=options,
            verbose=given["verbose"],
            on_progress=show,
            on_note=lambda text: say(f"note: {text}", err=True),
            tensorflow=tensorflow,
        )
    emit("convert", result, show_conversion(result), as_json=given["as_json"])
    if not given["as_json"]:
        say_written(output)
