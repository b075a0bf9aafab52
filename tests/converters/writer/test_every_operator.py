"""The writer on one model of every operator that has an integer kernel, run by the interpreter."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.kernels import forms, measure, table
from benchmarks.kernels.cases import CASES
from edgeq.converters.writer.precisions import narrow_layers
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer, kernels, lstm
from edgeq.values import Ranges, TensorRange

TARGETS = {
    "int8": Target("int8", "float32"),
    "int16": Target("int16", "float32"),
    "int4": Target("int8", "float32"),
}
# They exist in integer models only; other tests write the LSTM.
NOT_IN_FLOAT = ("QUANTIZE", "DEQUANTIZE", lstm.NAME)
# Their INT8 kernels need a newer runtime than a table of 256 values.
TABLES = {("LOG", "int8"), ("SQRT", "int8")}


def written(name: str, form: str, results: table.Results) -> forms.Built:
    """A case's file by the writer, with float inputs and outputs."""
    item = CASES[name]
    plain = forms.build(item, "float32", results=results)
    tree = flatbuffer.parse(plain.content, name)
    values = dict(zip((f"in{n}" for n in range(len(item.values))), item.values, strict=True))
    values |= {f"out{number}": result for number, result in enumerate(results)}
    found = [
        TensorRange(index, known, float(values[known].min()), float(values[known].max()))
        for index, tensor in enumerate(tree.subgraphs[0].tensors)
        if (known := flatbuffer.text(tensor.name)) and flatbuffer.dtype(tensor) == "float32"
    ]
    narrow = tuple(narrow_layers(tree)) if form == "int4" else ()
    content = Writer(plain.content, replace(TARGETS[form], int4=narrow)).write(
        Ranges("edgeq", "minmax", 1, tuple(found), "")
    )
    made = flatbuffer.parse(content, name)
    operators = [flatbuffer.operator_name(made, op) for op in made.subgraphs[0].operators]
    if (item.operator, form) in TABLES:
        assert operators == ["QUANTIZE", "CAST", "ADD", "GATHER", "DEQUANTIZE"]
        return forms.Built(content, plain.inputs, tuple(flatbuffer.interface(made)[1]), 0)
    assert operators.count(item.operator) == 1
    (own,) = (
        op
        for op in made.subgraphs[0].operators
        if flatbuffer.operator_name(made, op) == item.operator
    )
    touched = (*flatbuffer.indices(own.inputs), *flatbuffer.indices(own.outputs))
    dtypes = {flatbuffer.dtype(made.subgraphs[0].tensors[index]) for index in touched if index >= 0}
    assert "float32" not in dtypes and (form != "int4" or "int4" in dtypes), (name, form)
    return forms.Built(content, plain.inputs, tuple(flatbuffer.interface(made)[1]), 0)


def test_every_operator_that_has_a_kernel_is_written_right() -> None:
    cases = {name: item for name, item in CASES.items() if item.operator not in NOT_IN_FLOAT}
    results = table.references(cases)
    built = {
        (name, form): written(name, form, results[name])
        for name, item in cases.items()
        for form in TARGETS
        if kernels.takes(item.operator, form)
        and (form != "int4" or any(op is not None and op.kind == "weights" for op in item.operands))
    }
    assert len(built) > 300
    for runtime in ("litert", "litert-xnnpack"):
        found = table.decibels(runtime, built, results)
        low = {key: db for key, db in found.items() if db < measure.LIMIT_DB}
        assert not low, runtime
