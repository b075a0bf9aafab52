from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.masks import MASK
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

SCORES = np.random.default_rng(0).normal(0, 20, (1, 3, 4)).astype(np.float32)
CAUSAL = np.triu(np.ones((3, 4), bool), 1)
FLAGS = np.array([[1, 0, 1, 1]], np.float32)
LARGEST = float(np.finfo(np.float32).max)
NAMES = ("mask constants made milder (1)",)

Make = Callable[[Builder, int], int]


def constant_sum(value: float, kind: str = "ADD") -> Make:
    """Scores and a causal mask that is added or subtracted."""

    def make(build: Builder, scores: int) -> int:
        mask = np.where(CAUSAL, value, 0).astype(np.float32)
        return build.add(kind, [scores, build.constant(mask)], [1, 3, 4])

    return make


def lowered(build: Builder, scores: int) -> int:
    """The minimum of scores and a causal mask."""
    mask = np.where(CAUSAL, -LARGEST, LARGEST).astype(np.float32)
    return build.add("MINIMUM", [scores, build.constant(mask)], [1, 3, 4])


def computed(value: float, *, turned: bool = False) -> Make:
    """`scores + (1 - flags) * value`, of flags that are the model's second input."""

    def make(build: Builder, scores: int) -> int:
        flags, one = build.input([1, 4], name="flags"), build.constant(1.0)
        pair = [flags, one] if turned else [one, flags]
        hidden = build.add("SUB", pair, [1, 4])
        product = build.add("MUL", [hidden, build.constant(value)], [1, 4])
        row = build.add("RESHAPE", [product, build.constant([1, 1, 4], "int32")], [1, 1, 4])
        return build.add("ADD", [scores, row], [1, 3, 4])

    return make


def selected(value: float, *, kind: str = "SELECT_V2", turned: bool = False) -> Make:
    """Scores where flags are above 0, a constant elsewhere, or the other way round."""

    def make(build: Builder, scores: int) -> int:
        flags = build.input([1, 4], name="flags")
        shape = [1, 3, 4]
        if kind == "SELECT":
            flags = build.add("ADD", [flags, build.constant(np.zeros(shape))], shape)
        shown = build.add("GREATER", [flags, build.constant(0.0)],
                          shape if kind == "SELECT" else [1, 4], "bool")  # fmt: skip
        hidden = build.constant(np.full(shape if kind == "SELECT" else (), value))
        pair = [hidden, scores] if turned else [scores, hidden]
        return build.add(kind, [shown, *pair], shape)

    return make


def cast(build: Builder, index: int, shape: list[int], source: int) -> int:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = source, schema.TensorType.FLOAT32
    return build.add("CAST", [index], shape, options=options)


def counted(build: Builder, shape: list[int]) -> int:
    """Flags that come as whole numbers."""
    index = build.input(shape, "int32", "flags")
    return cast(build, index, shape, schema.TensorType.INT32)


def multiplied(build: Builder, shape: list[int]) -> int:
    """Two kinds of flags, one of them stored."""
    stored = build.constant(np.resize([1, 1, 0, 1], shape))
    return build.add("MUL", [build.input(shape, name="flags"), stored], shape)


def decided(build: Builder, shape: list[int]) -> int:
    """Flags that were compared, and others."""
    flags = build.input(shape, name="flags")
    shown = build.add("GREATER", [flags, build.constant(0.5)], shape, "bool")
    return build.add("MUL", [cast(build, shown, shape, schema.TensorType.BOOL), flags], shape)


def joined(build: Builder, shape: list[int]) -> int:
    """Flags of the samples, and of what is always shown."""
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    flags = build.input([1, 3], name="flags")
    return build.add("CONCATENATION", [flags, build.constant([[1.0]])], shape, options=options)


@pytest.mark.parametrize("flags", [counted, multiplied, decided, joined])
def test_a_mask_of_flags_from_elsewhere(flags: Callable[[Builder, list[int]], int]) -> None:
    build = Builder()
    scores = build.input([1, 3, 4])
    mask = build.add("SUB", [flags(build, [1, 4]), build.constant(1.0)], [1, 4])
    hidden = build.add("MUL", [build.constant(1e9), mask], [1, 4])
    total = build.add("ADD", [hidden, scores], [1, 3, 4])
    content = build.content(build.add("SOFTMAX", [total], [1, 3, 4]))
    made = rewrite(content)
    assert NAMES[0] in made.names
    assert largest_constant(made.content) == MASK
    samples = [SCORES, FLAGS[:, :3] if flags is joined else FLAGS]
    expected = run(content, *samples)[0]
    assert (expected == 0).any()
    np.testing.assert_array_equal(run(made.content, *samples)[0], expected)


