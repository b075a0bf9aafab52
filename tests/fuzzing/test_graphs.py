"""Faults in the graph of a `.tflite`: what reads it before an interpreter refuses it or copes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgeq.converters.lowering.lower import adopt
from edgeq.converters.proof.certificate import certify
from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.converters.writer.precisions import choose_precisions
from edgeq.errors import EdgeqError
from edgeq.inspection.contents import inspect_model
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions
from tests.fuzzing import graphs

COUNT = 300


def outcome(content: bytes, path: Path) -> str:
    """Read a model in all ways that come before its first run."""
    path.write_bytes(content)
    try:
        certify(path)
        inspect_model(path)
        adopt(path, ConvertOptions())
        unpack(content)
        tree = flatbuffer.parse(rewrite(content).content, "made")
        for dtype in ("int8", "int16"):
            choose_precisions(tree, dtype)
    except EdgeqError:
        return "refused"
    return "read"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of weights near the largest float
def test_a_faulty_graph_is_refused_or_read(tmp_path: Path) -> None:
    found = [
        outcome(graphs.change_graph(random.Random(number)), tmp_path / "m.tflite")
        for number in range(COUNT)
    ]
    assert min(found.count("refused"), found.count("read")) > COUNT // 10


def test_the_models_are_sound_before(tmp_path: Path) -> None:
    found = [outcome(content, tmp_path / "m.tflite") for content in set(graphs.sources())]
    assert found.count("refused") <= 8
    assert found.count("read") > 200
