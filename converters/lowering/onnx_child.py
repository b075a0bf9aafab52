"""The child that reads and lowers an ONNX model, run by a Python that has onnx2tf.

Its argument is the descriptor for replies; it answers the calls of `Session`, see `serving.py`. It
needs the standard library and onnx2tf with what that brings (numpy, onnx, onnxruntime,
ai-edge-litert); the start of the child brings the files of edgeq, which that Python need not have.
Arrays travel as `.npz` files, named by the position of the input or output in the source model.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeq.children.sandbox import confine_as_planned
from edgeq.children.serving import CallError, first_line, run_in_batches, serve
from edgeq.converters.lowering import onnx_graph

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
        self.constants: dict[str, tuple[list[int], str, float]] = {}
        self.left: list[tuple[str, list[str]]] = []

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
        onnx_graph.refuse_integers(path, self.model)
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
            "framework": f"onnx {onnx.__version__}, onnx2tf {onnx2tf.__version__}, {_simplifier()}",
            "inputs": self.inputs,
            "gaps": gaps,
        }

    def _refuse_weights(self) -> None:
        """Raise for weights that TensorFlow Lite cannot compute with."""
        import onnx

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

    def prepare(
        self, out: str, shapes: list[list[int]], fixed: dict[str, float], ranges: bool
    ) -> dict[str, Any]:
        """Write a copy with fixed shapes, whose inputs and outputs are named by position.

        Args:
            out: path to write.
            shapes: of all inputs that are not in `fixed`, in the source's layout.
            fixed: values of inputs that become constants.
            ranges: keep the Q/DQ pairs of a quantized model, for their ranges.
        """
        import onnx

        sizes = {name: [max(size, 1) for size in shape] for name, shape, _ in self.inputs}
        self.constants = {
            name: (sizes[name], dtype, fixed[name])
            for name, _, dtype in self.inputs
            if name in fixed
        }
        self.inputs = [item for item in self.inputs if item[0] not in fixed]
        self.shapes = shapes
        sizes.update({name: shape for (name, _, _), shape in zip(self.inputs, shapes, strict=True)})
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        del copy.graph.value_info[:]  # they may state dynamic sizes
        for item in copy.graph.input:
            if item.name in sizes:
                shape = item.type.tensor_type.shape
                del shape.dim[:]
                for size in sizes[item.name]:
                    shape.dim.add().dim_value = size
        onnx_graph.fix_inputs(copy, fixed)
        self.left = onnx_graph.choose_branches(copy)
        notes = self._read_quantized(copy, ranges=ranges)
        self._name_by_position(copy.graph)
        onnx.save(onnx.shape_inference.infer_shapes(copy), out)
        return {"notes": notes}

    def _read_quantized(self, copy: Any, *, ranges: bool) -> list[str]:
        """Read Q/DQ nodes; without their ranges, the reference is the float model, too."""
        import onnxruntime

        if not onnx_graph.is_quantized(copy):
            return []
        count, reason = onnx_graph.read_quantized(self.path, copy, keeps=ranges)
        if ranges and not reason:
            return [f"the ranges of {count} Q/DQ pairs are used, not those of samples"]
        self.runtime = onnxruntime.InferenceSession(
            copy.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self.constants = {}
        why = f": {reason}" if reason else ""
        return [f"{count} Q/DQ pairs were removed, and samples give the ranges{why}"]

    def _name_by_position(self, graph: Any) -> None:
        names = [name for name, _, _ in self.inputs]
        renamed = {name: f"input_{i}" for i, name in enumerate(names)}
        renamed.update({item.name: f"output_{i}" for i, item in enumerate(graph.output)})
        onnx_graph.rename(graph, renamed)
        for item in graph.input:
            item.name = renamed.get(item.name, item.name)
        ranks = [len(item.shape) for item in self.runtime.get_outputs()]
        for item, rank in zip(graph.output, ranks, strict=True):
            item.name = renamed[item.name]
            shape = item.type.tensor_type.shape
            del shape.dim[:]  # their sizes are those of other inputs, but onnxsim needs a rank
            for _ in range(rank):
                shape.dim.add()

    def lower(
        self, out: str, prepared: dict[str, str], shapes: list[list[int]], moves: list[int]
    ) -> dict[str, Any]:
        """Convert by the first route that gives the source's outputs, and find moved dimensions.

        Args:
            out: path to write.
            prepared: the file of `prepare` in its forms, by their names in messages.
            shapes: of all inputs, in the source's layout.
            moves: positions of the inputs whose second dimension moves to the end.

        Returns:
            Names, order and moved positions of the outputs, and what other routes failed with.
        """
        self.moved_inputs = moves
        folder = Path(out).with_suffix("")
        folder.mkdir()
        kept = [f"input_{i}" for i, shape in enumerate(shapes) if len(shape) > 2 and i not in moves]
        failed: list[CallError] = []
        for place, (name, source) in enumerate(prepared.items()):
            try:
                made = _convert(source, folder / str(place), kept)
                order, self.moved_outputs = self._compare(str(made), name)
            except CallError as error:
                failed.append(error)
                continue
            made.replace(out)
            names = [item.name for item in self.runtime.get_outputs()]
            notes = [error.message for error in failed]
            return {"outputs": names, "order": order, "moved": self.moved_outputs, "notes": notes}
        raise self._explain(failed)

    def _explain(self, failed: list[CallError]) -> CallError:
        """The error when no route was right: a branch is the cause if one was left."""
        if self.left:
            name, inputs = self.left[0]
            given = " and ".join(map(repr, inputs))
            scalars = [item[0] for item in self.inputs if item[0] in inputs and item[1] == []]
            hint = "Export the model without the branch that you do not need."
            if len(scalars) == len(inputs):
                hint = " ".join(f"--fix-input {item}=VALUE" for item in scalars)
                hint = f"Choose the branch with {hint}."
            return CallError(
                "LoweringError", f"The If node {name!r} depends on the value of {given}.", hint
            )
        return failed[0]

    def predict(self, arrays: str, out: str) -> None:
        """The source's outputs in the lowered model's layout, one batch at a time."""
        run_in_batches(arrays, out, self.shapes, self._run)

    def _run(self, fed: dict[int, Any]) -> list[Any]:
        """Run onnxruntime on a batch in the lowered model's layout; outputs in that layout."""
        import numpy

        feeds = {
            name: numpy.full(shape, value).astype(dtype)
            for name, (shape, dtype, value) in self.constants.items()
        }
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

    def _compare(self, path: str, name: str) -> tuple[list[int], list[int]]:
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
                found = rest.partition(".")[0].removeprefix("ONNX_")
                types = {node.op_type.upper(): node.op_type for node in self.model.graph.node}
                found = types.get(found, found)
                message = f"onnx2tf cannot express the operator {found} in TensorFlow Lite."
            raise CallError("LoweringError", message, _HINT) from error
        expected = self._run(fed)
        order, moved = [], []
        for item in interpreter.get_output_details():
            position, got = _position(item["name"]), interpreter.get_tensor(item["index"])
            order.append(position)
            want = expected[position]
            last = want if want.ndim < 3 else numpy.moveaxis(want, 1, -1)
            differs, swapped = _difference(got, want), _difference(got, last)
            if swapped < min(differs, _SAME):
                moved.append(position)
            elif not differs < _SAME:
                output = self.runtime.get_outputs()[position].name
                raise CallError(
                    "LoweringError",
                    f"onnx2tf made another function of the {name} model: output {output!r} "
                    f"differs by {differs:.1%} of its largest value.",
                    _HINT,
                )
        return order, moved