def model(make: Make, *, shared: bool = False, last: str = "SOFTMAX") -> tuple[bytes, list[Any]]:
    """Masked scores before a softmax, and samples of its inputs."""
    build = Builder()
    scores = build.input([1, 3, 4])
    masked = make(build, scores)
    outputs = [build.add(last, [masked], [1, 3, 4])]
    if shared:
        outputs.append(build.add("ABS", [masked], [1, 3, 4]))
    samples = [SCORES, FLAGS][: len(build.graph.inputs)]
    return build.content(*outputs), samples


def largest_constant(content: bytes) -> float:
    editor = Editor(flatbuffer.parse(content, "m"))
    values = [editor.value(index) for index in range(len(editor.graph.tensors))]
    return max(float(np.abs(v).max()) for v in values if v is not None and v.dtype == np.float32)


@pytest.mark.parametrize("make", [
    constant_sum(-1e9), constant_sum(-LARGEST), constant_sum(-np.inf), constant_sum(1e9, "SUB"),
    computed(-1e9), computed(1e9, turned=True), computed(-LARGEST), selected(-1e9),
    selected(-np.inf), selected(-LARGEST, kind="SELECT"), lowered,
    selected(-1e9, turned=True),
])  # fmt: skip
def test_a_milder_mask_gives_the_same_probabilities(make: Make) -> None:
    content, samples = model(make)
    made = rewrite(content)
    assert made.names == NAMES
    assert kinds(made.content) == kinds(content)
    assert largest_constant(made.content) == MASK
    expected = run(content, *samples)[0]
    assert (expected == 0).any()
    np.testing.assert_array_equal(run(made.content, *samples)[0], expected)


@pytest.mark.parametrize("make", [
    constant_sum(-3.5),  # a bias of positions
    constant_sum(1e9),  # shows, instead of hiding
    constant_sum(-1e9, "SUB"), constant_sum(np.nan),
])  # fmt: skip
def test_other_constants_stay(make: Make) -> None:
    content, _ = model(make)
    assert rewrite(content).content is content


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_a_mask_with_an_activation_stays(kind: str) -> None:
    build = Builder()
    scores, flags = build.input([1, 3, 4]), build.input([1, 4], name="flags")
    options = getattr(schema, f"{kind.capitalize()}OptionsT")()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    own = {kind: options}
    value = build.constant(-1e9)
    mask = build.add("MUL", [flags, value], [1, 4], options=own.get("MUL"))
    total = build.add("ADD", [scores, mask], [1, 3, 4], options=own.get("ADD"))
    content = build.content(build.add("SOFTMAX", [total], [1, 3, 4]))
    assert rewrite(content).content is content


def test_a_mask_that_is_read_elsewhere_stays() -> None:
    content, _ = model(constant_sum(-1e9), shared=True)
    assert rewrite(content).content is content


def test_a_mask_before_something_else_stays() -> None:
    content, _ = model(constant_sum(-1e9), last="EXP")
    assert rewrite(content).content is content


def test_a_large_factor_of_scores_stays() -> None:
    build = Builder()
    scores = build.input([1, 3, 4])
    large = build.add("ABS", [scores], [1, 3, 4])
    scaled = build.add("MUL", [large, build.constant(-1e9)], [1, 3, 4])
    total = build.add("ADD", [scores, scaled], [1, 3, 4])
    content = build.content(build.add("SOFTMAX", [total], [1, 3, 4]))
    assert rewrite(content).content is content


def test_a_softmax_that_weakens_differences_keeps_its_mask() -> None:
    build = Builder()
    options = schema.SoftmaxOptionsT()
    options.beta = 0.01
    masked = constant_sum(-1e9)(build, build.input([1, 3, 4]))
    content = build.content(build.add("SOFTMAX", [masked], [1, 3, 4], options=options))
    assert rewrite(content).content is content


def test_one_mask_of_several_layers() -> None:
    build = Builder()
    scores, flags = build.input([1, 3, 4]), build.input([1, 1, 4], name="flags")
    hidden = build.add("SUB", [build.constant(1.0), flags], [1, 1, 4])
    mask = build.add("MUL", [hidden, build.constant(-1e9)], [1, 1, 4])
    ends = []
    for kind in ("COS", "ABS"):
        own = build.add(kind, [scores], [1, 3, 4])
        total = build.add("ADD", [own, mask], [1, 3, 4])
        ends.append(build.add("SOFTMAX", [total], [1, 3, 4]))
    content = build.content(*ends)
    made = rewrite(content)
    assert made.names == NAMES
    samples = SCORES, FLAGS[None]
    for own, expected in zip(run(made.content, *samples), run(content, *samples), strict=True):
        np.testing.assert_array_equal(own, expected)
