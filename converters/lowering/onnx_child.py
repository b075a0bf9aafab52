"""The child that reads and lowers an ONNX model, run by a Python that has onnx2tf.

Its argument is the descriptor for replies; it answers the calls of `Session`, see `serving.py`. It
needs the standard library and onnx2tf with what that brings (numpy, onnx, onnxruntime,
ai-edge-litert); the start of the child brings the files of edgeq, which that Python need not have.
Arrays travel as `.npz` files, named by the position of the input or output in the source model.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from edgeq.children.sandbox import confine_as_planned
from edgeq.children.serving import CallError, first_line, run_in_batches, serve
from edgeq.converters.lowering import onnx_graph, onnx_recurrent, onnx_routes

# Sums in another order differ far less, another order of the axes far more.
_SAME = 1e-2
# Another backend is tried below this.
_GOOD_DB = 60.0
# An output of 8 bits may be a few steps away if a rounding before it falls otherwise.
_SAME_ROUNDED = 0.1


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
        self.is_rounded = False
        self.led_inputs: list[int] = []
        self.led_outputs: list[int] = []

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
        self._require_branches(onnx_graph.choose_branches(copy))
        notes = self._read_quantized(copy, ranges=ranges)
        notes += [
            f"the recurrent layer {name!r} may keep its state from one inference to the next: call "
            "reset_all_variables() before each one"
            for name in onnx_recurrent.unroll(copy)
        ]
        self._name_by_position(copy.graph)
        notes += self._lead_with_one(copy.graph)
        onnx.save(onnx.shape_inference.infer_shapes(copy), out)
        return {"notes": notes}

    def _require_branches(self, left: list[tuple[str, list[str]]]) -> None:
        """Raise for an If that the user can decide: it depends on single integers."""
        numbers = {
            name for name, shape, dtype in self.inputs if shape in ([], [1]) and "int" in dtype
        }
        for name, inputs in left:
            if numbers.issuperset(inputs):
                given = " and ".join(map(repr, inputs))
                options = " ".join(f"--fix-input {shlex.quote(f'{item}=VALUE')}" for item in inputs)
                raise CallError(
                    "LoweringError",
                    f"The If node {name!r} chooses a part of the model by the value of {given}.",
                    f"Convert one part: {options}.",
                )

    def _read_quantized(self, copy: Any, *, ranges: bool) -> list[str]:
        """Read Q/DQ nodes; without their ranges, the reference is the float model, too."""
        import onnxruntime

        if not onnx_graph.is_quantized(copy):
            return []
        count, reason = onnx_graph.read_quantized(self.path, copy, keeps=ranges)
        self.is_rounded = ranges and not reason
        if self.is_rounded:
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

    def _lead_with_one(self, graph: Any) -> list[str]:
        """Give inputs and outputs a batch dimension if the first dimensions of the inputs differ.

        The states of recurrent layers begin with the number of layers, and some models with the
        number of time steps. A sample is one inference then.
        """
        import numpy

        if len({shape[0] for shape in self.shapes if shape}) < 2:
            return []
        feeds = {
            i: numpy.zeros(shape, dtype)
            for i, ((_, _, dtype), shape) in enumerate(zip(self.inputs, self.shapes, strict=True))
        }
        made = [list(value.shape) for value in self._run(feeds)]
        self.led_inputs = [i for i, shape in enumerate(self.shapes) if shape[:1] not in ([], [1])]
        self.led_outputs = [i for i, shape in enumerate(made) if shape[:1] != [1]]
        onnx_graph.lead_with_one(
            graph,
            {f"input_{i}": self.shapes[i] for i in self.led_inputs},
            {f"output_{i}": made[i] for i in self.led_outputs},
        )
        outputs = [item.name for item in self.runtime.get_outputs()]
        led = [("input", self.inputs[i][0], self.shapes[i]) for i in self.led_inputs]
        led += [("output", outputs[i], made[i]) for i in self.led_outputs]
        self.shapes = [
            [1, *shape] if i in self.led_inputs else shape for i, shape in enumerate(self.shapes)
        ]
        return [
            f"{kind} {name!r} is 1x{own}, with a batch dimension; in the source it is {own}"
            for kind, name, shape in led
            for own in ["x".join(map(str, shape))]
        ]

    def lower(self, out: str, prepared: dict[str, str], moves: list[int]) -> dict[str, Any]:
        """Convert by the first route that gives the source's outputs, and find moved dimensions.

        Args:
            out: path to write.
            prepared: the file of `prepare` in its forms, by their names in messages.
            moves: positions of the inputs whose second dimension moves to the end.

        Returns:
            Names, order and moved positions of the outputs, the route, and notes.
        """
        self.moved_inputs = moves
        folder = Path(out).with_suffix("")
        folder.mkdir()
        kept = [
            f"input_{i}" for i, shape in enumerate(self.shapes) if len(shape) > 2 and i not in moves
        ]
        backends = onnx_routes.find_backends()

        def make(backend: str, name: str) -> onnx_routes.Made:
            place = folder / f"{backend}-{name}"
            made = onnx_routes.convert(prepared[name], place, kept, backend)
            return onnx_routes.Made(made, *self._compare(str(made), name))

        routes = {
            f"{backend} from the {name} model": partial(make, backend, name)
            for backend, name in product(backends, prepared)
        }
        try:
            route, best, notes = onnx_routes.choose(
                routes, -math.inf if self.is_rounded else _GOOD_DB
            )
        except CallError as error:
            raise _with_way_out(error, backends) from error
        best.path.replace(out)
        self.moved_outputs = best.moved
        return {
            "outputs": [item.name for item in self.runtime.get_outputs()],
            "order": best.order,
            "moved": best.moved,
            "route": route,
            "notes": notes,
        }

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
            if position in self.led_inputs:
                feeds[name] = feeds[name][0]
        outputs = self.runtime.run(None, feeds)
        for i in self.led_outputs:
            outputs[i] = outputs[i][numpy.newaxis]
        return [
            numpy.moveaxis(value, 1, -1) if i in self.moved_outputs else value
            for i, value in enumerate(outputs)
        ]

    def _compare(self, path: str, name: str) -> tuple[list[int], list[int], float]:
        """The order of the lowered model's outputs, which have channels last, and the worst SQNR.

        onnx2tf leaves outputs of images channels last where that saves a transpose. Shapes do not
        always show it; values do.

        Raises:
            CallError: the two compute different functions.
        """
        import numpy

        fed, made = onnx_routes.run(path, {node.op_type for node in self.model.graph.node})
        expected = self._run(fed)
        most, moved = _SAME_ROUNDED if self.is_rounded else _SAME, []
        worst_db = math.inf
        for position, got in made.items():
            want = expected[position]
            last = want if want.ndim < 3 else numpy.moveaxis(want, 1, -1)
            differs, swapped = (onnx_routes.difference(got, item) for item in (want, last))
            if swapped < min(differs, most):
                moved.append(position)
            elif not differs < most:
                output = self.runtime.get_outputs()[position].name
                raise CallError(
                    "LoweringError",
                    f"onnx2tf made another function of the {name} model: output {output!r} "
                    f"differs by {differs:.1%} of its largest value.",
                    onnx_routes.HINT,
                )
            same = last if position in moved else want
            worst_db = min(worst_db, onnx_routes.sqnr_db(got, same))
        return list(made), moved, worst_db


def _with_way_out(error: CallError, backends: Sequence[str]) -> CallError:
    """The error of the first route, with what to install if only one backend is installed."""
    if len(backends) > 1:
        return error
    hint = (
        f"Another backend of onnx2tf may convert the model: {sys.executable} -m pip install "
        '"onnx2tf[tensorflow]".'
    )
    return CallError(error.kind, error.message, f"{error.hint} {hint}" if error.hint else hint)


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
    """The version of onnxsim, which a separate process imports."""
    try:
        return f"onnxsim {metadata.version('onnxsim')}"
    except metadata.PackageNotFoundError:
        return "no onnxsim"


def main() -> None:
    """Serve requests until the parent closes."""
    serve(Session(), int(sys.argv[1]))
