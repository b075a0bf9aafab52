"""The child that reads and lowers an ONNX model, run by a Python that has onnx2tf.

    python onnx_child.py FD        answers the calls of `Session`, see `serving.py`

It needs the standard library and onnx2tf with what that brings (numpy, onnx, onnxruntime,
ai-edge-litert), and of edgeq only what the start of the child brings, so these packages can be in
an environment without edgeq. Arrays travel as `.npz` files, named by the position of the input or
output in the source model.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

# The start of the child brings these two.
from edgeq.children.sandbox import confine_as_planned
from edgeq.children.serving import CallError, first_line, run_in_batches, serve

# Sums in another order differ far less, another order of the axes far more.
_SAME = 1e-2
_HINT = "-v shows its own output; a PyTorch model can be saved with torch.export.save instead."


class Session:
    """The ONNX model of this process, and the calls on it."""

    def __init__(self) -> None:
        self.path = ""
        self.model: Any = None
        self.runtime: Any = None
        self.inputs: list[tuple[str, list[int], str]] = []
        self.shapes: list[list[int]] = []
        self.moved_inputs: list[int] = []
        self.moved_outputs: list[int] = []

    def load(self, path: str, trusted: bool) -> dict[str, Any]:
        """Read an ONNX file with its external data; shapes are -1 where dynamic.

        Args:
            path: of the file.
            trusted: not used, because an ONNX file holds no code.
        """
        try:
            import onnx
            import onnx2tf
            import onnxruntime
        except ImportError as error:
            raise CallError("MissingExtraError", str(error)) from error
        gaps = confine_as_planned()
        self.path = path
        try:
            self.model = onnx.load(path)
        except Exception as error:
            raise CallError(
                "SourceError",
                f"{path} is incomplete or is not an ONNX model: {first_line(error)}.",
                "Export it again; weights in separate files must be in the same folder.",
            ) from error
        self._refuse_weights()
        onnxruntime.set_default_logger_severity(3)
        try:
            self.runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise CallError(
                "SourceError",
                f"onnxruntime cannot run {path}: {first_line(error)}.",
                "edgeq compares the result with the source, so the source must run.",
            ) from error
        self.inputs = [_describe_input(path, item) for item in self.runtime.get_inputs()]
        return {
            "framework": f"onnx {onnx.__version__}, onnx2tf {onnx2tf.__version__}",
            "inputs": self.inputs,
            "gaps": gaps,
        }

    def _refuse_weights(self) -> None:
        """Raise for a quantized model, and for weights that TensorFlow Lite cannot compute with."""
        import onnx

        quantizers = ("QuantizeLinear", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear")
        nodes = [node for node in self.model.graph.node if node.op_type in quantizers]
        if nodes:
            raise CallError(
                "SourceError",
                f"{self.path} is already quantized: {len(nodes)} operators, "
                f"{(nodes[0].name or nodes[0].op_type)!r} first.",
                "Convert the float model.",
            )
        kinds = onnx.TensorProto
        names = {kinds.DOUBLE: "float64", kinds.FLOAT16: "float16", kinds.BFLOAT16: "bfloat16"}
        wide = [w for w in self.model.graph.initializer if w.data_type in names and len(w.dims) > 1]
        if wide:
            raise CallError(
                "SourceError",
                f"{self.path} has weights that are not float32: {len(wide)} tensors, "
                f"{wide[0].name!r} of {names[wide[0].data_type]} first.",
                "Export the model in float32.",
            )

    def prepare(self, out: str, shapes: list[list[int]]) -> None:
        """Write a copy with fixed shapes, whose inputs and outputs are named by position.

        Args:
            out: path to write.
            shapes: of all inputs, in the source's layout.
        """
        import onnx

        self.shapes = shapes
        names = [name for name, _, _ in self.inputs]
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        graph = copy.graph
        renamed = {name: f"input_{i}" for i, name in enumerate(names)}
        renamed.update({item.name: f"output_{i}" for i, item in enumerate(graph.output)})
        _rename(graph, renamed)
        for item in graph.input:
            if item.name in names:
                shape = item.type.tensor_type.shape
                del shape.dim[:]
                for size in shapes[names.index(item.name)]:
                    shape.dim.add().dim_value = size
            item.name = renamed.get(item.name, item.name)
        for item in graph.output:
            item.name = renamed[item.name]
            item.type.tensor_type.ClearField("shape")
        del graph.value_info[:]  # they may state dynamic sizes, and have the old names
        onnx.save(onnx.shape_inference.infer_shapes(copy), out)

    def lower(
        self, out: str, prepared: str, shapes: list[list[int]], moves: list[int]
    ) -> dict[str, Any]:
        """Convert, and find out from values which dimensions were moved.

        Args:
            out: path to write.
            prepared: the file of `prepare`, which the simplifier may have changed.
            shapes: of all inputs, in the source's layout.
            moves: positions of the inputs whose second dimension moves to the end.
        """
        import onnx2tf

        self.moved_inputs = moves
        folder = Path(out).with_suffix("")
        folder.mkdir()
        # onnx2tf writes into its source; this process cannot write into the working folder.
        source = shutil.copyfile(prepared, folder / "model.onnx")
        kept = [f"input_{i}" for i, shape in enumerate(shapes) if len(shape) > 2 and i not in moves]
        try:
            onnx2tf.convert(
                input_onnx_file_path=str(source),
                output_folder_path=str(folder / "made"),
                not_use_onnxsim=True,  # `onnxsim_child.py` did it; onnx2tf would start a program
                copy_onnx_input_output_names_to_tflite=True,
                keep_ncw_or_nchw_or_ncdhw_input_names=kept or None,
                non_verbose=True,
            )
            (made,) = (folder / "made").glob("*_float32.tflite")
        # onnx2tf ends the process when it fails.
        except (Exception, SystemExit) as error:
            raise CallError(
                "LoweringError",
                f"onnx2tf refused the model: {type(error).__name__}: {first_line(error)}.",
                _HINT,
            ) from error
        made.replace(out)
        order, self.moved_outputs = self._compare(out)
        names = [item.name for item in self.runtime.get_outputs()]
        return {"outputs": names, "order": order, "moved": self.moved_outputs}

    def predict(self, arrays: str, out: str) -> None:
        """The source's outputs in the lowered model's layout, one batch at a time."""
        run_in_batches(arrays, out, self.shapes, self._run)

    def _run(self, fed: dict[int, Any]) -> list[Any]:
        """Run onnxruntime on a batch in the lowered model's layout; outputs in that layout."""
        import numpy

        feeds = {}
        for position, (name, _, dtype) in enumerate(self.inputs):
            if position not in fed:  # the converter removed an input that no output depends on
                feeds[name] = numpy.zeros(self.shapes[position], dtype)
            elif position in self.moved_inputs:
                feeds[name] = numpy.moveaxis(fed[position], -1, 1).astype(dtype)
            else:
                feeds[name] = fed[position].astype(dtype)
        outputs = self.runtime.run(None, feeds)
        return [
            numpy.moveaxis(value, 1, -1) if i in self.moved_outputs else value
            for i, value in enumerate(outputs)
        ]

    def _compare(self, path: str) -> tuple[list[int], list[int]]:
        """The order of the lowered model's outputs, and which of them have channels last.

        onnx2tf leaves outputs of images channels last where that saves a transpose. Shapes do not
        always show it; values do.
        """
        import numpy
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # Without delegates: only the values count here, and XNNPACK refuses some models.
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        random, fed = numpy.random.default_rng(0), {}
        try:
            interpreter = Interpreter(path, experimental_op_resolver_type=plain)
            interpreter.allocate_tensors()
            for item in interpreter.get_input_details():  # normal floats, zero integers
                array = random.standard_normal(item["shape"]) * (item["dtype"] == numpy.float32)
                fed[_position(item["name"])] = array = array.astype(item["dtype"])
                interpreter.set_tensor(item["index"], array)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            message = f"The model that onnx2tf made cannot be run: {first_line(error)}."
            _, custom, rest = str(error).partition("unresolved custom op: ")
            if custom:
                name = rest.partition(".")[0].removeprefix("ONNX_")
                types = {node.op_type.upper(): node.op_type for node in self.model.graph.node}
                name = types.get(name, name)
                message = f"onnx2tf cannot express the operator {name} in TensorFlow Lite."
            raise CallError("LoweringError", message, _HINT) from error
        expected = self._run(fed)
        order, moved = [], []
        for item in interpreter.get_output_details():
            position, got = _position(item["name"]), interpreter.get_tensor(item["index"])
            order.append(position)
            want = expected[position]
            if want.ndim > 2 and not _is_same(got, want):
                moved += [position] if _is_same(got, numpy.moveaxis(want, 1, -1)) else []
        return order, moved


def _describe_input(path: str, item: Any) -> tuple[str, list[int], str]:
    """Name, shape (-1 where dynamic) and numpy dtype of an input."""
    dtype = item.type.removeprefix("tensor(").removesuffix(")")
    if not item.type.startswith("tensor(") or dtype in ("string", "double", "float16", "bfloat16"):
        raise CallError(
            "SourceError",
            f"{path} takes {item.name!r} as {item.type}, which edgeq cannot feed.",
            "Export the model with float32 or integer tensors as inputs.",
        )
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in item.shape]
    return item.name, shape, "float32" if dtype == "float" else dtype


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    """Rename values in all nodes, those inside branches and loops included."""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, renamed)


def _position(name: str) -> int:
    """The number in "input_3" or "serving_default_output_3:0"."""
    return int(name.partition(":")[0].rpartition("put_")[2])


def _is_same(got: Any, expected: Any) -> bool:
    import numpy

    if got.shape != expected.shape:
        return False
    peak = float(numpy.max(numpy.abs(expected), initial=0.0)) or 1.0
    return float(numpy.max(numpy.abs(got - expected.astype(got.dtype)), initial=0.0)) < _SAME * peak


if __name__ == "__main__":
    serve(Session(), int(sys.argv[1]))
