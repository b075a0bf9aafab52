"""Write the `edgeq.toml` of a model for `edgeq init`, with all that the model itself shows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeq.accuracy.inference import read_interface
from edgeq.conversion.convert import float_tflite
from edgeq.conversion.file_metadata import read_preprocessing
from edgeq.converters.lowering import lower
from edgeq.converters.lowering.model_kinds import identify
from edgeq.converters.samples.input_shapes import show_shape
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.converters.samples.references import is_function_reference
from edgeq.converters.training.learned_ranges import trained_granularity
from edgeq.device_runners.devices.registry import PROJECT_FILE
from edgeq.errors import DataError, UsageError, nearest_path
from edgeq.escaping import printable, toml_string
from edgeq.files import scratch, storage
from edgeq.files.kinds import KINDS
from edgeq.files.reading import model_path
from edgeq.packaging.targets import NAMES as TARGETS
from edgeq.project import read_project
from edgeq.values import ConvertOptions, TensorSpec
from edgeq.values.schemes import SCHEMES


@dataclass(frozen=True)
class Outline:
    """The properties of a model that its file shows.

    Attributes:
        kind: of the file, for people.
        preprocess: `--preprocess` texts, declared or carried by the file.
        trained: granularity of quantization-aware training, None without.
    """

    kind: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: tuple[str, ...]
    trained: str | None


def init(
    model: str | Path,
    output: str | Path = PROJECT_FILE,
    *,
    data: str | None = None,
    test_data: str | None = None,
    preprocess: Sequence[str] = (),
    force: bool = False,
    options: ConvertOptions | None = None,
) -> None:
    """Write a commented `edgeq.toml` for a model, as `edgeq init` does.

    Args:
        model: path of a model for `convert`; its inputs and outputs are read.
        output: the file to write.
        data: path or "module:function" of the representative dataset.
        test_data: the same of the labelled samples.
        preprocess: `--preprocess` texts, e.g. "scale=1/255".
        force: replace an existing file.
        options: how to read the model.

    Raises:
        UsageError: the file exists, or `preprocess` is wrong.
        EdgeqError: the model or the data cannot be read.
    """
    source = model_path(model, 'Save it first: model.save("model.keras")')
    target = Path(output)
    require_new(target, source, force)
    chosen = options or ConvertOptions()
    outline = look_at(source, preprocess, chosen)
    text = write_outline(
        outline, source, target.parent, data=data, test_data=test_data, options=chosen
    )
    storage.write_atomically(target, text.encode())


def require_new(output: Path, model: Path, force: bool) -> None:
    """Refuse to replace a file that was not meant.

    Raises:
        UsageError: it exists, or has the ending of another kind of file.
        OutputError: it cannot be written.
    """
    storage.refuse_overwriting(output, [model])
    storage.refuse_ending(output, ".toml", "the file of a project")
    if output.exists() and not force:
        hint = "Replace it with --force, or choose another -o."
        if set(read_project(output).sections) <= {"devices"}:
            typed = f"edgeq init {shlex.quote(str(model))} -o - >> {shlex.quote(str(output))}"
            hint = f"It has only [devices]; add the rest: {typed}"
        raise UsageError(f"{output} already exists.", hint=hint)
    storage.require_writable(output)


def look_at(model: Path, preprocess: Sequence[str], options: ConvertOptions) -> Outline:
    """Read a model; one of a framework is lowered to float for it.

    Args:
        preprocess: `--preprocess` texts of the user.
        options: how to read it.

    Raises:
        UsageError: `preprocess` is wrong.
        EdgeqError: it cannot be read.
    """
    kind = identify(model)
    if kind == "tflite":
        lower.adopt(model, options)  # refuses a file that is not a float model
    with scratch.folder() as folder:
        path = float_tflite(model, folder, options)
        interface = read_interface(path)
        carried = read_preprocessing(path)
    parse_preprocessing(preprocess, interface.inputs)
    return Outline(
        KINDS[kind].what,
        interface.inputs,
        interface.outputs,
        tuple(preprocess) or carried,
        trained_granularity(model),
    )


def write_outline(
    outline: Outline,
    model: Path,
    folder: Path,
    *,
    data: str | None,
    test_data: str | None,
    options: ConvertOptions,
) -> str:
    """The file's text.

    Args:
        model: as the user named it.
        folder: of the file, where its paths start from.
        data: path or "module:function" of the representative dataset, if it is known.
        test_data: the same of the labelled samples.
        options: how the model is read.

    Raises:
        DataError: there is no such data.
    """
    lines = [
        "# What edgeq does with this model: edgeq run",
        "# Every key: docs/project.md of edgeq. Paths start from the folder of this file.",
        "",
        *_model_lines(outline, _relative(model, folder), options),
        "",
        *_data_lines(
            outline, _place("--data", data, folder), _place("--test-data", test_data, folder)
        ),
        "",
        *_REST.format(target=TARGETS[0], others=", ".join(TARGETS[1:])).splitlines(),
    ]
    return "\n".join(lines) + "\n"


def _model_lines(outline: Outline, source: str, options: ConvertOptions) -> list[str]:
    lines = [
        f"# {outline.kind}",
        *(f"#   {side}  {printable(spec.name)}: {show_shape(spec.shape)} {spec.dtype}"
          for side, specs in (("input ", outline.inputs), ("output", outline.outputs))
          for spec in specs),
        "[model]",
        f"source = {_quote(source)}",
        f"output = {_quote(f'build/{Path(source).stem}.tflite')}"
        "  # everything else is written beside it",
    ]  # fmt: skip
    if outline.trained is not None:
        lines += [
            "# It was trained quantization-aware: name the FP32 model that it was made from.",
            '# baseline = "original.keras"',
            f"granularity = {_quote(outline.trained)}",
        ]
    else:
        others = [name for name in SCHEMES if name != "int8"]
        lines += [
            f'scheme = "int8"      # or {", ".join(others)}',
            'effort = "balanced"  # or fast, best',
            '# io = "float32"     # inputs and outputs; int8 by default',
        ]
    return lines + _reading_lines(options)


def _reading_lines(options: ConvertOptions) -> list[str]:
    """The options that the user gave for reading the model."""
    lines = []
    if options.batch is not None:
        lines.append(f"batch = {options.batch or _quote('dynamic')}")
    if options.input_shapes:
        shapes = ", ".join(
            f"{_quote(name)} = {list(sizes)}" for name, sizes in options.input_shapes
        )
        lines.append(f"input_shape = {{ {shapes} }}")
    if options.fixed_inputs:
        values = ", ".join(f"{_quote(name)} = {value!r}" for name, value in options.fixed_inputs)
        lines.append(f"fix_input = {{ {values} }}")
    if options.custom_objects:
        lines.append(f"custom_objects = {_quote_all(options.custom_objects)}")
    if options.trusted:
        lines.append("unsafe_deserialization = true")
    for key in ("signature", "layout", "torch_python", "onnx_python"):
        if (value := getattr(options, key)) != getattr(ConvertOptions, key):
            lines.append(f"{key} = {_quote(value)}")
    return lines


def _data_lines(outline: Outline, data: str | None, test_data: str | None) -> list[str]:
    needs = "not needed: the model brings its ranges along"
    if outline.trained is None:
        needs = "a few hundred real samples, as they reach the application"
    lines = [
        "[data]",
        "# .npz, .npy, .csv, a folder of images or sounds, or package.module:function",
        f"{_or_comment('calibration', data, 'samples.npz')}  # {needs}",
        f"{_or_comment('test', test_data, 'test.npz')}  # labelled samples, others than those",
        "# From such a sample to an input: scale, offset, mean, std, resize, channels, or a family",
        "# of keras.applications, such as mobilenet_v2. It travels in the .tflite.",
    ]
    if outline.preprocess:
        return [*lines, f"preprocess = {_quote_all(outline.preprocess)}"]
    return [*lines, '# preprocess = ["scale=1/255"]']


def _or_comment(key: str, value: str | None, example: str) -> str:
    return f"# {key} = {_quote(example)}" if value is None else f"{key} = {_quote(value)}"


_REST = """\
# [tune]  # instead of one conversion: search for the fastest model inside a budget
# max_drop = 0.5

