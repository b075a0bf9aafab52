"""onnxsim in its own process, which runs `main`, and onnx2tf in that of `onnx_child.py`."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeq.children.sandbox import confine_as_planned
from edgeq.children.serving import CallError, first_line
from edgeq.converters.lowering import onnx_graph

_DIRECT, _TENSORFLOW = "flatbuffer_direct", "tf_converter"
_ROUNDS = 3  # as onnx2tf does: one round can make the next one possible
HINT = "-v shows its own output; a PyTorch model can be saved with torch.export.save instead."


def main() -> None:
    """Simplify the first file that is named into the second one, or end with a sentence."""
    import onnx
    import onnxsim

    confine_as_planned()
    source, target = sys.argv[1:]
    model = onnx.load(source)
    for _ in range(_ROUNDS):
        model, is_same = onnxsim.simplify(model)
        if not is_same:
            sys.exit("the outputs of the simplified model differ")
    onnx.save(model, target)


def find_backends() -> tuple[str, ...]:
    """The backends of onnx2tf that this Python has, in the order in which to try them.

    The second one needs TensorFlow, takes seconds to import it, and fails more often.
    """
    has_tensorflow = all(map(importlib.util.find_spec, ("tensorflow", "tf_keras")))
    return (_DIRECT, _TENSORFLOW) if has_tensorflow else (_DIRECT,)


def convert(source: str, folder: Path, kept: list[str], backend: str) -> Path:
    """Convert a file with onnx2tf.

    Args:
        folder: to make, for all that onnx2tf writes.
        kept: names of the inputs whose layout stays.
        backend: one of `find_backends`.

    Raises:
        CallError: onnx2tf refused the model.
    """
    import onnx
    import onnx2tf

    folder.mkdir()
    model, copy = onnx.load(source), str(folder / "model.onnx")
    onnx_graph.reshape_statically(model)
    if backend == _TENSORFLOW:  # it moves the channels of each input
        onnx_graph.turn_inputs(model.graph, kept)
        kept = []
    onnx.save(model, copy)
    try:
        onnx2tf.convert(
            input_onnx_file_path=copy,
            output_folder_path=str(folder / "made"),
            not_use_onnxsim=True,  # `main` did it; onnx2tf would start a program
            copy_onnx_input_output_names_to_tflite=True,
            keep_ncw_or_nchw_or_ncdhw_input_names=kept or None,
            non_verbose=True,
            tflite_backend=backend,
        )
        (made,) = (folder / "made").glob("*_float32.tflite")
    # onnx2tf ends the process when it fails.
    except (Exception, SystemExit) as error:
        raise CallError(
            "LoweringError",
            f"onnx2tf refused the model: {type(error).__name__}: {first_line(error)}.",
            HINT,
        ) from error
    return made


class Made(NamedTuple):
    """A model that a route made, and what a comparison with its source found.

    Attributes:
        path: of the file.
        order: positions of the source's outputs in the file's order.
        moved: those whose second dimension is the last one.
        sqnr_db: of the worst output.
    """

    path: Path
    order: list[int]
    moved: list[int]
    sqnr_db: float


def choose(routes: Mapping[str, Callable[[], Made]], good_db: float) -> tuple[str, Made, list[str]]:
    """Take the first route whose model has so many dB; if none has, the best one.

    Args:
        routes: by their names in messages, in the order in which to try them.
        good_db: SQNR from which on no other route is tried.

    Returns:
        The route, its model, and a note if others were tried.

    Raises:
        CallError: of the first route, if every one failed.
    """
    made: dict[str, Made] = {}
    failed: dict[str, CallError] = {}
    for route, make in routes.items():
        try:
            made[route] = make()
        except CallError as error:
            failed[route] = error
            continue
        if made[route].sqnr_db >= good_db:
            break
    if not made:
        raise next(iter(failed.values()))
    best = max(made, key=lambda route: made[route].sqnr_db)
    reasons = {error.message.rstrip("."): route for route, error in reversed(failed.items())}
    others = [f"{route} failed: {reason}" for reason, route in reversed(reasons.items())]
    others += [
        f"{route} has {own.sqnr_db:.0f} dB instead of {made[best].sqnr_db:.0f}"
        for route, own in made.items()
        if route != best
    ]
    return best, made[best], [f"lowered by {best}; {'; '.join(others)}."] if others else []


def run(path: str, operators: Collection[str]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Run a lowered model on normal floats and zero integers.

    Args:
        operators: names of those in the source, for messages.

    Returns:
        Inputs and outputs by their positions in the source; outputs in the lowered order.

    Raises:
        CallError: it cannot be run.
    """
    import numpy
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates: only the values count here, and XNNPACK refuses some models.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    random, fed = numpy.random.default_rng(0), {}
    try:
        interpreter = Interpreter(path, experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
        for item in interpreter.get_input_details():
            array = random.standard_normal(item["shape"]) * (item["dtype"] == numpy.float32)
            fed[_position(item["name"])] = array = array.astype(item["dtype"])
            interpreter.set_tensor(item["index"], array)
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        message = f"The model that onnx2tf made cannot be run: {first_line(error)}."
        _, custom, rest = str(error).partition("unresolved custom op: ")
        if custom:
            name = rest.partition(".")[0].removeprefix("ONNX_")
            name = {item.upper(): item for item in operators}.get(name, name)
            message = f"onnx2tf cannot express the operator {name} in TensorFlow Lite."
        raise CallError("LoweringError", message, HINT) from error
    return fed, {
        _position(item["name"]): interpreter.get_tensor(item["index"])
        for item in interpreter.get_output_details()
    }


def _position(name: str) -> int:
    """The number in "input_3" or "serving_default_output_3:0"."""
    return int(name.partition(":")[0].rpartition("put_")[2])


def difference(got: Any, expected: Any) -> float:
    """The largest difference relative to the largest value; both may hold NaN in equal places."""
    import numpy

    unknown = numpy.isnan(got), numpy.isnan(expected)
    if got.shape != expected.shape or not numpy.array_equal(*unknown):
        return float("inf")
    peak = float(numpy.nanmax(numpy.abs(expected), initial=0.0)) or 1.0
    return float(numpy.nanmax(numpy.abs(got - expected.astype(got.dtype)), initial=0.0)) / peak


def sqnr_db(got: Any, expected: Any) -> float:
    """The SQNR of values in dB; NaN in equal places does not count."""
    import numpy

    ours = numpy.nan_to_num(expected.astype(numpy.float64))
    error = float(numpy.sum((numpy.nan_to_num(got.astype(numpy.float64)) - ours) ** 2))
    energy = float(numpy.sum(ours**2))
    return 10 * math.log10(energy / error) if error and energy else -math.inf if error else math.inf
