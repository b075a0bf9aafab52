"""The child that reads and lowers an exported PyTorch program, run by a Python with litert-torch.

Its argument is the descriptor for replies; it answers the calls of `Session`, see `serving.py`. It
needs the standard library, numpy, torch and litert-torch; the start of the child brings the files
of edgeq, which that Python need not have. Arrays travel as `.npz` files, named by the position of
the input or output in the source model.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from edgeq.children.sandbox import confine_as_planned
from edgeq.children.serving import CallError, first_line, run_in_batches, serve

_LSTM = "aten.lstm.input"
_RECURRENT = (_LSTM, "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
# The place of the argument that says whether it is training.
_TRAINING = {"aten.batch_norm": 5, "aten.dropout": 2, "aten.feature_dropout": 2,
             "aten.alpha_dropout": 2, "aten.feature_alpha_dropout": 2, "aten.rrelu": 3}  # fmt: skip
_SIDES = ("", "_reverse")  # as PyTorch names the weights
_OTHER_FLOATS = ("float64", "float16", "bfloat16")


class Session:
    """The exported program of this process, and the calls on it."""

    def __init__(self) -> None:
        self.program: Any = None
        self.inputs: list[tuple[str, list[int], str]] = []
        self.shapes: list[list[int]] = []
        self.flat: Any = None

    def load(self, path: str, trusted: bool) -> dict[str, Any]:
        """Read a file of `torch.export.save`; shapes are -1 where dynamic."""
        try:
            import litert_torch
            import torch
        except ImportError as error:
            raise CallError("MissingExtraError", str(error)) from error
        gaps = confine_as_planned()
        self.program = _load_program(path, trusted)
        _refuse_program(path, self.program)
        self.inputs = _inputs(path, self.program)
        return {
            "framework": f"torch {torch.__version__}, litert-torch {litert_torch.__version__}",
            "inputs": self.inputs,
            "gaps": gaps,
        }

    def lower(
        self, out: str, shapes: list[list[int]], moves: list[int], *, fuses: bool
    ) -> dict[str, Any]:
        """Export again with fixed shapes, and write the float `.tflite`.

        Args:
            out: path to write.
            shapes: of all inputs, in the source's layout.
            moves: positions of the inputs whose second dimension moves to the end; if there are
                any, that of outputs of rank 4 moves, too.
            fuses: leave markers of the LSTM layers that one operator can compute, which
                `converters.graph.marked_lstm` replaces.
        """
        import litert_torch
        import torch

        self.shapes = shapes
        self.flat = _flatten_calls(self.program, moves)
        arguments = []
        for i, ((_, _, dtype), shape) in enumerate(zip(self.inputs, shapes, strict=True)):
            zeros = torch.zeros(shape, dtype=getattr(torch, dtype))
            arguments.append(zeros.permute(0, 2, 3, 1).contiguous() if i in moves else zeros)
        try:
            outputs = self.flat(*arguments)
        except Exception as error:
            given = zip(self.inputs, shapes, strict=True)
            shown = ", ".join(f"{name}={','.join(map(str, own))}" for (name, _, _), own in given)
            raise CallError(
                "UsageError",
                f"The program cannot run with {shown}: {first_line(error)}.",
                "Pass other sizes with --input-shape or --batch, or export it for these.",
            ) from error
        try:
            lowered = _flatten_calls(self.program, moves, fuses=fuses)
            litert_torch.convert(lowered, tuple(arguments)).export(out)
        except Exception as error:
            raise _explain_refusal(error, self.program) from error
        moved = [i for i, value in enumerate(outputs) if moves and value.dim() == 4]
        recurrent = {node: fuses and _is_fusable(node) for node in _recurrent(self.program)}
        return {
            "fused": [_layer_name(node) for node, is_fused in recurrent.items() if is_fused],
            "unrolled": [_layer_name(node) for node, is_fused in recurrent.items() if not is_fused],
            "outputs": _output_names(self.program),
            "order": list(range(len(outputs))),
            "moved": moved,
            "notes": [],
        }

    def predict(self, arrays: str, out: str) -> None:
        """The source's outputs in the lowered model's layout, one batch at a time."""
        import torch

        def run(given: dict[int, Any]) -> list[Any]:
            fed = []
            for position, (_, _, dtype) in enumerate(self.inputs):
                if position in given:
                    part = torch.from_numpy(given[position].copy())
                else:  # the converter removed an input that no output depends on
                    part = torch.zeros(self.shapes[position])
                fed.append(part.to(getattr(torch, dtype)))
            with torch.no_grad():
                return [value.detach().numpy() for value in self.flat(*fed)]

        run_in_batches(arrays, out, self.shapes, run)


# ---------------------------------------------------------------- reading


def _load_program(path: str, trusted: bool) -> Any:
    """`torch.export.load`, which may unpickle only tensors, unless the file is trusted."""
    import torch

    load = torch.load
    if not trusted:
        # torch.export passes weights_only=False in some places.
        torch.load = lambda *given, **options: load(*given, **{**options, "weights_only": True})
    try:
        return torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise CallError(
            "SourceError",
            f"{path} holds pickled Python objects, which would run code stored in the file.",
            "Pass --unsafe-deserialization if you trust where the file comes from.",
        ) from error
    except Exception as error:
        raise CallError(
            "SourceError",
            f"torch {torch.__version__} cannot read {path}: {first_line(error)}.",
            "Save it again with torch.export.save, with this version of torch or an older one.",
        ) from error
    finally:
        torch.load = load


def _refuse_program(path: str, program: Any) -> None:
    """Raise for a program that was exported in training mode, keeps a state, or is quantized."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    learning = [node.name for node in nodes if _is_learning(node)]
    if learning:
        raise CallError(
            "SourceError",
            f"{path} was exported in training mode: {len(learning)} operators, "
            f"{learning[0]!r} first.",
            "Call model.eval() before torch.export.export.",
        )
    buffers = program.graph_signature.inputs_to_buffers
    changed = [
        buffers[node.args[0].name] for node in nodes
        if str(node.target).partition(".")[2].partition(".")[0].endswith("_")  # such as add_
        and getattr(node.args[0], "name", None) in buffers
    ]  # fmt: skip
    if changed:
        raise CallError(
            "SourceError",
            f"{path} changes the buffer {changed[0]!r} in each inference, which is lost in a "
            ".tflite.",
            "Make the state an input and an output of the model.",
        )
    quantized = [node.name for node in nodes if "quantized_decomposed" in str(node.target)]
    if quantized:
        raise CallError(
            "SourceError",
            f"{path} is already quantized: {len(quantized)} operators, {quantized[0]!r} first.",
            "Export the float model.",
        )