[run]
devices = ["local"]  # or pi@raspberrypi.local, adb, a name from [devices.NAME]
threads = 1

# [devices.pi4]
# address = "ssh://pi@raspberrypi.local"

[policy]  # sets the exit status: 0 kept, 3 missed, 4 not known
max_drop_points = 1.0  # accuracy lost against FP32: its whole 95 % interval must keep this,
                       # which takes about a thousand test samples
# drop_must_be = "not-disproven"  # a few are enough, but a small loss can stay hidden
max_float_islands = 0  # float operators left inside
# max_size = "300 kB"
# runs_on = "2.14"  # the oldest TensorFlow Lite that must load it

# [policy.devices.local]
# max_p50_ms = 12

# [package]  # for a release build, when the gate passes
# targets = ["{target}"]  # or {others}
# release = "1.0.0"
# labels = "labels.txt"  # names of the classes, one in each line"""


def _relative(path: Path, folder: Path) -> str:
    if path.is_absolute():
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


def _place(option: str, source: str | None, folder: Path) -> str | None:
    if source is None:
        return None
    if Path(source).exists():
        return _relative(Path(source), folder)
    if is_function_reference(source):
        return source
    raise DataError(
        f"There is no file or folder {source}.",
        hint=f"{nearest_path(Path(source))}Without {option}, edgeq.toml has a line to complete.",
    )


def _quote(text: str) -> str:
    try:
        return toml_string(text)
    except ValueError as error:
        raise UsageError(
            f"{text} cannot be written into edgeq.toml, because it is not valid UTF-8.",
            hint="Rename the file or folder.",
        ) from error


def _quote_all(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, texts))}]"
