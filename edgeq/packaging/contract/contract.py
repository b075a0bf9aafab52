"""From a `.tflite` and what the user states about it to the contract of a package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeq.conversion.file_metadata import read_decoding, read_preprocessing
from edgeq.converters.samples.input_shapes import show_shape
from edgeq.converters.samples.preprocessing import find_preprocessing, parse_preprocessing
from edgeq.errors import SourceError, UsageError
from edgeq.files import storage
from edgeq.metrics.decoding import parse_decoding, show_decoding
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.image_inputs import image_size
from edgeq.packaging.contract.labels import require_names
from edgeq.packaging.contract.results import label_boxes, plan_boxes
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.tflite import flatbuffer
from edgeq.tflite.joined_outputs import read_joins
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import Preprocessing, TensorSpec
from edgeq.wording import repeat_option

_DTYPES = ("int8", "uint8", "float32", "int16", "int32", "int64", "bool")
# SemVer, Maven, Gradle and (by `pep440`) wheels all take these.
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}([-+][0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?")
_LONGEST = 100  # of a name: it is part of file and folder names, which end at 255 bytes
# Folders that every package has, beside that of the Python package.
_FOLDERS = ("golden", "records")


def make_contract(
    model: str | Path | ModelFile,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    labels: Mapping[str, Sequence[str]] | None = None,
    preprocess: Sequence[str] | None = None,
    decode: str | None = None,
) -> Contract:
    """Make the contract of a file, which generated code follows.

    Args:
        model: the `.tflite`, or one that was read.
        name: of the package; the file's by default.
        version: of the release.
        labels: output name to the name of each class; "" for the decoded boxes, or without a
            decoding for the only output.
        preprocess: `--preprocess` texts; None takes what the file carries.
        decode: `--decode` text; None takes what the file carries.

    Raises:
        SourceError: not a `.tflite`, or one with a dynamic shape or a dtype that no package can
            have.
        DataError: a decoding that does not fit the outputs.
        UsageError: a name, a version or labels that do not fit.
    """
    file = read_model(model)
    inputs, outputs = (tuple(map(_fix_batch, specs)) for specs in file.interface)
    for kind, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            _require_supported(f"{kind} {spec.name!r} of {file.path}", spec)
    texts = read_preprocessing(file) if preprocess is None else tuple(preprocess)
    declared = parse_preprocessing(texts, inputs)
    decoding = _choose_decoding(file, decode)
    given = dict(labels or {})
    box_labels = tuple(given.pop("", ())) if decoding is not None else ()
    named = _assign_labels(given, outputs)
    joins = read_joins(file.tree, str(file.path))
    named_specs = [spec.name for spec in (*inputs, *outputs)]
    joined = [join.name for join in joins]
    *identifiers, boxes = naming.unique([*named_specs, *joined, "boxes"], "tensor")
    own = identifiers[: len(named_specs)]
    operators: dict[str, int] = {}
    for graph in file.tree.subgraphs:
        for operator in graph.operators:
            code = file.tree.operatorCodes[operator.opcodeIndex]
            kind = flatbuffer.operator_name(file.tree, operator)
            operators[kind] = max(operators.get(kind, 1), code.version or 1)
    made = Contract(
        name=package_name(name or file.path.stem),
        version=require_version(version),
        model=storage.refer_bytes(file.content, file.path.name),
        inputs=tuple(
            _make_input(identifier, spec, find_preprocessing(declared, spec.name))
            for identifier, spec in zip(own, inputs, strict=False)
        ),
        outputs=tuple(
            OutputContract(identifier, spec, named.get(spec.name, ()))
            for identifier, spec in zip(own[len(inputs) :], outputs, strict=True)
        ),
        min_runtime_version=file.min_runtime_version,
        operators=tuple(sorted(operators.items())),
        joins=joins,
        join_identifiers=tuple(identifiers[len(named_specs) :]),
        decoding=decoding,
        boxes=boxes,
    )
    plan_boxes(made)  # refuses a decoding that does not fit
    return label_boxes(made, box_labels) if box_labels else made


def _make_input(identifier: str, spec: TensorSpec, how: Preprocessing | None) -> InputContract:
    if how is None or how.sound is None:
        return InputContract(identifier, spec, how, image_size(spec, how))
    rest = replace(how, sound=None)
    is_plain = rest == Preprocessing(input=how.input)
    return InputContract(identifier, spec, None if is_plain else rest, None, how.sound)


def _choose_decoding(file: ModelFile, given: str | None) -> str | None:
    """The text that was given, or the file's own; they must not contradict each other."""
    own = read_decoding(file)
    if given is None:
        return own
    text = show_decoding(parse_decoding(given))
    if own not in (None, text):
        raise UsageError(
            f"--decode {text} contradicts {own}, which {file.path} carries.",
            hint="Leave --decode out, or convert again with the other one.",
        )
    return text


