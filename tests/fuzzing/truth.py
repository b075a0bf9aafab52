"""What is true of a `.tflite`, found by a reader and an interpreter run of this script's own.

It shares no code with edgeq: a flatbuffer is offsets, and these are the fields of TensorFlow Lite's
schema by their numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    13: "resource",
    14: "variant",
    15: "uint32",
    16: "uint16",
    17: "int4",
}
_QUANTIZE, _DEQUANTIZE, _CUSTOM = 114, 6, 32


class Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, at: int):
        self._data, self._at = data, at
        self._fields = at - self._number("<i", at)

    def _number(self, form: str, at: int) -> Any:
        return struct.unpack_from(form, self._data, at)[0]

    def _place(self, field: int) -> int | None:
        size = self._number("<H", self._fields)
        at = 4 + 2 * field
        offset = self._number("<H", self._fields + at) if at < size else 0
        return self._at + offset if offset else None

    def scalar(self, field: int, form: str, default: Any = 0) -> Any:
        at = self._place(field)
        return default if at is None else self._number(form, at)

    def vector(self, field: int, form: str) -> list[Any]:
        at = self._place(field)
        if at is None:
            return []
        at += self._number("<I", at)
        count = self._number("<I", at)
        return list(struct.unpack_from(f"<{count}{form}", self._data, at + 4))

    def text(self, field: int) -> bytes:
        return bytes(self.vector(field, "B"))

    def table(self, field: int) -> Table | None:
        at = self._place(field)
        return None if at is None else Table(self._data, at + self._number("<I", at))

    def tables(self, field: int) -> list[Table]:
        at = self._place(field)
        if at is None:
            return []
        at += self._number("<I", at)
        count = self._number("<I", at)
        places = (at + 4 + 4 * number for number in range(count))
        return [Table(self._data, place + self._number("<I", place)) for place in places]


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_constant: bool


@dataclass(frozen=True)
class Facts:
    """What a file holds; operators are (number, inputs, outputs) of all subgraphs."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[tuple[int, tuple[Tensor, ...], tuple[Tensor, ...]], ...]


def read_facts(content: bytes) -> Facts:
    """Of a `.tflite`; raises struct.error, IndexError or the like for a damaged one."""
    model = Table(content, struct.unpack_from("<I", content)[0])
    codes = [max(code.scalar(0, "<b"), code.scalar(3, "<i")) for code in model.tables(1)]
    lengths = [len(buffer.vector(0, "B")) or buffer.scalar(2, "<Q") for buffer in model.tables(4)]
    graphs, main = model.tables(2), None
    operators = []
    for graph in graphs:
        tensors = [_tensor(item, lengths) for item in graph.tables(0)]
        if main is None:
            main = tensors, graph.vector(1, "i"), graph.vector(2, "i")
        for item in graph.tables(3):
            sides = [tuple(tensors[i] for i in item.vector(side, "i") if i >= 0) for side in (1, 2)]
            operators.append((codes[item.scalar(0, "<I")], *sides))
    assert main is not None
    tensors, inputs, outputs = main
    return Facts(
        tuple(tensors[i] for i in inputs), tuple(tensors[i] for i in outputs), tuple(operators)
    )


def _tensor(item: Table, lengths: list[int]) -> Tensor:
    shape = item.vector(7, "i") or item.vector(0, "i")
    code = item.scalar(1, "<b")
    dtype = _DTYPES.get(code, f"type {code}")
    own = item.table(4) if "int" in dtype else None  # kernels ignore scales of real numbers
    scales = () if own is None else tuple(own.vector(2, "f"))
    points = () if own is None else tuple(own.vector(3, "q"))
    is_constant = lengths[item.scalar(2, "<I")] > 0
    return Tensor(dtype, tuple(shape), scales, points, is_constant)


def check_certificate(content: bytes, certificate: dict[str, Any]) -> list[str]:
    """What a certificate says that is not so."""
    try:
        facts = read_facts(content)
    except (struct.error, IndexError, AssertionError) as error:
        return [f"a certificate of a file that cannot be read: {error!r}"]
    found = []
    for side, tensors in (("inputs", facts.inputs), ("outputs", facts.outputs)):
        told = [
            (
                item["dtype"],
                tuple(item["shape"]),
                _plain(item["scales"]),
                tuple(item["zero_points"]),
            )
            for item in certificate[side]
        ]
        true = [(item.dtype, item.shape, _plain(item.scales), item.zero_points) for item in tensors]
        if told != true:
            found.append(f"{side} are {true}, not {told}")
    numbers = [number for number, _, _ in facts.operators]
    counts = {
        "operators": (len(certificate["operators"]), len(numbers)),
        "quantize_ops": (certificate["quantize_ops"], numbers.count(_QUANTIZE)),
        "dequantize_ops": (certificate["dequantize_ops"], numbers.count(_DEQUANTIZE)),
        "custom operators": (
            len(certificate["custom_ops"]) + len(certificate["flex_ops"]) > 0,
            _CUSTOM in numbers,
        ),
        "size_bytes": (certificate["size_bytes"], len(content)),
    }
    found += [
        f"{name} is {true}, not {told}" for name, (told, true) in counts.items() if told != true
    ]
    is_float = any(
        tensor.dtype in ("float32", "float16") and not tensor.is_constant
        for number, inputs, outputs in facts.operators
        if number not in (_QUANTIZE, _DEQUANTIZE)
        for tensor in (*inputs, *outputs)
    )
    precisions = {item["precision"] for item in certificate["operators"]}
    if is_float and not precisions - {"int8", "int16", "quantize", "dequantize"}:
        found.append("it has operators on floats, and the certificate tells of none")
    return found


