"""Random damage to small float models: the writer makes a file or raises an EdgeqError."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.writer import storage
from edgeq.converters.writer.write import Target, Writer
from edgeq.errors import EdgeqError
from edgeq.tflite import flatbuffer
from edgeq.values import Ranges, TensorRange
from tests.converters.writer.bad_models import ODD

COUNT = 600
SIZES = (-1, 0, 1, 2, 3, 7, 1 << 16)
ENDS = (0.0, 1e-30, 1e-3, 1.0, 1e9, 3e38)


def flip_input(graph: Any, picked: random.Random) -> None:
    operator = picked.choice(graph.operators)
    inputs = flatbuffer.indices(operator.inputs)
    if inputs:
        place, new = picked.randrange(len(inputs)), picked.randrange(-1, len(graph.tensors))
        operator.inputs = np.array([*inputs[:place], new, *inputs[place + 1 :]], np.int32)


def flip_output(graph: Any, picked: random.Random) -> None:
    operator = picked.choice(graph.operators)
    operator.outputs = np.array([picked.randrange(-1, len(graph.tensors))], np.int32)


def drop_end(graph: Any, picked: random.Random) -> None:
    operator = picked.choice(graph.operators)
    side = picked.choice(("inputs", "outputs"))
    setattr(operator, side, np.array(flatbuffer.indices(getattr(operator, side))[:-1], np.int32))


def change_shape(graph: Any, picked: random.Random) -> None:
    tensor = picked.choice(graph.tensors)
    shape = list(flatbuffer.indices(tensor.shape)) or [1]
    shape[picked.randrange(len(shape))] = picked.choice(SIZES)
    tensor.shape = picked.choice((np.array(shape, np.int32), None, np.array(shape[1:], np.int32)))


def reshape_constant(graph: Any, picked: random.Random) -> None:
    """Another shape of as many values."""
    stored = [item for item in graph.tensors if item.buffer]
    if stored:
        tensor = picked.choice(stored)
        count = int(np.prod(flatbuffer.indices(tensor.shape)))
        tensor.shape = np.array(picked.choice([(count,), (1, count), (count, 1, 1)]), np.int32)


def change_dtype(graph: Any, picked: random.Random) -> None:
    picked.choice(graph.tensors).type = picked.choice(list(flatbuffer.dtype_names()))


def change_interface(graph: Any, picked: random.Random) -> None:
    side = picked.choice(("inputs", "outputs"))
    setattr(graph, side, np.array([picked.randrange(len(graph.tensors))], np.int32))


def move_operator(graph: Any, picked: random.Random) -> None:
    picked.shuffle(graph.operators)


def swap_buffers(graph: Any, picked: random.Random) -> None:
    one, two = picked.choice(graph.tensors), picked.choice(graph.tensors)
    one.buffer, two.buffer = two.buffer, one.buffer


def drop_options(graph: Any, picked: random.Random) -> None:
    picked.choice(graph.operators).builtinOptions = None


def change_kind(graph: Any, picked: random.Random) -> None:
    operator = picked.choice(graph.operators)
    operator.opcodeIndex = picked.choice(graph.operators).opcodeIndex


MUTATIONS = (flip_input, flip_output, drop_end, change_shape, reshape_constant, change_dtype,
             change_interface, move_operator, swap_buffers, drop_options, change_kind)  # fmt: skip


def mutant(number: int) -> bytes:
    """One to three faults in one of the models."""
    picked = random.Random(number)
    tree = flatbuffer.parse(ODD[picked.choice(list(ODD))](), "model")
    for _ in range(picked.randrange(1, 4)):
        graph = picked.choice(tree.subgraphs)
        if graph.operators and graph.tensors:
            picked.choice(MUTATIONS)(graph, picked)
    return flatbuffer.serialize(tree)


def random_ranges(content: bytes, picked: random.Random) -> Ranges:
    """A range of every float tensor."""
    tensors = flatbuffer.parse(content, "model").subgraphs[0].tensors
    found = (
        TensorRange(index, str(index), -picked.choice(ENDS), picked.choice(ENDS))
        for index, tensor in enumerate(tensors)
        if flatbuffer.dtype(tensor) == "float32"
    )
    return Ranges("edgeq", "minmax", 1, tuple(found), "")


def outcome(number: int) -> str:
    """Write a mutant in a random precision, and read the file."""
    picked = random.Random(number)
    try:
        content = mutant(number)
        rewritten = rewrite(content).content
        kind = picked.choice(("int8", "int16", "dynamic", "fp16", "int4"))
        if kind in ("int8", "int16"):
            writer = Writer(rewritten, Target(kind, "float32", picked.random() < 0.7))
            made = writer.write(random_ranges(rewritten, picked))
        elif kind == "int4":
            made = storage.store_weight_only(rewritten, "int4", "channel")
        else:
            made = (storage.store_fp16(rewritten) if kind == "fp16"
                    else storage.store_dynamic(rewritten, per_channel=True))  # fmt: skip
    except EdgeqError:
        return "refused"
    flatbuffer.parse(made, "made")
    return "written"


def test_mutants_are_refused_or_written() -> None:
    found = [outcome(number) for number in range(COUNT)]
    assert min(found.count("refused"), found.count("written")) > COUNT // 10
