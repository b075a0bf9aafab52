"""Reading and writing `.tflite` flatbuffers through the schema that ships with LiteRT."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import SourceError, missing_model
from edgeq.files import kinds
from edgeq.files.reading import read_file
from edgeq.tflite import operators, quantmath
from edgeq.tflite.flaws import find_flaw
from edgeq.tflite.options import complete_options
from edgeq.values import TensorSpec

IDENTIFIER = kinds.TFLITE
release = operators.release

# A flatbuffer is addressed with signed 32-bit offsets.
MAX_BYTES = 2**31 - 1
# numpy 1 knows no more; kernels stop at 8.
_MOST_AXES = 32


def schema() -> Any:
    """The generated schema module (imported late: it costs 50 ms)."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@cache
def operator_names() -> dict[int, str]:
    """Map from builtin operator code to name, e.g. 3 to "CONV_2D"."""
    return {code: name for name, code in vars(schema().BuiltinOperator).items() if name.isupper()}


@cache
def dtype_names() -> dict[int, str]:
    """Map from tensor type code to numpy name, e.g. 9 to "int8"; other types in small letters."""
    return {
        code: name.lower() for name, code in vars(schema().TensorType).items() if name.isupper()
    }


@cache
def dtype_code(name: str) -> int:
    """Tensor type code of a numpy name, the inverse of `dtype_names`."""
    return next(code for code, known in dtype_names().items() if known == name)


def dtype(tensor: Any) -> str:
    """Numpy name of a tensor's dtype."""
    return dtype_names()[tensor.type]


def parse(content: bytes, shown_as: str) -> Any:
    """A flatbuffer as a mutable `ModelT` tree.

    Args:
        content: the file's bytes.
        shown_as: the path to name in an error.

    Raises:
        SourceError: empty, too short, of another format, or damaged.
    """
    if not content:
        raise SourceError(f"{shown_as} is empty.", hint="Export or copy the model again.")
    if content[4:8] != IDENTIFIER:
        found = f"bytes 4 to 8 are {content[4:8]!r} instead of {IDENTIFIER!r}"
        raise kinds.refuse_model(shown_as, kinds.find_kind_of(content, shown_as), found)
    try:
        model = schema().ModelT.InitFromPackedBuf(content, 0)
        for buffer in model.buffers or ():  # large models have them behind the flatbuffer
            if (buffer.offset or 0) > 1:
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        _check_references(model)
        complete_options(schema(), model, operator_names())
    except _DAMAGE as error:
        raise SourceError(
            f"{shown_as} is damaged or truncated.", hint="Copy the model again.", details=str(error)
        ) from error
    flaw = find_flaw(model, operator_name, dtype)
    if flaw is not None:
        raise SourceError(f"{shown_as} {flaw}.", hint="Export the model again.")
    return model


# The generated reader raises these when an offset or a length points outside the buffer.
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError,
           OverflowError, MemoryError)  # fmt: skip


def _check_references(model: Any) -> None:
    """Refuse indices out of range, so that later readers need no checks.

    Raises:
        ValueError: one does.
    """
    if not model.subgraphs:
        raise ValueError("it has no subgraph")
    buffers, codes = len(model.buffers or ()), len(model.operatorCodes or ())
    for graph in model.subgraphs:
        graph.tensors = graph.tensors if graph.tensors is not None else []
        graph.operators = graph.operators if graph.operators is not None else []
        count = len(graph.tensors)
        _require("input or output", (*indices(graph.inputs), *indices(graph.outputs)), count)
        _require("buffer of a tensor", [tensor.buffer for tensor in graph.tensors], buffers)
        for tensor in graph.tensors:
            if tensor.type not in dtype_names():
                raise ValueError(f"a tensor has the unknown type {tensor.type}")
            if _count(tensor.shape) > _MOST_AXES:
                raise ValueError(f"a tensor has {len(tensor.shape)} dimensions")
            own = tensor.quantization
            if own is not None and _count(own.scale) != _count(own.zeroPoint):
                raise ValueError("a tensor has more or fewer zero points than scales")
        _require("code", [operator.opcodeIndex for operator in graph.operators], codes)
        for item in graph.operators:
            own = (*indices(item.inputs), *indices(item.outputs), *indices(item.intermediates))
            _require("tensor of an operator", own, count, least=-1)
    _require("buffer of metadata", [entry.buffer for entry in model.metadata or ()], buffers)
    for signature in model.signatureDefs or ():
        _require("subgraph of a signature", [signature.subgraphIndex], len(model.subgraphs))
        entries = (*(signature.inputs or ()), *(signature.outputs or ()))
        count = len(model.subgraphs[signature.subgraphIndex].tensors)
        _require("tensor of a signature", [entry.tensorIndex for entry in entries], count)