def _convert(source: str, folder: Path, kept: list[str]) -> Path:
    """Convert a file with onnx2tf.

    Args:
        kept: names of the inputs whose layout stays.
    """
    import onnx2tf

    folder.mkdir()
    # onnx2tf writes into its source; this process cannot write into the working folder.
    copy = shutil.copyfile(source, folder / "model.onnx")
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
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
    return made


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


def _simplifier() -> str:
    """The version of onnxsim, which a process of its own imports."""
    try:
        return f"onnxsim {metadata.version('onnxsim')}"
    except metadata.PackageNotFoundError:
        return "no onnxsim"


def _position(name: str) -> int:
    """The number in "input_3" or "serving_default_output_3:0"."""
    return int(name.partition(":")[0].rpartition("put_")[2])


def _difference(got: Any, expected: Any) -> float:
    """The largest difference relative to the largest value; both may hold NaN in equal places."""
    import numpy

    unknown = numpy.isnan(got), numpy.isnan(expected)
    if got.shape != expected.shape or not numpy.array_equal(*unknown):
        return float("inf")
    peak = float(numpy.nanmax(numpy.abs(expected), initial=0.0)) or 1.0
    return float(numpy.nanmax(numpy.abs(got - expected.astype(got.dtype)), initial=0.0)) / peak


def main() -> None:
    """Serve requests until the parent closes."""
    serve(Session(), int(sys.argv[1]))
