"""Changes of an ONNX graph before it is lowered: fixed inputs, chosen branches, Q and DQ nodes.

It runs in the child, with the packages of that Python. Each function changes a model in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeq.children.serving import CallError

_SIZES = ("Shape", "Size")  # they do not depend on values
# Formats that compute with integers; a DequantizeLinear leaves the arithmetic in float.
_INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_HALF = 128  # from uint8 to int8


def inner_graphs(node: Any) -> Iterator[Any]:
    """The branches and bodies of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def rename(graph: Any, renamed: Mapping[str, str]) -> None:
    """Rename values in all nodes, those inside branches and loops included."""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        for inner in inner_graphs(node):
            rename(inner, renamed)
            for item in (*inner.output, *inner.initializer, *inner.input):
                item.name = renamed.get(item.name, item.name)


def read_names(node: Any) -> set[str]:
    """The values that a node reads, those that only its branches read included."""
    found = set(node.input)
    for inner in inner_graphs(node):
        own = {name for item in inner.node for name in item.output}
        own |= {item.name for item in (*inner.initializer, *inner.input)}
        used = {item.name for item in inner.output}.union(*map(read_names, inner.node))
        found |= used - own
    return found - {""}


def slice_to(
    graph: Any, names: Sequence[str], *, through_sizes: bool
) -> tuple[list[Any], set[str]]:
    """The nodes that compute some values, in order, and the inputs of the graph that they need.

    Args:
        through_sizes: also the nodes that compute a value if only its shape is read.
    """
    makers = {name: node for node in graph.node for name in node.output}
    pending, seen = list(names), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        node = makers.get(name)
        if node is not None and (through_sizes or node.op_type not in _SIZES):
            pending += read_names(node)
    constant = {item.name for item in graph.initializer}
    inputs = {item.name for item in graph.input} - constant
    return [node for node in graph.node if seen & set(node.output)], inputs & seen


def evaluate(model: Any, names: Sequence[str]) -> list[Any]:
    """Compute values that depend on constants and on the shapes of inputs, by onnxruntime.

    Args:
        model: with fixed shapes of its inputs.
    """
    import numpy
    import onnx
    import onnxruntime

    nodes, inputs = slice_to(model.graph, names, through_sizes=True)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = "part"
    part.graph.node.extend(nodes)
    used = set(names).union(*map(read_names, nodes))
    part.graph.initializer.extend(item for item in model.graph.initializer if item.name in used)
    part.graph.input.extend(item for item in model.graph.input if item.name in inputs)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {}
    for item in part.graph.input:
        kind = item.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        feeds[item.name] = numpy.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return list(session.run(list(names), feeds))


def set_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    """Give a graph other nodes, among which may be its own."""
    import onnx

    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def reshape_statically(model: Any) -> None:
    """Replace Squeeze and Unsqueeze nodes by a Reshape where onnx knows all sizes.

    onnx2tf computes the sizes of some in every inference, which no integer kernel does.
    """
    import numpy
    import onnx

    graph = model.graph
    known = {
        item.name: [size.dim_value for size in item.type.tensor_type.shape.dim]
        for item in (*onnx.shape_inference.infer_shapes(model).graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
    }
    for node in graph.node:
        shape = known.get(node.output[0], [0])
        if node.op_type in ("Squeeze", "Unsqueeze") and all(size > 0 for size in shape):
            name = f"{node.output[0]}/shape"
            graph.initializer.append(
                onnx.numpy_helper.from_array(numpy.array(shape, numpy.int64), name)
            )
            made = onnx.helper.make_node("Reshape", [node.input[0], name], node.output, node.name)
            node.CopyFrom(made)


def fix_inputs(model: Any, values: Mapping[str, float]) -> None:
    """Make constants of some inputs, whose shapes are fixed."""
    import numpy
    import onnx

    for item in [item for item in model.graph.input if item.name in values]:
        kind = item.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = numpy.full(shape, values[item.name]).astype(dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, item.name))
        model.graph.input.remove(item)