def _is_learning(node: Any) -> bool:
    """Whether an operator does what it does in training only."""
    name, args = str(node.target).removesuffix(".default"), node.args
    if name in _TRAINING:
        return args[_TRAINING[name]] is True
    if name in _RECURRENT:
        return args[6] is True and args[5] > 0  # between its layers
    if name == "aten.scaled_dot_product_attention":
        return bool((args[4] if len(args) > 4 else node.kwargs.get("dropout_p", 0)) > 0)
    return False


def _inputs(path: str, program: Any) -> list[tuple[str, list[int], str]]:
    """Name, shape (-1 where dynamic) and dtype of every input."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found = []
    for name in program.graph_signature.user_inputs:
        value: Any = values.get(name) if isinstance(name, str) else None
        if not hasattr(value, "shape"):
            raise CallError(
                "SourceError",
                f"{path} takes an input that is not a tensor: {name!r}.",
                "Export a module whose forward takes tensors only, with the rest fixed in it.",
            )
        shape = [size if isinstance(size, int) else -1 for size in value.shape]
        dtype = str(value.dtype).rpartition(".")[2]
        if dtype in _OTHER_FLOATS:
            raise CallError(
                "SourceError",
                f"{path} takes {name!r} as {dtype}, which TensorFlow Lite cannot compute with.",
                "Call model.float() before torch.export.export, and give it float32 inputs.",
            )
        found.append((name, shape, dtype))
    return found


def _output_names(program: Any) -> list[str]:
    """The keys of a dictionary of outputs, otherwise output_0, output_1, ... without a None."""
    from torch.utils import _pytree

    spec = program.module_call_graph[0].signature.out_spec
    numbers = list(range(spec.num_leaves))
    tree = _pytree.tree_unflatten(numbers, spec)
    names = [f"output_{number}" for number in numbers]
    if isinstance(tree, dict) and sorted(tree.values(), key=str) == sorted(numbers, key=str):
        names = [str(name) for name in sorted(tree, key=tree.__getitem__)]
    given = program.graph_signature.user_outputs
    return [name for name, value in zip(names, given, strict=True) if value is not None]


def _flatten_calls(program: Any, moves: list[int], *, fuses: bool = False) -> Any:
    """The program as a module from tensors to a tuple of tensors, with the rest of `Session.lower`.

    With `fuses`, it computes nonsense in place of the LSTM layers.
    """
    import torch
    from torch.utils import _pytree

    class Marking(torch.fx.Interpreter):  # type: ignore[misc]  # mypy does not see torch
        def run_node(self, node: Any) -> Any:
            self.node = node
            return super().run_node(node)

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if fuses and str(target) == _LSTM and _is_fusable(self.node):
                return _mark_lstm(_layer_name(self.node), *args)
            return super().call_function(target, args, kwargs)

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = program.module()

        def forward(self, *tensors: Any) -> Any:
            tensors = tuple(
                value.permute(0, 3, 1, 2) if i in moves else value
                for i, value in enumerate(tensors)
            )
            # Called directly, the operators would lose the names of their layers.
            with torch.fx.traceback.preserve_node_meta():
                found = Marking(self.module).run(*tensors)
            outputs = [value for value in _pytree.tree_leaves(found) if value is not None]
            # A single number has no dimension for the batch.
            outputs = [value if value.dim() else value.reshape(1) for value in outputs]
            if moves:
                outputs = [
                    value.permute(0, 2, 3, 1) if value.dim() == 4 else value for value in outputs
                ]
            return tuple(outputs)

    flat = Flat()
    flat.training = False  # an exported program refuses eval()
    return flat


# ---------------------------------------------------------------- recurrent layers


def _recurrent(program: Any) -> list[Any]:
    """The nodes of recurrent layers, which litert-torch unrolls into single steps."""
    return [node for node in program.graph.nodes if str(node.target) in _RECURRENT]


def _layer_name(node: Any) -> str:
    """The path of a node's layer in the module; the node's name if it is the module itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path or str(node.name)


