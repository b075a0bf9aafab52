"""SQNR and time of layer normalization in several integer forms, on the kernels of LiteRT.

    python benchmarks/normalization.py            the table of docs/decisions/0019

The input is INT8: [1, 64, N], Gaussian, with outlier channels (12 times as large, one in 64), with
tokens whose size differs by a factor of up to 10, with both, or with a mean of up to five standard
deviations in each token. The SQNR is that of the result
against float64 on the very same INT8 input, so it is the loss of the normalization alone. Times
apply to 196 tokens with N = 192, one thread, with XNNPACK.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeq.tflite import flatbuffer, kernels, quantmath

EPSILON = 1e-5
KINDS = ("plain", "channels", "tokens", "both", "offset")
WIDTHS = (32, 64, 192, 768)

# Parts of forms: result, operator, operands. "x" is the input, g gamma, b beta, N the width.
_PARTS = {
    "mean": "mu MEAN x; d SUB x mu",
    "difference": "mu MEAN x; s SQUARED_DIFFERENCE x mu; v MEAN s; e ADD v eps; r RSQRT e",
    "squares": "mu MEAN x; t MUL x x; w MEAN t; z MUL mu mu; v SUB w z; e ADD v eps; r RSQRT e",
    "variance": "s MUL d d; v MEAN s; e ADD v eps; r RSQRT e",
    "divisor": "s MUL d d; v MEAN s; e ADD v eps; r SQRT e; n DIV d r",
    "l2": "n L2_NORMALIZATION d",
    "squared": "s MUL d d; v MEAN s; e ADD v eps",
    "product": "v BATCH_MATMUL d d; e ADD v N*eps",
    "root": "r RSQRT e",
    "corrected": "r0 RSQRT e; p MUL e r0; u MUL p r0; c RSQRT u; r MUL r0 c",
    "normal": "n MUL d r",
    "affine": "h MUL n g; y ADD h b",
    "affine*": "h MUL n g*root; y ADD h b",
    "keras": "a MUL r g; m MUL mu a; o SUB b m; q MUL x a; y ADD q o",
}
# Parts behind the dtype in which they are computed; a QUANTIZE is in between where it differs.
FORMS = {
    "as Keras writes it, INT8": "int8 difference keras",
    "E[x^2] - E[x]^2, INT8": "int8 squares keras",
    "centred, INT8": "int8 mean variance normal affine",
    "centred, SQRT and DIV, INT8": "int8 mean divisor affine",
    "L2_NORMALIZATION, INT8": "int8 mean l2 affine*",
    "statistics INT16, the rest INT8": "int8 mean int16 product corrected int8 normal affine*",
    "gamma and beta INT8, the rest INT16": "int16 mean product corrected normal int8 affine*",
    "as Keras writes it, INT16": "int16 mean variance keras",
    "centred, INT16": "int16 mean squared root normal affine",
    "centred, corrected, INT16": "int16 mean squared corrected normal affine",
    "centred, BATCH_MATMUL, INT16": "int16 mean product root normal affine*",
    "centred, BATCH_MATMUL, corrected, INT16": "int16 mean product corrected normal affine*",
}
# Ranges that the float model does not show: u and c are 1 in it.
_ROOM = {"u": 2.0, "c": 4.0}
_FUNCTIONS: dict[str, Any] = {
    "ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide, "SQRT": np.sqrt,
    "MEAN": lambda x: x.mean(-1, keepdims=True),
    "BATCH_MATMUL": lambda x, y: (x * y).sum(-1, keepdims=True),
    "RSQRT": lambda x: 1 / np.sqrt(x),
    "SQUARED_DIFFERENCE": lambda x, y: (x - y) ** 2,
    "L2_NORMALIZATION": lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
    "QUANTIZE": lambda x: x,
}  # fmt: skip


def parameters(values: Any, dtype: str, name: str = "", operator: str = "") -> tuple[float, int]:
    """Scale and zero point that the range of some values gives."""
    if operator == "L2_NORMALIZATION":
        return kernels.FIXED[operator, dtype]
    if dtype == "int16":
        return _ROOM.get(name, float(np.abs(values).max())) / 32767, 0
    return quantmath.range_to_scale(float(values.min()), float(values.max()))


def quantize(values: Any, dtype: str, scale: float, zero_point: int) -> Any:
    """Values as integers."""
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


class Form:
    """One form as an integer model, with ranges from the float64 values of one input."""

    def __init__(self, text: str, x: Any, constants: dict[str, Any]):
        kit = flatbuffer.schema()
        self.tree, self.graph = kit.ModelT(), kit.SubGraphT()
        self.tree.version, self.tree.buffers, self.tree.operatorCodes = 3, [kit.BufferT()], []
        self.tree.subgraphs, self.graph.tensors, self.graph.operators = [self.graph], [], []
        self.values = {"x": x, **constants}
        self.constants, self.known = constants, dict[tuple[str, str], int]()
        self.axes = flatbuffer.add_constant(
            self.tree, self.graph, "axes", np.array([x.ndim - 1], np.int32)
        )
        self._tensor("x", "int8", "")
        for word in text.split():
            if word.startswith("int"):
                dtype = word
                continue
            for step in _PARTS[word].split("; "):
                result, operator, *operands = step.split()
                self._add(result, operator, operands, dtype)
        output = self._read("y", "int8")
        self.graph.inputs = np.array([self.known["x", "int8"]], np.int32)
        self.graph.outputs = np.array([output], np.int32)
        self.content = flatbuffer.serialize(self.tree)

    def _add(self, result: str, operator: str, operands: list[str], dtype: str) -> None:
        inputs = [self._read(name, dtype) for name in operands]
        self.values[result] = _FUNCTIONS[operator](*(self.values[name] for name in operands))
        output = self._tensor(result, dtype, operator)
        options = None
        if operator == "BATCH_MATMUL":
            self._multiply(inputs[0], output, dtype)
            return
        if operator == "MEAN":
            inputs.append(self.axes)
            options = flatbuffer.schema().ReducerOptionsT()
            options.keepDims = True
        elif operator in ("ADD", "SUB"):
            options = getattr(flatbuffer.schema(), f"{operator.title()}OptionsT")()
            options.potScaleInt16 = False
        elif operator in ("MUL", "DIV", "SQUARED_DIFFERENCE", "L2_NORMALIZATION"):
            names = {"SQUARED_DIFFERENCE": "SquaredDifference", "L2_NORMALIZATION": "L2Norm"}
            options = getattr(
                flatbuffer.schema(), f"{names.get(operator, operator.title())}OptionsT"
            )()
        self._operator(operator, inputs, output, dtype, options)

    def _multiply(self, rows: int, output: int, dtype: str) -> None:
        """The product of each row with itself: [1, tokens, N] to [1, tokens, 1]."""
        tensors, (_, tokens, width) = self.graph.tensors, self.values["x"].shape
        made = []
        for source, shape in ((rows, (tokens, 1, width)), (output, (tokens, 1, 1))):
            made.append(flatbuffer.add_tensor(self.graph, "rows", shape, dtype))
            tensors[made[-1]].quantization = tensors[source].quantization
        shapes = [
            flatbuffer.add_constant(self.tree, self.graph, "shape", np.array(shape, np.int32))
            for shape in ((tokens, 1, width), (1, tokens, 1))
        ]
        options = flatbuffer.schema().BatchMatMulOptionsT()
        options.adjY = True
        self._operator("RESHAPE", [rows, shapes[0]], made[0], dtype, None)
        self._operator("BATCH_MATMUL", [made[0], made[0]], made[1], dtype, options)
        self._operator("RESHAPE", [made[1], shapes[1]], output, dtype, None)

    def _operator(
        self, name: str, inputs: list[int], output: int, dtype: str, options: Any
    ) -> None:
        number = kernels.version(name, dtype)
        self.graph.operators.append(
            flatbuffer.make_operator(
                self.tree, name, inputs, [output], version=number, options=options
            )
        )

    def _tensor(self, name: str, dtype: str, operator: str, values: Any = None) -> int:
        scale, zero_point = parameters(self.values[name], dtype, name, operator)
        if values is None:
            made = flatbuffer.add_tensor(self.graph, name, self.values[name].shape, dtype)
        else:
            stored = quantize(values, dtype, scale, zero_point)
            made = flatbuffer.add_constant(self.tree, self.graph, name, stored)
        own = flatbuffer.schema().QuantizationParametersT()
        own.scale, own.zeroPoint = np.array([scale], np.float32), np.array([zero_point], np.int64)
        self.graph.tensors[made].quantization = own
        self.known[name, dtype] = made
        return made

    def _read(self, name: str, dtype: str) -> int:
        """A tensor in a dtype, for which it may have to be converted."""
        if (name, dtype) not in self.known:
            if name in self.constants:
                return self._tensor(name, dtype, "", self.constants[name])
            (source,) = (index for (known, _), index in self.known.items() if known == name)
            made = self._tensor(name, dtype, "")
            before = flatbuffer.dtype(self.graph.tensors[source])
            self._operator("QUANTIZE", [source], made, before, None)
        return self.known[name, dtype]

    def run(self, x: Any) -> tuple[Any, Any]:
        """The result in real units, and the interpreter."""
        interpreter = Interpreter(model_content=self.content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        (detail,) = interpreter.get_output_details()
        scale, zero_point = detail["quantization"]
        return (interpreter.get_tensor(detail["index"]) - float(zero_point)) * scale, interpreter


def sample(kind: str, tokens: int, width: int) -> tuple[Any, Any, dict[str, Any]]:
    """An INT8 input, its real values, and the constants of the forms."""
    random = np.random.default_rng(width)
    x = random.normal(0, 1, (1, tokens, width))
    if kind in ("channels", "both"):
        profile = np.exp(random.normal(0, 0.5, width))
        profile[random.choice(width, max(1, width // 64), replace=False)] *= 12
        x = (x + random.normal(0, 0.3, width)) * profile
    if kind in ("tokens", "both"):
        x = x * 10 ** random.uniform(-1, 0, (1, tokens, 1))
    if kind == "offset":
        x = x + random.uniform(-5, 5, (1, tokens, 1))
    gamma, beta = random.uniform(0.5, 1.5, width), random.normal(0, 0.3, width)
    constants = {
        "g": gamma, "b": beta, "g*root": gamma * np.sqrt(width), "eps": np.array(EPSILON),
        "N*eps": np.array(EPSILON * width),
    }  # fmt: skip
    scale, zero_point = parameters(x, "int8")
    stored = quantize(x, "int8", scale, zero_point)
    return stored, (stored - float(zero_point)) * scale, constants


def normalize(x: Any, constants: dict[str, Any]) -> Any:
    """Layer normalization in float64."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return centred / deviation * constants["g"] + constants["b"]