def lead_with_one(graph: Any, inputs: Mapping[str, list[int]], outputs: Mapping[str, Any]) -> None:
    """Give some inputs and outputs a first dimension of 1 more.

    Args:
        inputs: name to the present shape.
        outputs: the same.
    """
    import numpy
    import onnx

    def reshape(source: str, target: str, shape: Sequence[int]) -> Any:
        sizes = onnx.numpy_helper.from_array(numpy.array(shape, numpy.int64), f"{source}/sizes")
        graph.initializer.append(sizes)
        return onnx.helper.make_node("Reshape", [source, sizes.name], [target])

    rename(graph, {name: f"{name}/own" for name in (*inputs, *outputs)})
    first = [reshape(name, f"{name}/own", shape) for name, shape in inputs.items()]
    last = [reshape(f"{name}/own", name, [1, *shape]) for name, shape in outputs.items()]
    set_nodes(graph, [*first, *graph.node, *last])
    for item in (*graph.input, *graph.output):
        if item.name in inputs or item.name in outputs:
            shape = item.type.tensor_type.shape
            own = [size.dim_value for size in shape.dim]
            del shape.dim[:]
            for size in (1, *own):
                dimension = shape.dim.add()
                if size:
                    dimension.dim_value = size


def turn_inputs(graph: Any, names: Sequence[str]) -> None:
    """Let some inputs have another order of dimensions, which is theirs after a move of channels.

    The TensorFlow backend of onnx2tf moves the second dimension of each input of 3 to 5 to the end,
    whatever its options say. So the last one is the second one here, and a Transpose moves it back.

    Args:
        names: of inputs; others, and those of other ranks, stay.
    """
    import onnx

    turned = {
        item.name: [size.dim_value for size in item.type.tensor_type.shape.dim]
        for item in graph.input
        if item.name in names and len(item.type.tensor_type.shape.dim) in (3, 4, 5)
    }
    rename(graph, {name: f"{name}/turned" for name in turned})
    moves = [
        onnx.helper.make_node(
            "Transpose", [name], [f"{name}/turned"], perm=[0, *range(2, len(shape)), 1]
        )
        for name, shape in turned.items()
    ]
    set_nodes(graph, [*moves, *graph.node])
    for item in graph.input:
        first, *others = turned.get(item.name, [0])
        sizes = [first, *others[-1:], *others[:-1]]
        for size, dimension in zip(sizes, item.type.tensor_type.shape.dim, strict=False):
            if item.name in turned:
                dimension.dim_value = size


# ---------------------------------------------------------------- branches


def choose_branches(model: Any) -> list[tuple[str, list[str]]]:
    """Replace each If whose condition is known by the nodes of its branch.

    Args:
        model: with fixed shapes of its inputs, on which most conditions depend.

    Returns:
        The others: name, and the inputs of the model on whose values the condition depends.
    """
    graph = model.graph
    left: dict[str, tuple[str, list[str]]] = {}
    while True:
        nodes = [node for node in graph.node if node.op_type == "If" and node.output[0] not in left]
        if not nodes:
            return list(left.values())
        node = nodes[0]
        inputs = slice_to(graph, node.input, through_sizes=False)[1]
        if inputs:
            left[node.output[0]] = (node.name or node.output[0], sorted(inputs))
            continue
        is_true = bool(evaluate(model, node.input)[0])
        wanted = "then_branch" if is_true else "else_branch"
        (branch,) = [item.g for item in node.attribute if item.name == wanted]
        _inline(graph, node, branch)


def _inline(graph: Any, node: Any, branch: Any) -> None:
    """Put the nodes of a branch in the place of its If; names inside become unique."""
    import onnx

    own = {name for item in branch.node for name in item.output}
    own |= {item.name for item in branch.initializer}
    renamed = {name: f"{node.output[0]}/{name}" for name in own if name}
    rename(branch, renamed)
    for item in branch.initializer:
        item.name = renamed[item.name]
    made = [
        onnx.helper.make_node("Identity", [renamed.get(item.name, item.name)], [name])
        for item, name in zip(branch.output, node.output, strict=True)
    ]
    place = next(i for i, item in enumerate(graph.node) if item.output[:1] == node.output[:1])
    graph.initializer.extend(branch.initializer)
    set_nodes(graph, [*graph.node[:place], *branch.node, *made, *graph.node[place + 1 :]])


# ---------------------------------------------------------------- quantized models


def refuse_integers(path: str, model: Any) -> None:
    """Raise for a quantized model whose operators compute with integers."""
    found = [node for node in model.graph.node if node.op_type.startswith(_INTEGER)]
    if found:
        raise CallError(
            "SourceError",
            f"{path} is quantized in a format that edgeq does not read: {len(found)} operators "
            f"compute with integers, {found[0].op_type} {found[0].name!r} first.",
            "Quantize it with Q/DQ nodes (quant_format=QuantFormat.QDQ in onnxruntime), or convert "
            "the float model.",
        )