def _plain(values: Any) -> tuple[str, ...]:
    """JSON has no infinity: edgeq writes a text there."""
    return tuple(f"{float(value):.9g}" for value in values)


def check_file(path: Path, told: dict[str, Any]) -> list[str]:
    """What a record says of a file's digest and size that is not so."""
    content = path.read_bytes()
    true = hashlib.sha256(content).hexdigest(), len(content)
    stated = told["sha256"], told["size_bytes"]
    return [] if true == stated else [f"{path.name} has {true}, and the record says {stated}"]


# ---------------------------------------------------------------- figures


def run_model(path: Path, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Outputs of a model of one input and one output in real units, sample by sample."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in samples:
        value = sample.reshape(given["shape"])
        scale, point = given["quantization"]
        if given["dtype"] != np.float32:
            limits = np.iinfo(given["dtype"])
            value = np.clip(np.round(value / np.float32(scale)) + point, limits.min, limits.max)
        interpreter.set_tensor(given["index"], value.astype(given["dtype"]))
        interpreter.invoke()
        value = interpreter.get_tensor(made["index"])[0]
        scale, point = made["quantization"]
        if made["dtype"] != np.float32:
            value = (value.astype(np.float32) - point) * np.float32(scale)
        found.append(value.ravel())
    return np.array(found)


def accuracy_percent(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return 100.0 * float(np.mean(outputs.argmax(1) == labels))


def sqnr_db(real: np.ndarray[Any, Any], made: np.ndarray[Any, Any]) -> float:
    noise = float(np.sum((real.astype(np.float64) - made) ** 2))
    power = float(np.sum(real.astype(np.float64) ** 2))
    return math.inf if noise == 0 else 10 * math.log10(power / noise)


def check_conversion(
    folder: Path, name: str, data: Path | None, source: Path | None = None
) -> list[str]:
    """Certificate, digests and figures of `name` and `name`.json in a folder.

    Args:
        data: labelled samples that the figures were measured on; None to leave figures out.
        source: the float `.tflite` that it was made of, when it was made of one.
    """
    output, record = folder / name, folder / f"{name}.json"
    if not output.exists() and not record.exists():
        return []
    if not (output.exists() and record.exists()):
        return [f"only one of {name} and its record is there"]
    told = json.loads(record.read_text())
    found = check_certificate(output.read_bytes(), told["certificate"])
    found += check_file(output, told["model"]["file"])
    return found if data is None else found + check_quality(told["quality"], output, data, source)


def check_quality(
    quality: dict[str, Any], output: Path, data: Path, source: Path | None
) -> list[str]:
    """Accuracy and SQNR of a record; see `check_conversion`."""
    found = []
    with np.load(data) as arrays:
        samples, labels = arrays["x" if "x" in arrays else "image"], arrays["y"]
    made = run_model(output, samples)
    stated = quality["candidate_accuracy_percent"]
    true = accuracy_percent(made, labels)
    if quality["sample_count"] != len(samples) or stated is None or abs(stated - true) > 1e-6:
        found.append(f"accuracy is {true} % of {len(samples)}, not {stated} %")
    if source is not None:
        real = run_model(source, samples)
        stated, true = float(quality["outputs"][0]["sqnr_db"]), sqnr_db(real, made)
        if abs(stated - true) > 0.05 and not math.isinf(true):
            found.append(f"SQNR is {true:.3f} dB, not {stated:.3f}")
    return found


def check_evaluation(record: Path, model: Path, samples: Any, labels: Any) -> list[str]:
    """Whether the accuracy of `edgeq eval` is that of these samples."""
    told = json.loads(record.read_text())["evaluations"][0]
    stated = next(item["value"] for item in told["metrics"] if item["name"] == "top1")
    true = accuracy_percent(run_model(model, samples), labels)
    return [] if abs(stated - true) < 1e-6 else [f"accuracy is {true} %, not {stated} %"]