def sqnr(expected: Any, found: Any) -> float:
    """In dB, of the variation."""
    signal = float(((expected - expected.mean()) ** 2).sum())
    return quantmath.sqnr_db(signal, float(((expected - found) ** 2).sum()))


def main() -> None:
    rows: dict[str, list[float]] = {"only the result rounded": [], **{name: [] for name in FORMS}}
    for kind in KINDS:
        for width in WIDTHS:
            stored, x, constants = sample(kind, 64, width)
            expected = normalize(x, constants)
            scale, zero_point = parameters(expected, "int8")
            ideal = (quantize(expected, "int8", scale, zero_point) - float(zero_point)) * scale
            rows["only the result rounded"].append(sqnr(expected, ideal))
            for name, text in FORMS.items():
                try:
                    rows[name].append(sqnr(expected, Form(text, x, constants).run(stored)[0]))
                except RuntimeError:  # DIV refuses a divisor that is zero as an integer
                    rows[name].append(np.nan)
    stored, x, constants = sample("both", 196, 192)
    heads = " | ".join(f"{kind} {width}" for kind in KINDS for width in WIDTHS)
    print(f"| form | ms | {heads} |\n|---|--:|{'--:|' * len(KINDS) * len(WIDTHS)}")
    for name, figures in rows.items():
        took = ""
        if name in FORMS and not np.isnan(figures).any():
            _, interpreter = Form(FORMS[name], x, constants).run(stored)
            times = []
            for _ in range(51):
                start = time.perf_counter()
                interpreter.invoke()
                times.append(time.perf_counter() - start)
            took = f"{1e3 * np.median(times):.2f}"
        cells = " | ".join("fails" if np.isnan(value) else f"{value:.1f}" for value in figures)
        print(f"| {name} | {took} | {cells} |")


if __name__ == "__main__":
    main()