def is_quantized(model: Any) -> bool:
    """Whether there are Q or DQ nodes."""
    return any(node.op_type in (_QUANTIZE, _DEQUANTIZE) for node in model.graph.node)


def read_quantized(path: str, model: Any, *, keeps: bool) -> tuple[int, str]:
    """Make float weights of quantized ones, and keep or remove the Q/DQ pairs of activations.

    Args:
        keeps: keep the pairs, as INT8, for their ranges.

    Returns:
        The number of pairs, and why they were removed although `keeps` is given.
    """
    import onnx

    graph = model.graph
    quantizers = {node.output[0]: node for node in graph.node if node.op_type == _QUANTIZE}
    _require_pairs(path, graph, quantizers)
    pairs, constant = [], []
    for node in graph.node:
        if node.op_type != _DEQUANTIZE:
            continue
        if not slice_to(graph, node.output, through_sizes=False)[1]:
            constant.append(node.output[0])
        elif node.input[0] in quantizers:
            pairs.append((quantizers[node.input[0]], node))
        else:
            raise CallError(
                "SourceError",
                f"{path}: {node.name or node.output[0]!r} dequantizes {node.input[0]!r}, which no "
                "QuantizeLinear made.",
                "Export the model with float32 tensors as inputs.",
            )
    values = dict(zip(constant, evaluate(model, constant), strict=True)) if constant else {}
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    reason = _use_pairs(model, pairs) if keeps else ""
    removed = set(constant)
    if reason or not keeps:
        removed |= quantizers.keys()
        for before, after in pairs:
            after.CopyFrom(
                onnx.helper.make_node("Identity", before.input[:1], after.output, after.name)
            )
    set_nodes(graph, [node for node in graph.node if node.output[0] not in removed])
    graph.initializer.extend(weights)
    return len({after.input[0] for _, after in pairs} or quantizers), reason


def _require_pairs(path: str, graph: Any, quantizers: Mapping[str, Any]) -> None:
    """Raise if another node than a DequantizeLinear reads what a QuantizeLinear made."""
    others = {item.name for item in graph.output}
    others.update(*(read_names(node) for node in graph.node if node.op_type != _DEQUANTIZE))
    if found := sorted(others & quantizers.keys()):
        node = quantizers[found[0]]
        raise CallError(
            "SourceError",
            f"{path} computes with integers or returns them: {node.name or found[0]!r} has no "
            "DequantizeLinear behind it.",
            "Quantize it with Q/DQ pairs and float outputs, or convert the float model.",
        )


def _use_pairs(model: Any, pairs: list[tuple[Any, Any]]) -> str:
    """Make each pair one to INT8, or return why the pairs do not give all ranges."""
    import numpy
    import onnx

    graph = model.graph
    constant = {item.name for item in graph.initializer}
    quantized = {before.output[0]: after for before, after in pairs}
    for item in graph.input:
        readers = [node for node in graph.node if item.name in read_names(node)]
        is_float = item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        if item.name in constant or not is_float:
            continue
        if not all(node.output[0] in quantized for node in readers):
            return f"the input {item.name!r} is read without a QuantizeLinear"
    given = sorted({name for pair in pairs for node in pair for name in node.input[1:3]})
    found = dict(zip(given, evaluate(model, given), strict=True))
    zeros = {}
    for before, after in pairs:
        first, second = ([found[name] for name in node.input[1:3]] for node in (before, after))
        same = all(numpy.array_equal(a, b) for a, b in zip(first, second, strict=True))
        zero = first[1] if len(first) > 1 else numpy.uint8(0)
        if not same or numpy.size(first[0]) != 1 or zero.dtype not in (numpy.uint8, numpy.int8):
            return f"{before.output[0]!r} is not 8 bits with one scale"
        signed = int(numpy.reshape(zero, ())) - (_HALF if zero.dtype == numpy.uint8 else 0)
        zeros[before.output[0]] = onnx.numpy_helper.from_array(
            numpy.int8(signed), f"{before.output[0]}/zero"
        )
    for before, after in pairs:
        for node in (before, after):
            node.input[:] = [*node.input[:2], zeros[before.output[0]].name]
            del node.attribute[:]
    graph.initializer.extend(zeros.values())
    return ""
