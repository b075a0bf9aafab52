from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.rewrites.subgraphs import drop_uncalled
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from tests import tiny_models
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema


def model(condition: Any = None, spoil: str = "") -> bytes:
    """`max(x) > 0 ? x * 2 : x + 10`, or with a constant condition.

    Args:
        spoil: makes the second branch one that may only be computed if it is taken.
    """
    build = Builder()
    x, two, ten = build.input([1, 3]), build.constant([2.0]), build.constant([10.0])
    if condition is None:
        axes = build.constant([0, 1], "int32")
        largest = build.add("REDUCE_MAX", [x, axes], [], options=schema.ReducerOptionsT())
        test = build.add("GREATER", [largest, build.constant(0.0)], [], "bool")
    else:
        test = build.constant(condition, "bool")
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    result = build.add("IF", [test, x, two, ten], [1, 3], options=options)
    y = build.add("RELU", [result], [1, 3])
    main = build.graph
    for kind, place in (("MUL", 1), ("ADD", 2)):
        build.subgraph()
        inner = [build.input([1, 3]), build.input([1], name="a"), build.input([1], name="b")]
        end = build.add(kind, [inner[0], inner[place]], [1, 3])
        if spoil == "custom" and kind == "ADD":
            build.tree.operatorCodes[-1].customCode = "Mystery"
        if spoil == "variable":
            build.graph.tensors[build.tensor([1, 3])].isVariable = True
        build.finish(end)
    build.graph = main
    return build.content(y)


SAMPLES = [[[1, 2, -3]], [[-1, -2, -30]]]


def test_both_branches_are_computed_and_one_is_selected() -> None:
    content = model()
    made = rewrite(content)
    assert made.names == ("IF replaced by both branches and SELECT (1)",)
    assert kinds(made.content) == ["REDUCE_MAX", "GREATER", "MUL", "ADD", "SELECT_V2", "RELU"]
    assert len(flatbuffer.parse(made.content, "m").subgraphs) == 1
    found = [run(made.content, sample)[0].tolist() for sample in SAMPLES]
    assert found == [[[2, 4, 0]], [[9, 8, 0]]]
    assert found == [run(content, sample)[0].tolist() for sample in SAMPLES]


@pytest.mark.parametrize("condition", [True, False])
def test_a_constant_condition_leaves_one_branch(condition: bool) -> None:
    content = model(condition)
    made = rewrite(content)
    assert made.names == (
        "IF with a constant condition resolved (1)",
        "activation fused into the operator before (1)",
    )
    assert kinds(made.content) == ["MUL" if condition else "ADD"]
    for sample in SAMPLES:
        np.testing.assert_array_equal(run(made.content, sample)[0], run(content, sample)[0])


@pytest.mark.parametrize("spoil", ["custom", "variable"])
def test_a_branch_with_side_effects_stays(spoil: str) -> None:
    content = model(spoil=spoil)
    assert rewrite(content).content is content


def test_a_subgraph_that_calls_itself_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^The model is damaged: subgraph 1 calls itself"):
        rewrite(tiny_models.bottomless())


def test_a_loop_without_end_stays() -> None:
    assert kinds(rewrite(tiny_models.endless()).content) == ["WHILE"]


def test_subgraphs_that_are_called_stay() -> None:
    content = model(spoil="custom")
    tree = flatbuffer.parse(content, "m")
    tree.subgraphs.insert(1, tree.subgraphs[2])  # nothing calls the first one now
    options = tree.subgraphs[0].operators[2].builtinOptions
    options.thenSubgraphIndex, options.elseSubgraphIndex = 2, 3
    drop_uncalled(tree)
    assert (options.thenSubgraphIndex, options.elseSubgraphIndex) == (1, 2)
    made = flatbuffer.serialize(tree)
    assert [kinds(made, number) for number in (1, 2)] == [kinds(content, 1), kinds(content, 2)]
