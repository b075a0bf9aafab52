"""Float models that converters may stumble over, each built by one function in microseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, schema

RANDOM = np.random.default_rng(7)
BROKEN: dict[str, Callable[[], bytes]] = {}  # no interpreter takes them
ODD: dict[str, Callable[[], bytes]] = {}  # legal, and rare


def _broken(build: Callable[[], bytes]) -> Callable[[], bytes]:
    BROKEN[build.__name__] = build
    return build


def _odd(build: Callable[[], bytes]) -> Callable[[], bytes]:
    ODD[build.__name__] = build
    return build


def weights(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def dense(model: Builder, data: int, units: int, inner: int = 4, *, bias: Any = None) -> int:
    """A fully connected layer of new weights; `bias` holds values."""
    own = () if bias is None else (model.constant(bias),)
    filter_ = model.constant(weights(units, inner))
    return model.add("FULLY_CONNECTED", [data, filter_, *own], [1, units])


def conv_options(kind: str = "CONV_2D") -> Any:
    """Options of a convolution with strides of 1."""
    name = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
            "TRANSPOSE_CONV": "TransposeConv", "MAX_POOL_2D": "Pool2D"}[kind]  # fmt: skip
    options = getattr(schema, f"{name}OptionsT")()
    options.strideH = options.strideW = 1
    options.padding = schema.Padding.SAME
    if kind == "MAX_POOL_2D":
        options.filterHeight = options.filterWidth = 2
        return options
    if kind != "TRANSPOSE_CONV":
        options.dilationHFactor = options.dilationWFactor = 1
    if kind == "DEPTHWISE_CONV_2D":
        options.depthMultiplier = 1
    return options


def conv(model: Builder, data: int, filter_: int, bias: int | None = None) -> int:
    """A convolution of [1, 4, 4, 2] with a filter [2, 1, 1, 2]."""
    own = model.constant(np.zeros(2)) if bias is None else bias
    return model.add("CONV_2D", [data, filter_, own], [1, 4, 4, 2], options=conv_options())


# ---------------------------------------------------------------- damaged graphs


@_broken
def reads_its_own_result() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = dense(model, x, 4)
    model.graph.operators[0].inputs[0] = y
    return model.content(y)


@_broken
def two_operators_in_a_circle() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    a = model.add("ADD", [x, x], [1, 4])
    b = model.add("ADD", [a, x], [1, 4])
    model.graph.operators[0].inputs[1] = b
    return model.content(b)


@_broken
def reads_a_tensor_that_nobody_makes() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(model.add("ADD", [x, model.tensor([1, 4])], [1, 4]))


@_broken
def returns_a_tensor_that_nobody_makes() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    dense(model, x, 4)
    return model.content(model.tensor([1, 4]))


@_broken
def points_behind_the_last_tensor() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.operators[0].inputs[0] = 99
    return model.content(y)


@_broken
def output_behind_the_last_tensor() -> bytes:
    model = Builder()
    dense(model, model.input([1, 4]), 4)
    return model.content(99)


@_broken
def reads_a_negative_tensor() -> bytes:
    model = Builder()
    return model.content(model.add("ADD", [model.input([1, 4]), -2], [1, 4]))


@_broken
def input_behind_the_last_tensor() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.inputs.append(99)
    return model.content(y)


@_broken
def operator_behind_the_table() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.operators[0].opcodeIndex = 9
    return model.content(y)


@_broken
def buffer_behind_the_last_one() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.tensors[1].buffer = 99
    return model.content(y)


@_broken
def input_without_values() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.input([1, 0], name="empty")
    return model.content(dense(model, x, 4))


@_broken
def without_an_operand() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(model.add("ADD", [x, -1], [1, 4]))


@_broken
def with_too_few_operands() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = dense(model, x, 4)
    model.graph.operators[0].inputs = np.array([x], np.int32)
    return model.content(y)


@_broken
def without_operands() -> bytes:
    model = Builder()
    model.input([1, 4])
    return model.content(model.add("FULLY_CONNECTED", [], [1, 4]))


@_broken
def without_data() -> bytes:
    model = Builder()
    model.input([1, 4])
    return model.content(model.add("FULLY_CONNECTED", [-1, model.constant(weights(4, 4))], [1, 4]))


@_broken
def without_weights() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(model.add("FULLY_CONNECTED", [x, -1, -1], [1, 4]))


@_broken
def without_result() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    dense(model, y, 4)
    model.graph.operators[1].outputs = np.zeros(0, np.int32)
    return model.content(y)


@_broken
def made_twice() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = dense(model, x, 4)
    dense(model, x, 4)
    model.graph.operators[1].outputs = np.array([y], np.int32)
    return model.content(y)


@_broken
def makes_its_input() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = dense(model, x, 4)
    dense(model, y, 4)
    model.graph.operators[1].outputs = np.array([x], np.int32)
    return model.content(y)


@_broken
def makes_a_constant() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.add("ADD", [x, x], [1, 4])
    c = model.constant(np.ones((1, 4)))
    model.graph.operators[0].outputs = np.array([c], np.int32)
    return model.content(model.add("ADD", [x, c], [1, 4]))


@_broken
def weights_shorter_than_their_shape() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.tensors[1].shape = np.array([4, 40], np.int32)
    return model.content(y)


@_broken
def weights_of_half_a_number() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.tree.buffers[1].data = model.tree.buffers[1].data[:-1]
    return model.content(y)


@_broken
def bias_of_another_length() -> bytes:
    model = Builder()
    return model.content(dense(model, model.input([1, 4]), 4, bias=np.ones(3)))


@_broken
def filter_of_another_rank() -> bytes:
    model = Builder()
    x = model.input([1, 4, 4, 2])
    return model.content(conv(model, x, model.constant(weights(2, 2))))


@_broken
def nan_in_weights() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    bad = weights(4, 4)
    bad[1, 2] = np.nan
    return model.content(model.add("FULLY_CONNECTED", [x, model.constant(bad)], [1, 4]))


@_broken
def infinity_in_a_bias() -> bytes:
    model = Builder()
    return model.content(dense(model, model.input([1, 4]), 4, bias=[1, 2, np.inf, 4]))


@_broken
def nan_in_an_operand() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = model.add("MUL", [x, model.constant([[1, np.nan, 1, 1]])], [1, 4])
    return model.content(dense(model, y, 4))


@_broken
def custom_operator() -> bytes:
    model = Builder()
    x = dense(model, model.input([1, 4]), 4)
    y = model.add("ABS", [x], [1, 4])
    model.tree.operatorCodes[-1].builtinCode = schema.BuiltinOperator.CUSTOM
    model.tree.operatorCodes[-1].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.tree.operatorCodes[-1].customCode = "Mystery"
    return model.content(y)


@_broken
def no_outputs() -> bytes:
    model = Builder()
    dense(model, model.input([1, 4]), 4)
    return model.content()


@_broken
def no_inputs() -> bytes:
    model = Builder()
    return model.content(dense(model, model.constant(np.ones((1, 4))), 4))


@_broken
def body_reads_too_much() -> bytes:
    """A WHILE whose body takes one value more than the WHILE has."""
    model = Builder()
    x = model.input([1, 4])
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    y = model.add("WHILE", [x], [1, 4], options=options)
    for is_body in (False, True):
        model.subgraph()
        own = model.input([1, 4])
        if is_body:
            model.input([1, 4])
            model.finish(model.add("ADD", [own, own], [1, 4]))
        else:
            model.finish(model.constant(np.zeros(1, np.bool_), "bool"))
    return model.content(y)


@_broken
def loop_in_its_own_body() -> bytes:
    model = Builder()
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    y = model.add("WHILE", [model.input([1, 4])], [1, 4], options=options)
    model.subgraph()
    model.input([1, 4])
    model.finish(model.constant(np.ones(1, np.bool_), "bool"))
    model.subgraph()
    model.finish(model.add("WHILE", [model.input([1, 4])], [1, 4], options=options))
    return model.content(y)


@_broken
def nan_from_a_logarithm() -> bytes:
    model = Builder()
    below = model.add("SUB", [model.input([1, 4]), model.constant(np.float32(9))], [1, 4])
    return model.content(dense(model, model.add("LOG", [below], [1, 4]), 4))


@_broken
def if_of_a_missing_subgraph() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 5, 6
    condition = model.constant(np.ones(1, np.bool_), "bool")
    return model.content(model.add("IF", [condition, x], [1, 4], options=options))


@_broken
def running_sum_without_an_axis() -> bytes:
    model = Builder()
    return model.content(model.add("CUMSUM", [model.input([1, 4])], [1, 4]))


@_broken
def weights_widened_from_nothing() -> bytes:
    """A dense layer whose weights come from a DEQUANTIZE without an input."""
    model = Builder()
    x = model.input([1, 4])
    wide = model.add("DEQUANTIZE", [], [4, 4])
    return model.content(model.add("FULLY_CONNECTED", [x, wide], [1, 4]))


@_broken
def order_of_two_dimensions() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    order = model.constant([[0, 1], [1, 0]], "int32")
    return model.content(model.add("TRANSPOSE", [x, order], [1, 4]))


@_broken
def conversion_of_its_own_result() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.add("QUANTIZE", [x], [1, 4])
    model.graph.operators[0].outputs = np.array([x], np.int32)
    return model.content(dense(model, x, 4))


@_broken
def tensor_of_40_dimensions() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(model.add("ADD", [x, model.constant(np.ones(1))], [1] * 40))


@_broken
def weights_of_a_type_that_numpy_does_not_know() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.tensors[1].type = schema.TensorType.FLOAT8_E4M3FN
    return model.content(y)


@_broken
def comparison_whose_result_is_said_to_be_real() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(model.add("LESS", [x, model.constant(np.ones((1, 4)))], [1, 4]))


@_broken
def result_that_is_a_variable() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.graph.tensors[y].isVariable = True
    return model.content(y)


@_broken
def sparse_output() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    own = model.graph.tensors[1].sparsity = schema.SparsityParametersT()
    levels = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    own.traversalOrder, own.dimMetadata = np.array([0, 1], np.int32), list(levels)
    for level in levels:
        level.denseSize = 4
    return model.content(y, 1)


# ---------------------------------------------------------------- legal and rare


@_odd
def filter_shared_by_inputs_of_different_ranges() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    large = model.add("MUL", [x, model.constant(np.float32(100))], [1, 4])
    own, bias = model.constant(weights(4, 4)), model.constant([1, 2, 3, 4])
    a = model.add("FULLY_CONNECTED", [x, own, bias], [1, 4])
    b = model.add("FULLY_CONNECTED", [large, own, bias], [1, 4])
    return model.content(a, b)


@_odd
def filter_shared_by_different_axes() -> bytes:
    """One tensor [1, 1, 1, 2]: CONV_2D has its channels first, DEPTHWISE_CONV_2D last."""
    model = Builder()
    x = model.input([1, 4, 4, 2])
    own = model.constant([[[[0.01, 3]]]])
    one, two = model.constant([1]), model.constant([1, 2])
    a = model.add("CONV_2D", [x, own, one], [1, 4, 4, 1], options=conv_options())
    kind = "DEPTHWISE_CONV_2D"
    b = model.add(kind, [x, own, two], [1, 4, 4, 2], options=conv_options(kind))
    return model.content(a, b)


@_odd
def weights_that_are_an_operand_too() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    own = model.constant(weights(1, 4))
    a = model.add("ADD", [x, own], [1, 4])
    return model.content(a, model.add("FULLY_CONNECTED", [x, own], [1, 1]))


@_odd
def bias_shared_between_layers() -> bytes:
    model = Builder()
    x, bias = model.input([1, 4]), model.constant([0.5, -1, 2, 1])
    a = model.add("FULLY_CONNECTED", [x, model.constant(weights(4, 4)), bias], [1, 4])
    b = model.constant(100 * weights(4, 4))
    return model.content(a, model.add("FULLY_CONNECTED", [a, b, bias], [1, 4]))


@_odd
def one_buffer_of_two_tensors() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = dense(model, dense(model, x, 4), 4)
    model.graph.tensors[3].buffer = model.graph.tensors[1].buffer
    return model.content(y)


@_odd
def scalars() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = model.add("MUL", [x, model.constant(np.float32(3))], [1, 4])
    return model.content(model.add("ADD", [model.constant(np.float32(-2)), y], [1, 4]))


@_odd
def scalar_input() -> bytes:
    model = Builder()
    y = model.add("MUL", [model.input([]), model.constant(weights(1, 4))], [1, 4])
    return model.content(dense(model, y, 4))


@_odd
def nearly_infinite_range() -> bytes:
    """The range of `wide` is estimated from its input and from values near FLT_MAX."""
    model = Builder()
    x = model.input([1, 4])
    zero = model.add("MUL", [x, model.constant(np.zeros(4))], [1, 4])
    wide = model.add("MUL", [zero, model.constant(np.full(4, 3e38))], [1, 4])
    own = model.constant(1e-38 * weights(4, 4))
    return model.content(model.add("FULLY_CONNECTED", [wide, own], [1, 4]), dense(model, x, 4))


@_odd
def computed_scalar() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    options = schema.ReducerOptionsT()
    total = model.add("SUM", [x, model.constant([0, 1], "int32")], [], options=options)
    return model.content(model.add("ADD", [x, total], [1, 4]))


@_odd
def empty_constant() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    empty = model.constant(np.zeros((1, 0)))
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    y = model.add("CONCATENATION", [x, empty], [1, 4], options=options)
    return model.content(dense(model, y, 4))


@_odd
def empty_tensor() -> bytes:
    """A slice of nothing that is an output."""
    model = Builder()
    x = model.input([1, 4])
    sizes = (model.constant([0, 0], "int32"), model.constant([1, 0], "int32"))
    nothing = model.add("SLICE", [x, *sizes], [1, 0])
    return model.content(dense(model, x, 4), nothing)


def _constant_activation(value: float) -> Callable[[], bytes]:
    def build() -> bytes:
        model = Builder()
        x = model.input([1, 4])
        zero = model.add("MUL", [x, model.constant(np.zeros(4))], [1, 4])
        same = model.add("ADD", [zero, model.constant(np.full(4, value))], [1, 4])
        return model.content(dense(model, same, 4), same)

    return build


for _name, _value in (("zero", 0.0), ("positive", 3.0), ("negative", -3.0), ("tiny", 1e-30)):
    ODD[f"activation_that_is_always_{_name}"] = _constant_activation(_value)


@_odd
def constant_input() -> bytes:
    """Its samples are all 5, see `samples_of`."""
    model = Builder()
    x = model.input([1, 4], name="five")
    return model.content(dense(model, x, 4))


@_odd
def zero_weights() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = model.add("FULLY_CONNECTED", [x, model.constant(np.zeros((4, 4)))], [1, 4])
    return model.content(y, dense(model, x, 4))


@_odd
def weights_with_a_zero_row() -> bytes:
    model = Builder()
    own = weights(4, 4)
    own[2] = 0
    filter_, bias = model.constant(own), model.constant([1, 2, 1e3, 4])
    return model.content(model.add("FULLY_CONNECTED", [model.input([1, 4]), filter_, bias], [1, 4]))


@_odd
def bias_beyond_int32_in_one_channel() -> bytes:
    model = Builder()
    own = weights(4, 4)
    own[2] *= 1e-12
    filter_, bias = model.constant(own), model.constant([1, 2, 3, 4])
    return model.content(model.add("FULLY_CONNECTED", [model.input([1, 4]), filter_, bias], [1, 4]))


@_odd
def bias_beyond_int32_in_a_convolution() -> bytes:
    model = Builder()
    x = model.input([1, 4, 4, 2])
    own = model.constant(1e-12 * weights(2, 1, 1, 2))
    return model.content(conv(model, x, own, model.constant([3, 4])), x)


def _computed_filter(kind: str) -> Callable[[], bytes]:
    def build() -> bytes:
        model = Builder()
        if kind == "FULLY_CONNECTED":
            x, made = model.input([1, 4]), model.input([4, 4], name="w")
            return model.content(model.add(kind, [x, made], [1, 4]))
        x = model.input([1, 4, 4, 2])
        shape = [1, 1, 1, 2] if kind == "DEPTHWISE_CONV_2D" else [2, 1, 1, 2]
        made = model.input(shape, name="w")
        given = [x, made, model.constant([1, 2])]
        if kind == "TRANSPOSE_CONV":
            given = [model.constant([1, 4, 4, 2], "int32"), made, x]
        return model.content(model.add(kind, given, [1, 4, 4, 2], options=conv_options(kind)))

    return build


for _kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
    ODD[f"computed_filter_of_{_kind.lower()}"] = _computed_filter(_kind)


@_odd
def computed_bias() -> bytes:
    model = Builder()
    x, bias = model.input([1, 4]), model.input([4], name="b")
    own = model.constant(weights(4, 4))
    return model.content(model.add("FULLY_CONNECTED", [x, own, bias], [1, 4]))


@_odd
def input_that_is_an_output() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    return model.content(x, dense(model, x, 4))


@_odd
def only_an_input() -> bytes:
    model = Builder()
    return model.content(model.input([1, 4]))


@_odd
def output_that_is_a_constant() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    return model.content(y, model.constant(weights(1, 4)))


@_odd
def the_same_output_twice() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    return model.content(y, y)


@_odd
def the_same_input_twice() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.graph.inputs.append(x)
    return model.content(dense(model, x, 4))


@_odd
def input_that_nobody_reads() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.input([1, 3], name="unread")
    return model.content(dense(model, x, 4))


@_odd
def result_that_nobody_reads() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    model.add("ABS", [x], [1, 4])
    return model.content(dense(model, x, 4))


@_odd
def integers_and_booleans_outside() -> bytes:
    model = Builder()
    x, number = model.input([1, 4]), model.input([1], "int32", "number")
    flag = model.input([1, 4], "bool", "flag")
    picked = model.add("SELECT_V2", [flag, x, model.constant(np.zeros((1, 4)))], [1, 4])
    twice = model.add("ADD", [number, number], [1], "int32")
    no = model.add("LOGICAL_NOT", [flag], [1, 4], "bool")
    return model.content(dense(model, picked, 4), twice, no)


@_odd
def svdf() -> bytes:
    model = Builder()
    x, state = model.input([1, 4]), model.tensor([1, 6])
    model.graph.tensors[state].isVariable = True
    options = schema.SVDFOptionsT()
    options.rank = 1
    given = [x, model.constant(weights(2, 4)), model.constant(weights(2, 3)), -1, state]
    return model.content(model.add("SVDF", given, [1, 2], options=options))


@_odd
def variable() -> bytes:
    """A counter in a resource variable, which a second subgraph sets to zero once."""
    model = Builder()
    main = model.graph
    x = model.input([1, 4])

    def handle() -> int:
        options = schema.VarHandleOptionsT()
        options.container, options.sharedName = "", "counter"
        return model.add("VAR_HANDLE", [], [], "resource", options=options)

    call = schema.CallOnceOptionsT()
    call.initSubgraphIndex = 1
    main.operators.append(flatbuffer.make_operator(model.tree, "CALL_ONCE", [], [], options=call))
    own = handle()
    known = model.add("READ_VARIABLE", [own], [1, 4])
    y = model.add("ADD", [x, known], [1, 4])
    main.operators.append(flatbuffer.make_operator(model.tree, "ASSIGN_VARIABLE", [own, y], []))
    model.subgraph()
    own = handle()
    zero = model.constant(np.zeros((1, 4)))
    model.graph.operators.append(
        flatbuffer.make_operator(model.tree, "ASSIGN_VARIABLE", [own, zero], [])
    )
    return model.content(y)


@_odd
def float64_inside() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    wide = model.add("CAST", [x], [1, 4], "float64")
    back = model.add("CAST", [wide], [1, 4])
    return model.content(dense(model, back, 4))


def _cast_input(dtype: str) -> Callable[[], bytes]:
    def build() -> bytes:
        model = Builder()
        x = model.input([1, 4], dtype)
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = map(flatbuffer.dtype_code, (dtype, "float32"))
        return model.content(dense(model, model.add("CAST", [x], [1, 4], options=options), 4))

    return build


for _dtype in ("uint8", "int32", "bool"):
    ODD[f"input_of_{_dtype}"] = _cast_input(_dtype)


@_odd
def float16_input() -> bytes:
    model = Builder()
    x = model.input([1, 4], "float16")
    return model.content(dense(model, model.add("CAST", [x], [1, 4]), 4))


@_odd
def nan_that_is_never_selected() -> bytes:
    model = Builder()
    data = dense(model, model.input([1, 4]), 4)
    is_low = model.add("LESS", [data, model.constant(-1e4)], [1, 4], "bool")
    return model.content(model.add("SELECT_V2", [is_low, model.constant(np.nan), data], [1, 4]))


@_odd
def another_subgraph_that_nobody_calls() -> bytes:
    model = Builder()
    y = dense(model, model.input([1, 4]), 4)
    model.subgraph()
    own = model.input([1, 4])
    model.finish(model.add("ABS", [own], [1, 4]))
    return model.content(y)


@_odd
def loop() -> bytes:
    """A WHILE that adds 300 until a value exceeds 1000."""
    model = Builder()
    x = model.input([1, 4])
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    y = model.add("WHILE", [x], [1, 4], options=options)
    model.subgraph()
    own = model.input([1, 4])
    top = model.add("REDUCE_MAX", [own, model.constant([0, 1], "int32")], [],
                    options=schema.ReducerOptionsT())  # fmt: skip
    model.finish(model.add("LESS", [top, model.constant(np.float32(1000))], [], "bool"))
    model.subgraph()
    own = model.input([1, 4])
    model.finish(model.add("ADD", [own, model.constant(np.float32(300))], [1, 4]))
    return model.content(y)


@_odd
def branches_on_data() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    top = model.add("REDUCE_MAX", [x, model.constant([0, 1], "int32")], [],
                    options=schema.ReducerOptionsT())  # fmt: skip
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    is_low = model.add("LESS", [top, model.constant(np.float32(0.95))], [], "bool")
    y = model.add("IF", [is_low, x], [1, 4], options=options)
    for _ in range(2):
        model.subgraph()
        own = model.input([1, 4])
        model.finish(dense(model, own, 4))
    return model.content(y)


@_odd
def dynamic_batch() -> bytes:
    model = Builder()
    x = model.input([-1, 4])
    own = model.constant(weights(4, 4))
    return model.content(model.add("FULLY_CONNECTED", [x, own], [-1, 4]))


@_odd
def dynamic_size() -> bytes:
    """Height and width are dynamic, and the tensors behind have them as 1."""
    model = Builder()
    x = model.input([-1, -1, -1, 3], name="image")
    own, bias = model.constant(weights(2, 1, 1, 3)), model.constant([1, 2])
    y = model.add("CONV_2D", [x, own, bias], [-1, -1, -1, 2], options=conv_options())
    pool = "MAX_POOL_2D"
    y = model.add(pool, [y], [-1, -1, -1, 2], options=conv_options(pool))
    axes = model.constant([1, 2], "int32")
    return model.content(model.add("MEAN", [y, axes], [-1, 2]))


@_odd
def twelve_equal_names() -> bytes:
    model = Builder()
    x = model.input([1, 4])
    y = x
    for _ in range(3):
        y = dense(model, y, 4)
    for tensor in model.graph.tensors:
        tensor.name = "same"
    return model.content(y)


@_odd
def tensors_without_names() -> bytes:
    model = Builder()
    y = dense(model, dense(model, model.input([1, 4]), 4), 4)
    for tensor in model.graph.tensors[1:]:
        tensor.name = None
    return model.content(y)


@_odd
def tensors_without_shapes() -> bytes:
    model = Builder()
    y = dense(model, dense(model, model.input([1, 4]), 4), 4)
    for tensor in model.graph.tensors[2:]:
        if not tensor.buffer:
            tensor.shape = None
    return model.content(y)