def _is_fusable(node: Any) -> bool:
    """Whether a node computes what the operator does: LSTM, zero states, no cell state out."""
    import torch

    if str(node.target) != _LSTM:
        return False
    data, states, weights, has_biases, layers, _, _, both, _ = node.args
    used = {user.args[1] for user in node.users if user.users}
    return (
        2 not in used  # the cell state
        and all(str(getattr(state, "target", "")) == "aten.zeros.default" for state in states)
        and len(weights) == layers * (2 if both else 1) * (4 if has_biases else 2)  # no projection
        and data.meta["val"].dtype == torch.float32
    )


def _mark_lstm(
    name: str,
    data: Any,
    _states: Any,
    weights: Any,
    has_biases: bool,
    layers: int,
    _dropout: float,
    _train: bool,
    both: bool,
    is_batch_first: bool,
) -> tuple[Any, Any, None]:
    """One marker for each layer and direction, with the shapes of the outputs of an LSTM."""
    import torch

    value = data if is_batch_first else data.transpose(0, 1)
    names = [f"{name}_l{layer}{side}" for layer in range(layers) for side in _SIDES[: both + 1]]
    width = 4 if has_biases else 2
    last = []
    for layer in range(layers):
        found = []
        for side in range(both + 1):
            place = layer * (both + 1) + side
            kernel, recurrent, *biases = weights[place * width : (place + 1) * width]
            bias = sum(biases) if biases else torch.zeros(len(kernel))
            steps = torch.flip(value, [1]) if side else value
            made = _mark(names[place], steps, kernel, recurrent, bias)
            last.append(made[:, -1])
            found.append(torch.flip(made, [1]) if side else made)
        value = torch.cat(found, -1) if both else found[0]
    return value if is_batch_first else value.transpose(0, 1), torch.stack(last), None


def _mark(name: str, data: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """A composite operator, which has to depend on all its inputs to keep them."""
    from litert_torch.hlfb import StableHLOCompositeBuilder

    builder = StableHLOCompositeBuilder(f"edgeq.lstm.{name}")
    data, kernel, recurrent, bias = builder.mark_inputs(data, kernel, recurrent, bias)
    cells = recurrent.shape[1]
    made = data @ kernel[:cells].T + recurrent[:cells, 0] + bias[:cells]
    return builder.mark_outputs(made)


# ---------------------------------------------------------------- refusals


def _explain_refusal(error: Exception, program: Any) -> CallError:
    """The error for a refusal of litert-torch, with the operator or the weights."""
    text = str(error)
    if "Lowering not found: " in text:
        name = text.partition("Lowering not found: ")[2].split()[0]
        return CallError(
            "LoweringError",
            f"litert-torch cannot express the operator {name} in TensorFlow Lite.",
            "Export the model without it, and compute that part outside.",
        )
    weights = {**program.state_dict, **program.constants}
    wide = {
        name: str(value.dtype).rpartition(".")[2]
        for name, value in weights.items()
        if str(getattr(value, "dtype", "")).rpartition(".")[2] in _OTHER_FLOATS
    }
    if wide:
        name, dtype = next(iter(wide.items()))
        return CallError(
            "LoweringError",
            f"litert-torch refused the model, whose weights are not float32: {len(wide)} tensors, "
            f"{name!r} of {dtype} first.",
            "Call model.float() before torch.export.export.",
        )
    return CallError(
        "LoweringError",
        f"litert-torch refused the model: {type(error).__name__}: {first_line(error)}.",
        "Run again with -v to see its own output.",
    )


def main() -> None:
    """Serve requests until the parent closes."""
    serve(Session(), int(sys.argv[1]))
