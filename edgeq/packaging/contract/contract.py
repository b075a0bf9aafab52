"""From a `.tflite` and what its record tells to the contract of a package."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.conversion.file_metadata import read_preprocessing
from edgeq.converters.samples.input_shapes import show_shape
from edgeq.converters.samples.preprocessing import find_preprocessing, parse_preprocessing
from edgeq.errors import SourceError, UsageError
from edgeq.files import storage
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.image_inputs import image_size
from edgeq.packaging.contract.labels import require_names
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.tflite import flatbuffer
from edgeq.values import TensorSpec

_DTYPES = ("int8", "uint8", "float32", "int16", "int32", "int64", "bool")
# What SemVer, Maven, Gradle and (by `pep440`) wheels all take.
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}([-+][0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?")
_LONGEST = 100  # of a name: files and folders have it in theirs, which end at 255 bytes
# Folders that every package has, beside that of the Python package.
_FOLDERS = ("golden", "records")
# What edgeq converts, by how it ends.
_SOURCES = (".keras", ".h5", ".hdf5", ".pt2", ".onnx", ".pb")


def make_contract(
    model: Path,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    labels: Mapping[str, Sequence[str]] | None = None,
    preprocess: Sequence[str] | None = None,
) -> Contract:
    """What code around a file has to know.

    Args:
        name: of the package; the file's by default.
        labels: output name to the name of each class; "" for the only output.
        preprocess: `--preprocess` texts; None takes what the file carries.

    Raises:
        SourceError: no `.tflite`, or one with a dynamic shape or a dtype that no package holds.
        UsageError: a name, a version or labels that do not fit.
    """
    _require_file(model)
    tree = flatbuffer.read(model)
    inputs, outputs = (tuple(map(_settle, specs)) for specs in flatbuffer.interface(tree))
    for kind, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            _require_static(model, kind, spec)
    texts = read_preprocessing(model) if preprocess is None else tuple(preprocess)
    declared = parse_preprocessing(texts, inputs)
    named = _assign_labels(labels or {}, outputs)
    taken = naming.unique([spec.name for spec in (*inputs, *outputs)], "tensor")
    return Contract(
        name=package_name(name or model.stem),
        version=require_version(version),
        model=storage.refer(model, model.name),
        inputs=tuple(
            InputContract(identifier, spec, how, image_size(spec, how))
            for identifier, spec in zip(taken, inputs, strict=False)
            for how in [find_preprocessing(declared, spec.name)]
        ),
        outputs=tuple(
            OutputContract(identifier, spec, named.get(spec.name, ()))
            for identifier, spec in zip(taken[len(inputs) :], outputs, strict=True)
        ),
        min_runtime_version=flatbuffer.min_runtime_version(tree),
        operators=_operators(tree),
    )


def _settle(spec: TensorSpec) -> TensorSpec:
    """A dynamic batch as the 1 that every runtime takes it for, unless it is told otherwise."""
    is_batch = len(spec.shape) > 1 and spec.shape[0] == -1
    return replace(spec, shape=(1, *spec.shape[1:])) if is_batch else spec


def _require_static(model: Path, kind: str, spec: TensorSpec) -> None:
    if -1 in spec.shape:
        shown = show_shape(spec.shape)
        raise SourceError(
            f"{kind} {spec.name!r} of {model} has the dynamic shape {shown}: code around it cannot "
            "be made.",
            hint="Convert with fixed sizes: --input-shape NAME=1,224,224,3",
        )
    if spec.dtype not in _DTYPES:
        raise SourceError(
            f"{kind} {spec.name!r} of {model} is {spec.dtype}; packages hold {', '.join(_DTYPES)}."
        )
    if len(spec.scales) > 1:
        raise SourceError(
            f"{kind} {spec.name!r} of {model} has {len(spec.scales)} scales, one for each channel: "
            "no runtime quantizes such a tensor for its caller."
        )


def _require_file(model: Path) -> None:
    if model.is_dir() or model.suffix.lower() in _SOURCES:
        raise SourceError(
            f"{model} is no .tflite file, and packages are made of those.",
            hint=f"Convert it first: edgeq convert {shlex.quote(str(model))} --data samples.npz "
            "-o model.tflite",
        )


def package_name(given: str) -> str:
    """The name of a package in snake case, as all of its files and classes have it.

    Args:
        given: by the user, or the model's file without its ending.

    Raises:
        UsageError: it has no letter, is longer than file names can be, or is a package's folder.
    """
    found = naming.snake(given, "model").strip("_")
    if not naming.words(given):
        raise UsageError(
            f"{given!r} has no letter that a package's name could be made from.",
            hint="Name it: --name my_model",
        )
    if len(found) > _LONGEST:
        raise UsageError(
            f"The name {given[:20]!r}... has {len(found)} characters; {_LONGEST} are possible.",
            hint="Name it: --name my_model",
        )
    if found in _FOLDERS:
        raise UsageError(
            f"The name {found!r} is reserved: a folder of every package is called that.",
            hint=f"Name it otherwise: --name {found}_model",
        )
    return f"{found}_model" if found in naming.RESERVED else found


def require_version(given: str) -> str:
    """A version as every target's build tools take it.

    Raises:
        UsageError: it is none.
    """
    if not _VERSION.fullmatch(given) or len(given) > _LONGEST:
        raise UsageError(
            f"--release {given!r} is no version that every target's build tools take: up to three "
            "numbers without leading zeros, and at most one suffix.",
            hint=f"Write it as {_nearest_version(given)}.",
        )
    return given


def _nearest_version(given: str) -> str:
    """What was probably meant, e.g. 1.4.0-rc.1 for v1.04.0-rc.1+b5."""
    found = re.match(r"v?(\d+(?:\.\d+){0,2})([-+][0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?", given, re.I)
    if found is None or len(given) > _LONGEST:
        return "1.4.0 or 1.4.0-rc1"
    return ".".join(str(int(part)) for part in found[1].split(".")) + (found[2] or "")


def _assign_labels(
    given: Mapping[str, Sequence[str]], outputs: Sequence[TensorSpec]
) -> dict[str, tuple[str, ...]]:
    """Each list at its output, with as many names as the output has classes."""
    found: dict[str, tuple[str, ...]] = {}
    for name, labels in given.items():
        if not name and len(outputs) > 1:
            names = ", ".join(spec.name for spec in outputs)
            raise UsageError(
                f"Labels are given for no output in particular; there are {names}.",
                hint=f"Write --labels {outputs[0].name}=FILE.",
            )
        spec = next((spec for spec in outputs if name in ("", spec.name)), None)
        if spec is None:
            names = ", ".join(spec.name for spec in outputs)
            raise UsageError(f"Labels are for the output {name!r}; the model has {names}.")
        if spec.name in found:
            raise UsageError(
                f"Labels are given twice for output {spec.name!r}.", hint="Give one file for it."
            )
        require_names(labels)
        classes = spec.shape[-1] if spec.shape else 1
        if len(labels) != classes and not (classes == 1 and len(labels) == 2):
            raise UsageError(
                f"There are {len(labels)} labels, but output {spec.name!r} has {classes} classes.",
                hint="One name in each line of the file, in the order of the classes.",
            )
        found[spec.name] = tuple(labels)
    return found


def _operators(tree: Any) -> tuple[tuple[str, int], ...]:
    versions: dict[str, int] = {}
    for graph in tree.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            code = tree.operatorCodes[operator.opcodeIndex]
            versions[name] = max(versions.get(name, 1), code.version or 1)
    return tuple(sorted(versions.items()))
