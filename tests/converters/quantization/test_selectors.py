from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.converters.quantization.selectors import select_operators
from edgeq.errors import UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel


def names_of(model: FloatModel, kind: str) -> tuple[str, ...]:
    tree = flatbuffer.read(Path(model.file.path))
    graph = tree.subgraphs[0]
    return tuple(
        flatbuffer.text(graph.tensors[flatbuffer.indices(op.outputs)[0]].name)
        for op in graph.operators
        if flatbuffer.operator_name(tree, op) == kind
    )


def select(model: FloatModel, *selectors: str) -> tuple[str, ...]:
    return select_operators(Path(model.file.path).read_bytes(), selectors, "--keep-float")


def test_a_type_means_all_operators_of_it(float_mobilenet: FloatModel) -> None:
    wanted = names_of(float_mobilenet, "DEPTHWISE_CONV_2D")
    assert len(wanted) > 1
    assert select(float_mobilenet, "type:depthwise_conv_2d") == wanted


def test_a_regular_expression_is_searched_in_names(float_mobilenet: FloatModel) -> None:
    (softmax,) = names_of(float_mobilenet, "SOFTMAX")
    assert select(float_mobilenet, f"^{softmax}$") == (softmax,)
    both = select(float_mobilenet, f"^{softmax}$", "type:MEAN")
    assert set(both) == {softmax, *names_of(float_mobilenet, "MEAN")}


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("no_such_layer", "--keep-float 'no_such_layer' matches none of the model's 24 operators."),
        ("type:CONV", "--keep-float 'type:CONV' matches none of the model's 24 operators."),
        (
            "(",
            "--keep-float '(' cannot be read as a regular expression: missing ), unterminated "
            "subpattern at position 0.",
        ),
    ],
)
def test_a_selector_that_means_nothing_is_an_error(
    selector: str, message: str, float_mobilenet: FloatModel
) -> None:
    with pytest.raises(UsageError) as caught:
        select(float_mobilenet, selector)
    assert caught.value.message == message
