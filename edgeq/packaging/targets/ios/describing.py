"""A contract as the templates need it: names, types and statements in Swift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.errors import PackageError
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.values import Contract, Golden, InputContract, OutputContract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.box_values import describe_boxes, describe_letterbox
from edgeq.packaging.targets.ios.literals import number, string
from edgeq.packaging.targets.ios.sounds import describe_sound
from edgeq.values import Preprocessing, TensorSpec

# A release of the community package that repacks Google's binary; see docs/packages/ios.md.
RUNTIME_VERSION = "0.0.20241012"

# dtype to Swift's type, C's type in the runtime, and a zero.
_TYPES = {
    "int8": ("Int8", "kTfLiteInt8", "Int8(0)"),
    "uint8": ("UInt8", "kTfLiteUInt8", "UInt8(0)"),
    "int16": ("Int16", "kTfLiteInt16", "Int16(0)"),
    "int32": ("Int32", "kTfLiteInt32", "Int32(0)"),
    "int64": ("Int64", "kTfLiteInt64", "Int64(0)"),
    "bool": ("Bool", "kTfLiteBool", "false"),
    "float32": ("Float", "kTfLiteFloat32", "Float(0)"),
}
_QUANTIZED = ("int8", "uint8", "int16")


def describe(inputs: PackageInputs) -> dict[str, Any]:
    """Everything that the templates name.

    Raises:
        PackageError: as for `make_files`.
    """
    contract = inputs.contract
    whole = naming.pascal(contract.name)
    stem = whole.removesuffix("Model") or whole
    joins = _joins(contract)
    inputs_of = [_input(item, inputs.golden) for item in contract.inputs]
    return {
        "contract": contract,
        # Never a module of Apple's (Vision, Speech), never a type of Swift's (Array).
        "module": f"{stem}Model",
        "predictor": f"{stem}Predictor",
        "resource": string(contract.name),
        "model_sha256": inputs.model.sha256,
        "runtime_version": RUNTIME_VERSION,
        "license": inputs.license,
        "vectors": len(inputs.golden.vectors),
        "inputs": inputs_of,
        "sounds": [item for item in inputs_of if item["sound"]],
        "outputs": [_output(item) for item in contract.outputs],
        "joins": joins,
        "letterbox": describe_letterbox(contract),
        "boxes": _boxes(contract, joins, f"{stem}Predictor"),
    }


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(map(number, values))}]"


def _show_size(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes)) or "1"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    if spec.scales and spec.dtype not in _QUANTIZED:
        raise PackageError(
            f"Tensor {spec.name!r} is quantized in {spec.dtype}; Swift packages support "
            f"{', '.join(_QUANTIZED)}."
        )
    element, kind, zero = _TYPES[spec.dtype]
    return {
        "name": string(spec.name),
        "element": element,
        "type": kind,
        "zero": zero,
        "shape": f"[{', '.join(map(str, spec.shape))}]",
        "count": math.prod(spec.shape),
        "scale": number(spec.scales[0] if spec.scales else 0.0),
        "zero_point": spec.zero_points[0] if spec.scales else 0,
        "as_double": "$0 ? 1 : 0" if spec.dtype == "bool" else "Double($0)",
    }


# ---------------------------------------------------------------- inputs


def _input(item: InputContract, golden: Golden) -> dict[str, Any]:
    spec = item.spec
    if spec.shape and spec.shape[0] != 1:
        raise PackageError(
            f"Input {spec.name!r} takes {spec.shape[0]} samples at a time; a Swift package takes "
            "one.",
            hint="Convert with --batch 1.",
        )
    tensor, kind = _tensor(spec), _kind(item, golden)
    element, stored = tensor["element"], f"vector.raw[{tensor['name']}]"
    cast = "$0 != 0" if spec.dtype == "bool" else f"{element}($0)"
    raw, read = {
        "pixels": ("Pixels", f"pixels({stored})"),
        "exact": (f"[{element}]", f"integers({stored}).map {{ {cast} }}"),
        "values": ("[Float]", f"numbers({stored})"),
    }[kind]
    return {
        **tensor,
        "property": naming.camel(item.identifier),
        "prepare": f"prepare{naming.pascal(item.identifier)}",
        "raw": raw,
        "stored": read,
        "lines": _preparing(item, kind, tensor),
        "summary": _summary(item, kind),
        "sound": describe_sound(item),
    }


def _kind(item: InputContract, golden: Golden) -> str:
    """The kind of a raw sample: an image of bytes, values that go in unchanged, or real numbers."""
    how = item.preprocessing
    if item.image is not None:
        raws = [vector.raw[item.spec.name] for vector in golden.vectors]
        are_bytes = all(
            raw.dtype == np.uint8 and (raw.ndim == 2 or (raw.ndim == 3 and raw.shape[2] in (1, 3)))
            for raw in raws
        )
        needs_bytes = how is not None and (how.resize is not None or how.channels == "gray")
        if needs_bytes or (raws and are_bytes):
            return "pixels"
    if item.spec.dtype != "float32" and not item.spec.scales:
        return "exact"
    if how is not None and how.channels == "bgr":
        raise PackageError(
            f"Input {item.spec.name!r} swaps red and blue, but its samples are not images of "
            "bytes.",
            hint="Store raw pixels as uint8.",
        )
    return "values"


def _preparing(item: InputContract, kind: str, tensor: dict[str, Any]) -> list[str]:
    """The body of the function that makes the tensor."""
    count, size = tensor["count"], _show_size(item.spec.shape[1:])
    refused = f'throw ModelError.wrongSample("Input {item.identifier} takes {size} values.")'
    if kind == "exact":
        return [f"guard sample.count == {count} else {{", f"    {refused}", "}", "return sample"]
    lines = []
    how = item.preprocessing or Preprocessing()
    if kind == "pixels" and how.resize is None and item.image is not None:
        height, width, _ = item.image
        lines += [f"guard sample.height == {height}, sample.width == {width} else {{",
                  f"    {refused}", "}"]  # fmt: skip
    height, width = how.resize or (0, 0)
    lines += [
        "let how = Preparation(",
        f"    height: {height}, width: {width}, pad: {-1 if how.pad is None else how.pad}, "
        f"channels: .{how.channels},",
        f"    scale: {number(how.scale)}, offset: {number(how.offset)},",
        f"    mean: {_numbers(how.mean)}, std: {_numbers(how.std)})",
        f"let real = {'try ' if kind == 'pixels' else ''}prepare(sample, how)",
        f"guard real.count == {count} else {{",
        f"    {refused}",
        "}",
        "try requireFinite(real)",
    ]
    if tensor["element"] == "Float":
        return [*lines, "return real"]
    # An integer without scale takes the numbers unchanged.
    scale = tensor["scale"] if item.spec.scales else number(1.0)
    return [
        *lines,
        "return quantize(",
        f"    real, scale: {scale}, zeroPoint: {tensor['zero_point']}, as: {tensor['element']}"
        ".self)",
    ]


def _summary(item: InputContract, kind: str) -> str:
    size, how = _show_size(item.spec.shape[1:]), item.preprocessing
    if kind == "exact":
        return f"It goes in unchanged: {size}."
    what = "Real numbers" if item.front_end is None else "Features of a sound"
    if kind == "pixels":
        any_size = how is not None and how.resize is not None
        what = "An image of any size" if any_size else "An image of the tensor's size"
    # Without the input's name, which could be anything: this text is in a comment.
    steps = "" if how is None else f" by {format_preprocessing(replace(how, input=None))}"
    and_quantized = " and quantized" if item.spec.scales else ""
    return f"{what}, prepared to {size}{steps}{and_quantized}."


# ---------------------------------------------------------------- outputs


def _output(item: OutputContract) -> dict[str, Any]:
    spec = item.spec
    tensor = _tensor(spec)
    if spec.scales:
        arguments = f"scale: {tensor['scale']}, zeroPoint: {tensor['zero_point']}"
        real = f"dequantize(VALUES, {arguments})"
    else:
        real = {"float32": "VALUES", "bool": "VALUES.map { $0 ? 1 : 0 }"}.get(
            spec.dtype, "VALUES.map { Float($0) }"
        )
    named = f"{len(item.labels)} classes" if item.labels else "values without names"
    return {
        **tensor,
        "property": naming.camel(item.identifier),
        "labels_property": f"{naming.camel(item.identifier).rstrip('_')}Labels",
        "labels": [string(label) for label in item.labels],
        "real": real,
        "summary": f"{_show_size(spec.shape)}, {named}.",
    }


# ---------------------------------------------------------------- results beside the outputs


def _joins(contract: Contract) -> list[dict[str, Any]]:
    """Outputs that the file gives in parts; `realN` is output N in real units."""
    places = {item.spec.name: place for place, item in enumerate(contract.outputs)}
    found = []
    for identifier, item in zip(contract.join_identifiers, contract.joins, strict=True):
        repeats = ", ".join(str(block.repeat) for block in item.blocks)
        counts = ", ".join(
            f"[{', '.join(str(count) for _, count in block.parts)}]" for block in item.blocks
        )
        parts = ", ".join(f"real{places[name]}" for name in item.parts)
        found.append(
            {
                "name": string(item.name),
                "key": item.name,
                "property": naming.camel(identifier),
                "shape": _show_size(item.shape),
                "call": f"join(repeats: [{repeats}], counts: [{counts}], parts: [{parts}])",
            }
        )
    return found


def _boxes(
    contract: Contract, joins: Sequence[dict[str, Any]], predictor: str
) -> dict[str, Any] | None:
    """How boxes are read from `realN` and `joinedN`."""
    found = describe_boxes(contract)
    if found is None:
        return None
    variables = {item.spec.name: f"real{place}" for place, item in enumerate(contract.outputs)}
    variables |= {item["key"]: f"joined{place}" for place, item in enumerate(joins)}
    tables = [
        f"Table(values: {variables[table['output']]}, offset: {table['offset']}, "
        f"row: {table['row']}, column: {table['column']})"
        for table in (found["boxes"], found["scores"])
    ]
    margin = " " * 16
    prop = naming.camel(contract.boxes)
    labels = f"{prop.rstrip('_')}Labels"
    call = f"findBoxes(\n{margin}boxes: {tables[0]},\n{margin}scores: {tables[1]},\n{margin}"
    return {
        **found,
        "name": string(found["name"]),
        "property": prop,
        "labels_property": labels,
        "labels": [string(label) for label in contract.box_labels],
        "call": f"{call}labels: {predictor}.{labels})",
    }
