"""Masks and indices stay booleans and integers, instead of a way through floats.

A CAST to float has no integer result: in an INT8 model it is a float island with a QUANTIZE behind.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

# A comparison, and the one with exchanged operands.
TURNED = {"LESS": "GREATER", "GREATER": "LESS", "LESS_EQUAL": "GREATER_EQUAL",
          "GREATER_EQUAL": "LESS_EQUAL", "EQUAL": "EQUAL", "NOT_EQUAL": "NOT_EQUAL"}  # fmt: skip
_OPTIONS = {"LESS": "Less", "GREATER": "Greater", "LESS_EQUAL": "LessEqual",
            "GREATER_EQUAL": "GreaterEqual", "EQUAL": "Equal", "NOT_EQUAL": "NotEqual"}  # fmt: skip
_INTEGERS = ("int32", "int64")
_EXACT = 2.0**24  # float32 holds all integers below
_MOST_DIMENSIONS = 4  # of a SELECT_V2 that broadcasts


def compare_integers(editor: Editor) -> int:
    """Compare integers and booleans themselves, instead of casting them to float before.

    Exact for integers whose magnitude is below 2**24, which float32 can hold.
    """
    done = 0
    for operator in editor.of_kind(*TURNED):
        kind, (one, other) = editor.kind(operator), editor.inputs(operator)[:2]
        if editor.scalar(one) is not None:
            kind, one, other = TURNED[kind], other, one
        source, value = _uncast(editor, one), editor.scalar(other)
        if source is None or value is None or not abs(value) < _EXACT:  # or it is NaN
            continue
        result = editor.outputs(operator)[0]
        if editor.shape(source) is None or editor.shape(source) != editor.shape(result):
            continue
        if editor.dtype(source) == "bool":
            done += _compare_boolean(editor, operator, kind, source, value)
        elif kind in ("EQUAL", "NOT_EQUAL") and value != math.floor(value):
            continue
        else:
            up = kind in ("LESS", "GREATER_EQUAL")
            whole = math.ceil(value) if up else math.floor(value)
            values = np.array(whole, editor.dtype(source))
            limit = editor.new_constant(editor.tensor_name(other), values)
            made = editor.new_like(result)
            options = getattr(flatbuffer.schema(), f"{_OPTIONS[kind]}OptionsT")()
            editor.insert(operator, kind, [source, limit], [made], options=options)
            done += editor.replace(result, made)
    return done


def _uncast(editor: Editor, index: int) -> int | None:
    """The integers or booleans from which CAST makes a float32 tensor."""
    producer = editor.producer(index)
    if editor.kind(producer) != "CAST" or editor.dtype(index) != "float32":
        return None
    source = editor.inputs(producer)[0]
    return source if editor.dtype(source) in (*_INTEGERS, "bool") else None


def _compare_boolean(editor: Editor, operator: Any, kind: str, source: int, value: float) -> bool:
    """Replace a comparison of zeros and ones by the booleans, or by their opposite."""
    compare = {"LESS": np.less, "GREATER": np.greater, "LESS_EQUAL": np.less_equal,
               "GREATER_EQUAL": np.greater_equal, "EQUAL": np.equal,
               "NOT_EQUAL": np.not_equal}[kind]  # fmt: skip
    if_false, if_true = bool(compare(0.0, value)), bool(compare(1.0, value))
    result = editor.outputs(operator)[0]
    if if_false == if_true:
        return False
    if if_true:
        return editor.replace(result, source)
    made = editor.new_like(result)
    editor.insert(operator, "LOGICAL_NOT", [source], [made],
                  options=flatbuffer.schema().LogicalNotOptionsT())  # fmt: skip
    return editor.replace(result, made)


def select_by_mask(editor: Editor) -> int:
    """Replace products with a boolean mask, or with one minus it, by SELECT_V2.

    Exact for finite values.
    """
    done = 0
    for operator in editor.of_kind("MUL"):
        pair, result = editor.inputs(operator)[:2], editor.outputs(operator)[0]
        shape = editor.shape(result)
        if editor.activation(operator) or editor.dtype(result) != "float32" or shape is None:
            continue
        masks = [_find_mask(editor, index) for index in pair]
        place = 0 if masks[0] is not None else 1
        mask, value = masks[place], pair[1 - place]
        if mask is None or len(shape) > _MOST_DIMENSIONS:
            continue
        flags, is_turned = mask
        zero = editor.new_constant("zero", np.zeros((), np.float32))
        choice = [flags, zero, value] if is_turned else [flags, value, zero]
        made = editor.new_like(result)
        options = flatbuffer.schema().SelectV2OptionsT()
        editor.insert(operator, "SELECT_V2", choice, [made], options=options)
        done += editor.replace(result, made)
    return done


def _find_mask(editor: Editor, index: int) -> tuple[int, bool] | None:
    """The booleans from which a tensor of zeros and ones is made, and whether they are turned."""
    source = _uncast(editor, index)
    if source is not None and editor.dtype(source) == "bool":
        return source, False
    producer = editor.producer(index)
    if editor.kind(producer) != "SUB" or editor.activation(producer):
        return None
    one, other = editor.inputs(producer)[:2]
    flags = _uncast(editor, other) if editor.scalar(one) == 1 else None
    is_alike = flags is not None and editor.shape(flags) == editor.shape(index) is not None
    if flags is None or not is_alike or editor.dtype(flags) != "bool":
        return None
    return flags, True


def select_ones(editor: Editor) -> int:
    """Replace a CAST of booleans to float by SELECT_V2 of one and zero: exact."""
    done = 0
    for operator in editor.of_kind("CAST"):
        (source,), (result,) = editor.inputs(operator), editor.outputs(operator)
        if (editor.dtype(source), editor.dtype(result)) != ("bool", "float32"):
            continue
        values = [editor.new_constant(name, np.array(value, np.float32))
                  for name, value in (("one", 1), ("zero", 0))]  # fmt: skip
        made = editor.new_like(result)
        options = flatbuffer.schema().SelectV2OptionsT()
        editor.insert(operator, "SELECT_V2", [source, *values], [made], options=options)
        done += editor.replace(result, made)
    return done


def gather_embeddings(editor: Editor) -> int:
    """Replace EMBEDDING_LOOKUP, which has no integer kernel, by GATHER: exact."""
    done = 0
    for operator in editor.of_kind("EMBEDDING_LOOKUP"):
        (index, table), result = editor.inputs(operator), editor.outputs(operator)[0]
        if editor.dtype(table) != "float32" or editor.dtype(result) != "float32":
            continue
        made = editor.new_like(result)
        options = flatbuffer.schema().GatherOptionsT()
        editor.insert(operator, "GATHER", [table, index], [made], options=options)
        done += editor.replace(result, made)
    return done


def drop_index_wrapping(editor: Editor) -> int:
    """Read tables without `index < 0 ? index + rows : index` before, which Keras 3 puts there.

    The bound: the indices of embeddings are not negative.
    """
    done = 0
    for operator in editor.of_kind("SELECT", "SELECT_V2"):
        (test, wrapped, index), result = editor.inputs(operator)[:3], editor.outputs(operator)[0]
        less, add = editor.producer(test), editor.producer(wrapped)
        if editor.kind(less) != "LESS" or editor.kind(add) != "ADD":
            continue
        low, limit = editor.inputs(less)[:2]
        terms = set(editor.inputs(add)) - {index}
        if low != index or editor.scalar(limit) != 0 or len(terms) != 1:
            continue
        rows, readers = editor.scalar(terms.pop()), editor.readers(result)
        is_index = readers and result not in editor.model_outputs
        if is_index and all(_reads_rows(editor, reader, result, rows) for reader in readers):
            done += editor.replace(result, index)
    return done


def take_indices(editor: Editor) -> int:
    """Make an int32 input of a float input whose values are indices of tables.

    Keras casts them, so that `keras.Input((length,))` before an `Embedding` is float32. INT8 has
    256 values for them; an int32 input keeps them all.
    """
    done = 0
    for index in sorted(editor.model_inputs - editor.model_outputs if editor.number == 0 else ()):
        readers = list(dict.fromkeys(editor.readers(index)))
        casts = [reader for reader in readers if _makes_indices(editor, reader)]
        others = [reader for reader in readers if reader not in casts]
        is_index = editor.dtype(index) == "float32" and casts
        if not is_index or any(editor.kind(reader) not in TURNED for reader in others):
            continue
        codes = flatbuffer.schema().TensorType
        if others:  # `compare_integers` takes the CAST away
            number = editor.new_like(index)
            options = flatbuffer.schema().CastOptionsT()
            options.inDataType, options.outDataType = codes.INT32, codes.FLOAT32
            editor.insert(others[0], "CAST", [index], [number], options=options)
            for reader in others:
                editor.replace_input(reader, index, number)
        editor.tensor(index).type = codes.INT32
        for cast in casts:
            editor.replace(editor.outputs(cast)[0], index)
        done += 1
    return done


def _makes_indices(editor: Editor, operator: Any) -> bool:
    """Whether a CAST gives int32 that only tables are read with."""
    if editor.kind(operator) != "CAST":
        return False
    (result,) = editor.outputs(operator)
    readers = editor.readers(result)
    return (
        editor.dtype(result) == "int32"
        and result not in editor.model_outputs
        and bool(readers)
        and all(
            editor.kind(reader) == "GATHER" and editor.inputs(reader)[0] != result
            for reader in readers
        )
    )


def _reads_rows(editor: Editor, reader: Any, index: int, rows: float | None) -> bool:
    """Whether an operator reads a table with this number of rows at these indices."""
    inputs = editor.inputs(reader)[:2]
    if editor.kind(reader) != "GATHER" or inputs[1] != index or reader.builtinOptions is None:
        return False
    shape, axis = editor.shape(inputs[0]), int(reader.builtinOptions.axis)
    return shape is not None and -len(shape) <= axis < len(shape) and shape[axis] == rows