def _count(vector: Any) -> int:
    return 0 if vector is None else len(vector)


def _require(what: str, found: Sequence[int], count: int, least: int = 0) -> None:
    for index in found:
        if not least <= index < count:
            raise ValueError(f"{what}: {index} of {count}")


def read(path: Path) -> Any:
    """A `.tflite` file as a mutable `ModelT` tree.

    Raises:
        SourceError: missing, unreadable or damaged.
    """
    return parse(read_content(path), str(path))


def read_content(path: Path) -> bytes:
    """The bytes of a `.tflite` file.

    Raises:
        SourceError: missing, unreadable or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(
                f"{path} has {size} bytes; the limit of a TensorFlow Lite file is 2 GiB."
            )
        return read_file(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise missing_model(path) from error
    except OSError as error:
        if path.is_dir():
            raise kinds.refuse_model(str(path), kinds.find_kind(path), "a folder") from error
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error


def serialize(model: Any) -> bytes:
    """A `ModelT` tree as the bytes of a `.tflite` file; the same tree gives the same bytes."""
    from edgeq.tflite.sharing_builder import SharingBuilder

    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def indices(vector: Any) -> tuple[int, ...]:
    """The tensor indices of a vector as plain integers; an absent vector is empty."""
    return () if vector is None else tuple(int(index) for index in vector)


def text(value: Any) -> str:
    """A flatbuffer string, which may be bytes, None or not UTF-8, as text."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def operator_name(model: Any, operator: Any) -> str:
    """Name of an operator: builtin, or a custom operator's own."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode is not None:
        return text(code.customCode)
    # Files older than 2020 hold the code in one byte, newer ones in both fields.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return operator_names().get(number, f"BUILTIN_{number}")


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether a tensor's data is stored in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def constant(model: Any, tensor: Any) -> NDArray[np.generic]:
    """The stored values of a constant tensor, in its shape and dtype (read-only); INT4 as int8."""
    data, shape = model.buffers[tensor.buffer].data, indices(tensor.shape)
    raw = np.asarray([] if data is None else data, np.uint8)  # none of a tensor of size 0
    if dtype(tensor) == "int4":
        return quantmath.unpack_int4(raw)[: math.prod(shape)].reshape(shape)
    return raw.view(np.dtype(dtype(tensor))).reshape(shape)


def tensor_name(graph: Any, index: int) -> str:
    """The name of a tensor of a subgraph."""
    return text(graph.tensors[index].name)


def metadata(model: Any, name: str) -> bytes | None:
    """Content of a metadata entry, None when the model does not have it."""
    for entry in model.metadata or ():
        if text(entry.name) == name and 0 <= entry.buffer < len(model.buffers):
            data = model.buffers[entry.buffer].data
            return None if data is None else bytes(bytearray(data))
    return None


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Add a metadata entry to the tree, or replace its content."""
    kit = schema()
    buffer = kit.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    for entry in model.metadata or ():
        if text(entry.name) == name:
            model.buffers[entry.buffer] = buffer
            return
    entry = kit.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]


def add_opcode(tree: Any, name: str, version: int = 1) -> int:
    """Index of a builtin operator in the table of codes, to which it is added if necessary."""
    number = next(code for code, known in operator_names().items() if known == name)
    for index, known in enumerate(tree.operatorCodes):
        if known.builtinCode == number and known.version == version and known.customCode is None:
            return index
    opcode = schema().OperatorCodeT()
    opcode.builtinCode, opcode.version = number, version
    opcode.deprecatedBuiltinCode = min(number, 127)
    tree.operatorCodes.append(opcode)
    return len(tree.operatorCodes) - 1