def _fix_batch(spec: TensorSpec) -> TensorSpec:
    """A dynamic batch as 1, which every runtime allocates by default."""
    is_batch = len(spec.shape) > 1 and spec.shape[0] == -1
    return replace(spec, shape=(1, *spec.shape[1:])) if is_batch else spec


def _require_supported(tensor: str, spec: TensorSpec) -> None:
    if -1 in spec.shape:
        raise SourceError(
            f"{tensor} has the dynamic shape {show_shape(spec.shape)}: no code can be made for it.",
            hint="Convert with fixed sizes: --input-shape NAME=1,224,224,3",
        )
    if spec.dtype not in _DTYPES:
        raise SourceError(f"{tensor} is {spec.dtype}; packages support {', '.join(_DTYPES)}.")
    if len(spec.scales) > 1:
        raise SourceError(
            f"{tensor} has {len(spec.scales)} scales, one for each channel: no runtime quantizes "
            "such a tensor for its caller."
        )


def package_name(given: str) -> str:
    """The name of a package in snake case, as all of its files and classes have it.

    Args:
        given: by the user, or the model's file without its ending.

    Raises:
        UsageError: it has no letter, is longer than file names can be, or Windows reserves it.
    """
    found = naming.snake(given, "model").strip("_")
    if not naming.words(given):
        raise UsageError(
            f"{given!r} has no letter, so it cannot name a package.", hint="Pass --name my_model"
        )
    if naming.is_device(found):
        raise UsageError(
            f"Windows reserves the name {found!r} for a device, so a package cannot have it.",
            hint="Pass --name my_model",
        )
    if len(found) > _LONGEST:
        raise UsageError(
            f"The name {given[:20]!r}... has {len(found)} characters; at most {_LONGEST} are "
            "possible.",
            hint="Pass --name my_model",
        )
    if found in _FOLDERS:
        raise UsageError(
            f"The name {found!r} is reserved: every package has a folder with the same name.",
            hint=f"Pass another one: --name {found}_model",
        )
    return f"{found}_model" if found in naming.RESERVED else found


def require_version(given: str) -> str:
    """A version as every target's build tools take it.

    Raises:
        UsageError: they would not take it.
    """
    if _VERSION.fullmatch(given) and len(given) <= _LONGEST:
        return given
    # Suggest a version, e.g. 1.4.0-rc.1 for v1.04.0-rc.1+b5.
    found = re.match(r"v?(\d+(?:\.\d+){0,2})([-+][0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?", given, re.I)
    meant = "1.4.0 or 1.4.0-rc1"
    if found is not None and len(given) <= _LONGEST:
        meant = ".".join(str(int(part)) for part in found[1].split(".")) + (found[2] or "")
    raise UsageError(
        f"--release {given!r} is not a version that every target's build tools take: up to three "
        "numbers without leading zeros, and at most one suffix.",
        hint=f"Write it as {meant}.",
    )


def _assign_labels(
    given: Mapping[str, Sequence[str]], outputs: Sequence[TensorSpec]
) -> dict[str, tuple[str, ...]]:
    """Each list at its output, with as many names as the output has classes."""
    found: dict[str, tuple[str, ...]] = {}
    names = ", ".join(spec.name for spec in outputs)
    for name, labels in given.items():
        if not name and len(outputs) > 1:
            raise UsageError(
                f"The labels do not name an output; the model has {names}.",
                hint=f"Write {repeat_option('--labels', [f'{outputs[0].name}=FILE'])}",
            )
        spec = next((spec for spec in outputs if name in ("", spec.name)), None)
        if spec is None:
            raise UsageError(
                f"--labels names the output {name!r}; the model's outputs are {names}."
            )
        if spec.name in found:
            raise UsageError(
                f"Labels are given twice for output {spec.name!r}.", hint="Give one file for it."
            )
        require_names(labels)
        classes = spec.shape[-1] if spec.shape else 1
        if len(labels) != classes and not (classes == 1 and len(labels) == 2):
            raise UsageError(
                f"There are {len(labels)} labels, but output {spec.name!r} has {classes} classes.",
                hint="Write one name in each line of the file, in the order of the classes.",
            )
        found[spec.name] = tuple(labels)
    return found
