"""Recurrent layers of exported PyTorch programs, and markers of those that become one operator.

It runs in the child, in a Python that need not have edgeq.
"""

from __future__ import annotations

from typing import Any

LSTM = "aten.lstm.input"
KINDS = (LSTM, "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
_SIDES = ("", "_reverse")  # as PyTorch names the weights


def find(program: Any) -> list[Any]:
    """The nodes of recurrent layers, which litert-torch unrolls into single steps."""
    return [node for node in program.graph.nodes if str(node.target) in KINDS]


def name_of(node: Any) -> str:
    """The path of a node's layer in the module; the node's name if it is the module itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path or str(node.name)


def count_steps(node: Any) -> int:
    """The steps of all layers and directions; 0 if the number is dynamic."""
    data, _, _, _, layers, _, _, both, is_batch_first = node.args
    steps = data.meta["val"].shape[1 if is_batch_first else 0]
    return steps * layers * (2 if both else 1) if isinstance(steps, int) else 0


def is_fusable(node: Any) -> bool:
    """Whether a node computes what the operator does: LSTM, zero states, no cell state out."""
    import torch

    if str(node.target) != LSTM:
        return False
    data, states, weights, has_biases, layers, _, _, both, _ = node.args
    used = {user.args[1] for user in node.users if user.users}
    return (
        2 not in used  # the cell state
        and all(str(getattr(state, "target", "")) == "aten.zeros.default" for state in states)
        and len(weights) == layers * (2 if both else 1) * (4 if has_biases else 2)  # no projection
        and data.meta["val"].dtype == torch.float32
    )


def mark(
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
            made = _mark_layer(names[place], steps, kernel, recurrent, bias)
            last.append(made[:, -1])
            found.append(torch.flip(made, [1]) if side else made)
        value = torch.cat(found, -1) if both else found[0]
    return value if is_batch_first else value.transpose(0, 1), torch.stack(last), None


def _mark_layer(name: str, data: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """A composite operator, which has to depend on all its inputs to keep them."""
    from litert_torch.hlfb import StableHLOCompositeBuilder

    builder = StableHLOCompositeBuilder(f"edgeq.lstm.{name}")
    data, kernel, recurrent, bias = builder.mark_inputs(data, kernel, recurrent, bias)
    cells = recurrent.shape[1]
    made = data @ kernel[:cells].T + recurrent[:cells, 0] + bias[:cells]
    return builder.mark_outputs(made)
