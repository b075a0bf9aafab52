from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.rewrites.editor import Editor
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import drop_unused
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run


def editor_of(content: bytes) -> Editor:
    return Editor(flatbuffer.parse(content, "m"))


def saved(editor: Editor) -> bytes:
    editor.remove_unread()
    drop_unused(editor.tree)
    return flatbuffer.serialize(editor.tree)


def test_the_view_of_a_graph() -> None:
    build = Builder()
    x, two = build.input([-1, 3]), build.constant([2.0, 2.0, 2.0])
    product = build.add("MUL", [x, two], [-1, 3])
    total = build.add("ADD", [product, product], [-1, 3])
    editor = editor_of(build.content(total))
    mul, add = editor.operators
    assert editor.producer(product) is mul
    assert editor.kind(editor.producer(x)) == ""
    assert editor.readers(product) == [add, add]
    assert editor.only_reader(product) is None
    assert editor.only_reader(two) is mul
    assert editor.shape(x) is None  # its batch is dynamic
    assert editor.shape(two) == (3,)
    np.testing.assert_array_equal(editor.value(two), [2, 2, 2])
    assert editor.scalar(two) == 2
    assert editor.value(x) is None
    assert editor.value(product) is None
    assert editor.value(-1) is None


def test_a_constant_of_the_wrong_size_is_refused() -> None:
    build = Builder()
    constant = build.constant([1.0, 2.0])
    build.graph.tensors[constant].shape = np.array([3], np.int32)
    with pytest.raises(SourceError, match=r"in 8 bytes instead of 12 \(float32 \[3\]\)"):
        editor_of(build.content(constant))


def test_an_output_keeps_its_name_when_it_is_replaced() -> None:
    build = Builder()
    x = build.input([1, 3])
    relu = build.add("RELU", [x], [1, 3])
    low = build.add("NEG", [relu], [1, 3])
    high = build.add("NEG", [low], [1, 3])
    other = build.add("ABS", [relu], [1, 3])
    content = build.content(high, other)
    editor = editor_of(content)
    assert editor.replace(high, relu)  # -(-relu(x)) is relu(x)
    made = saved(editor)
    assert kinds(made) == ["RELU", "ABS"]
    tree = flatbuffer.parse(made, "m")
    names = [flatbuffer.tensor_name(tree.subgraphs[0], i) for i in tree.subgraphs[0].outputs]
    assert names == [f"t{high}", f"t{other}"]
    for own, expected in zip(run(made, [[-1, 0, 2]]), run(content, [[-1, 0, 2]]), strict=True):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("is_constant", [True, False])
def test_an_output_cannot_become_an_input_or_a_constant(is_constant: bool) -> None:
    build = Builder()
    x = build.input([1, 3])
    y = build.add("ABS", [x], [1, 3])
    other = build.constant(np.ones((1, 3))) if is_constant else x
    editor = editor_of(build.content(y))
    assert not editor.replace(y, other)
    assert kinds(saved(editor)) == ["ABS"]


def test_an_inserted_operator_computes_before_its_readers() -> None:
    build = Builder()
    x = build.input([1, 3])
    y = build.add("ABS", [x], [1, 3])
    z = build.add("RELU", [y], [1, 3])
    editor = editor_of(build.content(z))
    relu = editor.producer(z)
    made = editor.new_like(y)
    editor.insert(relu, "MUL", [y, y], [made], options=flatbuffer.schema().MulOptionsT())
    editor.set_inputs(relu, [made])
    assert editor.readers(y) == [editor.producer(made)] * 2
    content = saved(editor)
    assert kinds(content) == ["ABS", "MUL", "RELU"]
    np.testing.assert_array_equal(run(content, [[-3, 0, 2]])[0], [[9, 0, 4]])


def test_what_nobody_reads_goes_with_what_only_it_read() -> None:
    build = Builder()
    x, unused = build.input([1, 3]), build.constant([1.0, 2.0, 3.0])
    dead = build.add("ADD", [x, unused], [1, 3])
    build.add("ABS", [dead], [1, 3])
    y = build.add("RELU", [x], [1, 3])
    made = saved(editor_of(build.content(y)))
    tree = flatbuffer.parse(made, "m")
    assert kinds(made) == ["RELU"]
    assert len(tree.subgraphs[0].tensors) == 2
    assert not any(flatbuffer.is_constant(tree, tensor) for tensor in tree.subgraphs[0].tensors)
    assert all(buffer.data is None for buffer in tree.buffers)


@pytest.mark.parametrize("damage", ["twice", "later", "itself"])
def test_a_graph_in_a_circle_is_refused(damage: str) -> None:
    build = Builder()
    x = build.input([1, 3])
    y = build.add("ABS", [x], [1, 3])
    z = build.add("RELU", [y], [1, 3])
    first, second = build.graph.operators
    if damage == "twice":
        second.outputs = [y]
    else:
        first.inputs = [z if damage == "later" else y]
    with pytest.raises(SourceError, match=r"damaged: tensor 't[12]' is (computed|read)"):
        editor_of(build.content(z))


def test_names_are_fresh() -> None:
    build = Builder()
    editor = editor_of(build.content(build.input([1, 3])))
    assert [editor.fresh_name("x"), editor.fresh_name("x"), editor.fresh_name("z")] == [
        "x_1", "x_2", "z",
    ]  # fmt: skip
