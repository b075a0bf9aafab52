"""Operators without their own table of options are read as kernels read them."""

from __future__ import annotations

import pytest

from benchmarks.kernels import forms
from benchmarks.kernels.cases import CASES
from edgeq.tflite import flatbuffer

schema = flatbuffer.schema()


@pytest.mark.parametrize("table", [None, "Pool2D", "Softmax"])
def test_an_operator_gets_its_own_table(table: str | None) -> None:
    """Each operator of the benchmark has the right table already, and gets the same one again."""
    seen = set()
    for case in CASES.values():
        tree = flatbuffer.parse(forms.build(case, "float32").content, case.name)
        (operator,) = tree.subgraphs[0].operators
        right = type(operator.builtinOptions)
        if case.options is None or not any(item is not None for item in vars(right()).values()):
            continue
        assert right.__name__ == f"{case.options[0]}OptionsT"
        operator.builtinOptions = None if table is None else getattr(schema, f"{table}OptionsT")()
        kind = f"{table}Options" if table is not None else "NONE"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        tree = flatbuffer.parse(flatbuffer.serialize(tree), case.name)
        (operator,) = tree.subgraphs[0].operators
        assert type(operator.builtinOptions) is right, case.name
        assert operator.builtinOptionsType == getattr(schema.BuiltinOptions, right.__name__[:-1])
        seen.add(case.operator)
    assert {"ADD", "MEAN", "MAX_POOL_2D", "CUMSUM", "L2_NORMALIZATION"} <= seen


def test_a_table_that_says_nothing_may_be_absent() -> None:
    tree = flatbuffer.parse(forms.build(CASES["SLICE"], "float32").content, "m")
    tree.subgraphs[0].operators[0].builtinOptions = None
    tree.subgraphs[0].operators[0].builtinOptionsType = 0
    tree = flatbuffer.parse(flatbuffer.serialize(tree), "m")
    assert tree.subgraphs[0].operators[0].builtinOptions is None
