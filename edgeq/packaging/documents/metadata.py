"""Standard TensorFlow Lite metadata, so that Android Studio, ML Kit and MediaPipe know the model.

They are a second flatbuffer inside the model's, in a buffer that the entry "TFLITE_METADATA"
names; the label files are a zip archive behind the model. Tables and slot numbers are those of
`tensorflow_lite_support/metadata/metadata_schema.fbs` in tensorflow/tflite-support (Apache-2.0),
version 1.1.0 of the schema: a field's slot is its position in the table, and a union takes two, its
type and its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from edgeq.converters.samples.preprocessing import apply, format_preprocessing
from edgeq.errors import PackageError
from edgeq.packaging.container.archive import write_zip
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.model_file import ModelFile, parse_model
from edgeq.values import Preprocessing, TensorSpec

KEY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# Nothing newer than the first version of the schema is written.
_MIN_PARSER_VERSION = "1.0.0"
# Readers in C++ map entries into memory as they are in the file, so none is deflated.
_ALIGNMENT = 4

# enum AssociatedFileType
DESCRIPTIONS, AXIS_LABELS = np.int8(1), np.int8(2)
# enum ColorSpaceType
_UNKNOWN, _RGB, _GRAYSCALE = np.int8(0), np.int8(1), np.int8(2)
# union ContentProperties, union ProcessUnitOptions
_FEATURE, _IMAGE = np.uint8(1), np.uint8(2)
_NORMALIZATION = np.uint8(1)

# Texts in shipped models, which keep their bytes.
_CLASSES, _BINARY = "Names of the classes.", "What the values 0 and 1 mean."  # english: quoted

# A table by slot: text, numbers of the field's own width, floats, tables; None is absent.
Table: TypeAlias = dict[int, Any]


def add_metadata(
    model: bytes,
    contract: Contract,
    *,
    description: str = "",
    author: str = "",
    license: str = "",
) -> bytes:
    """The same model with standard metadata; metadata that it had is replaced.

    Args:
        model: a `.tflite` file.
        contract: of this file.
        description: one paragraph for a person.
        author: who made the model.
        license: SPDX expression or text.

    Raises:
        PackageError: the contract belongs to another model, or a label cannot be a line of a file.
        SourceError: the model is damaged.
    """
    parsed = parse_model(model, f"{contract.name}.tflite")
    return add_to_model(
        parsed, contract, description=description, author=author, license=license
    ).content


def add_to_model(
    model: ModelFile,
    contract: Contract,
    *,
    description: str = "",
    author: str = "",
    license: str = "",
) -> ModelFile:
    """`add_metadata` for a model that is parsed already."""
    inputs, outputs = (
        _in_file_order(items, specs, contract.name)
        for items, specs in zip((contract.inputs, contract.outputs), model.interface, strict=True)
    )
    for item in outputs:
        for label in item.labels:
            if not label.strip() or label.splitlines() != [label]:
                raise PackageError(
                    f"Label {label!r} of output {item.spec.name!r} cannot be a line of a label "
                    "file.",
                    hint="Give every class a name in one line: some readers skip empty lines.",
                )
    # SubGraphMetadata: name, description, input_tensor_metadata, output_tensor_metadata
    graph: Table = {
        0: contract.name,
        2: [_input(item) for item in inputs],
        3: [_output(item, len(outputs)) for item in outputs],
    }
    # ModelMetadata: name, description, version, subgraph_metadata, author, license,
    # associated_files, min_parser_version
    whole: Table = {
        0: contract.name,
        1: description or None,
        2: contract.version,
        3: [graph],
        4: author or None,
        5: license or None,
        7: _MIN_PARSER_VERSION,
    }
    tree = model.copy_tree()
    flatbuffer.set_metadata(tree, KEY, _pack(whole))
    content = flatbuffer.serialize(tree)
    files = {
        _labels_name(item, len(outputs)): "".join(f"{label}\n" for label in item.labels).encode()
        for item in outputs
        if item.labels
    }
    if files:
        content = write_zip(files, stored=files, page=_ALIGNMENT, behind=content)
    return ModelFile(model.path, content, tree)


def metadata_limits(contract: Contract) -> tuple[str, ...]:
    """List readers of metadata that cannot run the model as it was calibrated, a sentence each.

    MediaPipe and ML Kit take images only as RGB in uint8 or float32, and copy the bytes of an
    image into a uint8 input without looking at its normalisation or its scale.
    """
    found = []
    images = [item for item in contract.inputs if item.image is not None]
    for item in images:
        name, dtype = item.spec.name, item.spec.dtype
        if dtype not in ("uint8", "float32"):
            found.append(
                f"Input {name!r} is {dtype}: MediaPipe and ML Kit take images for uint8 and float32"
                " inputs only."
            )
        if _color_space(item) != _RGB:
            found.append(f"Input {name!r} is not RGB, the only order of MediaPipe and ML Kit.")
        elif dtype == "uint8" and not _takes_bytes(item):
            found.append(
                f"Input {name!r} needs other numbers than the bytes of an image, but MediaPipe "
                "and ML Kit copy them into a uint8 input."
            )
    for output in contract.outputs:
        if images and output.labels and output.spec.dtype not in ("uint8", "float32"):
            found.append(
                f"Output {output.spec.name!r} is {output.spec.dtype}: MediaPipe and ML Kit take "
                "scores in uint8 and float32 only."
            )
    return tuple(found)


def _takes_bytes(item: InputContract) -> bool:
    """Whether preprocessing and quantizing a byte gives that byte again, or its neighbour."""
    every = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    real = every.astype(np.float32)
    if item.preprocessing is not None:
        numeric = replace(
            item.preprocessing, input=None, preset=None, resize=None, channels="rgb", pad=None
        )
        real = apply(numeric, every)
    own = quantmath.quantize(real, item.spec).astype(np.int32)
    return int(np.abs(own - every).max()) <= 1


def _in_file_order(items: Sequence[Any], specs: Sequence[TensorSpec], name: str) -> list[Any]:
    """Readers match metadata to tensors by their position in the subgraph, not by name."""
    known = {item.spec.name: item for item in items}
    wanted = [spec.name for spec in specs]
    if sorted(known) != sorted(wanted):
        raise PackageError(
            f"The contract names {', '.join(known)}, but {name}.tflite has {', '.join(wanted)}."
        )
    return [known[own] for own in wanted]


# ---------------------------------------------------------------- tensors


def _input(item: InputContract) -> Table:
    text = _show_tensor(item.spec, item.identifier)
    if item.declared is not None:
        text += f" Prepared from raw samples as {format_preprocessing(item.declared)}."
    content: Table = {0: _FEATURE, 1: {}}
    if item.image is not None:
        height, width, _ = item.image
        # ImageSize: width, height; ImageProperties: color_space, default_size
        size: Table = {0: np.uint32(width), 1: np.uint32(height)}
        content = {0: _IMAGE, 1: {0: _color_space(item), 1: size}}
    normalization = _normalization(item)
    # ProcessUnit: options_type, options
    units = None if normalization is None else [{0: _NORMALIZATION, 1: normalization}]
    # TensorMetadata: name, description, dimension_names, content, process_units, stats,
    # associated_files
    return {0: item.identifier, 1: text, 3: content, 4: units, 5: _stats(item, normalization)}


def _output(item: OutputContract, count: int) -> Table:
    files = None
    if item.labels:
        is_axis = len(item.labels) == (item.spec.shape[-1] if item.spec.shape else 1)
        # AssociatedFile: name, description, type, locale
        files = [
            {
                0: _labels_name(item, count),
                1: _CLASSES if is_axis else _BINARY,
                2: AXIS_LABELS if is_axis else DESCRIPTIONS,
            }
        ]
    return {
        0: item.identifier,
        1: _show_tensor(item.spec, item.identifier),
        # Content: content_properties_type, content_properties
        3: {0: _FEATURE, 1: {}},
        5: _dtype_range(item.spec),
        6: files,
    }


def _show_tensor(spec: TensorSpec, identifier: str) -> str:
    """Describe the tensor and, in words, how its integers become real values."""
    shape = "x".join(str(size) for size in spec.shape) or "scalar"
    named = "" if spec.name == identifier else f"Tensor {spec.name!r}, "
    if not spec.scales:
        return f"{named}{spec.dtype} {shape}."
    zero = spec.zero_points[0]
    centred = f"(value {'-' if zero >= 0 else '+'} {abs(zero)})"
    return f"{named}{spec.dtype} {shape}: real = {np.float32(spec.scales[0])!s} * {centred}."


def _labels_name(item: OutputContract, count: int) -> str:
    return "labels.txt" if count == 1 else f"{item.identifier.rstrip('_')}_labels.txt"


def _color_space(item: InputContract) -> Any:
    """UNKNOWN for BGR: the schema has no word for it, and a refusal beats a wrong answer."""
    if item.image is not None and item.image[2] == 1:
        return _GRAYSCALE
    is_bgr = item.preprocessing is not None and item.preprocessing.channels == "bgr"
    return _UNKNOWN if is_bgr else _RGB


def _normalization(item: InputContract) -> Table | None:
    """`(x * scale + offset - mean) / std` as the `(x - mean) / std` of the schema.

    An image without preprocessing goes in unchanged; for readers that require the numbers
    (MediaPipe for float inputs) these are mean 0, std 1.
    """
    takes_real = bool(item.spec.scales) or item.spec.dtype == "float32"
    if not takes_real or (item.preprocessing is None and item.image is None):
        return None
    how = item.preprocessing or Preprocessing()
    count = max(len(how.mean), len(how.std), 1)
    mean, std = (np.resize(np.array(given or (default,), np.float64), count)
                 for given, default in ((how.mean, 0.0), (how.std, 1.0)))  # fmt: skip
    # NormalizationOptions: mean, std
    return {0: (mean - how.offset) / how.scale, 1: std / how.scale}


def _stats(item: InputContract, normalization: Table | None) -> Table | None:
    """Least and largest value of the tensor, where they are certain."""
    is_pixels = item.image is not None and item.preprocessing is not None
    if item.spec.dtype != "float32" or normalization is None or not is_pixels:
        return _dtype_range(item.spec)
    ends = [(pixel - normalization[0]) / normalization[1] for pixel in (0.0, 255.0)]
    # Stats: max, min
    return {0: np.maximum(*ends), 1: np.minimum(*ends)}


def _dtype_range(spec: TensorSpec) -> Table | None:
    if not spec.scales:
        return None
    limits = np.iinfo(np.dtype(spec.dtype))
    return {0: np.array([limits.max]), 1: np.array([limits.min])}


# ---------------------------------------------------------------- as a flatbuffer


def _pack(table: Table) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, table), _IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, value: Any) -> Any:
    """Write a value, after everything inside it; returns its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value.astype(np.float32))
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    kept = {slot: item for slot, item in value.items() if item is not None}
    inside = {
        slot: _write(builder, item)
        for slot, item in kept.items()
        if not isinstance(item, np.integer)
    }
    numbers = {"b": builder.PrependInt8Slot, "B": builder.PrependUint8Slot,
               "I": builder.PrependUint32Slot}  # fmt: skip
    builder.StartObject(max(kept, default=-1) + 1)
    for slot, item in kept.items():
        if slot in inside:
            builder.PrependUOffsetTRelativeSlot(slot, inside[slot], 0)
        else:
            numbers[item.dtype.char](slot, int(item), 0)
    return builder.EndObject()