def add_buffer(tree: Any, values: NDArray[Any]) -> int:
    """Index of a new buffer with these values.

    Changing a buffer in place would change every tensor that shares it.
    """
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tree.buffers.append(buffer)
    return len(tree.buffers) - 1


def add_tensor(graph: Any, name: str, shape: Any, dtype: str, buffer: int = 0) -> int:
    """Index of a new tensor.

    Args:
        shape: a sequence, or the shape field of another tensor.
        buffer: 0 for a computed tensor.
    """
    tensor = schema().TensorT()
    tensor.name, tensor.shape = name, None if shape is None else np.asarray(shape, np.int32)
    tensor.type, tensor.buffer = dtype_code(dtype), buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(tree: Any, graph: Any, name: str, values: NDArray[Any]) -> int:
    """Index of a new constant tensor."""
    return add_tensor(graph, name, values.shape, values.dtype.name, add_buffer(tree, values))


def make_operator(
    tree: Any,
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    version: int = 1,
    options: Any = None,
) -> Any:
    """A builtin operator, which the caller puts into a subgraph.

    Args:
        options: the schema's, e.g. `schema().SliceOptionsT()`.
    """
    operator = schema().OperatorT()
    operator.opcodeIndex = add_opcode(tree, name, version)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    if options is not None:
        kind = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema().BuiltinOptions, kind)
        operator.builtinOptions = options
    return operator


def min_runtime_version(model: Any) -> str | None:
    """Oldest TensorFlow Lite release that can run the file; None when the file states none.

    Some quantizers leave the float model's release in the file: then the result is the release that
    the operators need.
    """
    raw = metadata(model, "min_runtime_version")
    stated = (raw or b"").rstrip(b"\0").decode("ascii", "replace") or None
    if stated is None:
        return None
    used = ((operator_name(model, item), model.operatorCodes[item.opcodeIndex].version)
            for graph in model.subgraphs for item in graph.operators)  # fmt: skip
    return operators.at_least(stated, used)


def require_runtime(tree: Any, version: str) -> None:
    """Raise the minimum runtime version that the file states; never lower it."""
    needed = max(min_runtime_version(tree) or version, version, key=release)
    set_metadata(tree, "min_runtime_version", needed.encode().ljust(16, b"\0"))


def tensor_spec(tensor: Any, name: str) -> TensorSpec:
    """A tensor's shape (-1 for a dynamic size), dtype and quantization as a value.

    Scales of real numbers, which kernels ignore, are left out.
    """
    parameters = tensor.quantization if "int" in dtype(tensor) else None
    scales = () if parameters is None or parameters.scale is None else parameters.scale
    zero_points = () if parameters is None or parameters.zeroPoint is None else parameters.zeroPoint
    return TensorSpec(
        name=name,
        shape=indices(tensor.shapeSignature) or indices(tensor.shape),
        dtype=dtype(tensor),
        scales=tuple(float(scale) for scale in scales),
        zero_points=tuple(int(point) for point in zero_points),
    )


def interface(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the main subgraph, in its order, which is the interpreter's too.

    The first signature of that subgraph names them; without one, their tensors do.
    """
    graph = model.subgraphs[0]
    names: dict[str, dict[int, str]] = {"inputs": {}, "outputs": {}}
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == 0:
            for side, known in names.items():
                for entry in getattr(signature, side) or ():
                    known.setdefault(int(entry.tensorIndex), text(entry.name))
            break

    def specs(side: str, vector: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            tensor_spec(graph.tensors[index], names[side].get(index) or tensor_name(graph, index))
            for index in indices(vector)
        )

    return specs("inputs", graph.inputs), specs("outputs", graph.outputs)


def set_interface(model: Any, input_names: list[str], output_names: list[str]) -> None:
    """Name the main subgraph's inputs and outputs and give it the signature "serving_default"."""
    graph, signature = model.subgraphs[0], schema().SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    for side, names in (("inputs", input_names), ("outputs", output_names)):
        entries = []
        for index, name in zip(indices(getattr(graph, side)), names, strict=True):
            entry = schema().TensorMapT()
            entry.name, entry.tensorIndex = name, index
            graph.tensors[index].name = name
            entries.append(entry)
        setattr(signature, side, entries)
    model.signatureDefs = [signature]
