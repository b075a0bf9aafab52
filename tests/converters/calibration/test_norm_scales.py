from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.calibration.channel_extremes import channel_extremes
from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.equalization import Equalized, Way, equalize
from edgeq.converters.calibration.norm_scales import open_norms
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.converters.proof.layer_errors import Pair
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.normalization import find_inner
from edgeq.tflite import flatbuffer
from tests.converters.calibration.outlier_encoder import encoder, samples
from tests.converters.rewrites.tiny_graphs import kinds, run


@pytest.fixture(scope="module")
def source() -> bytes:
    return encoder()


@pytest.fixture(scope="module")
def channels(source: bytes) -> dict[int, np.ndarray]:
    stepper, found = Stepper(flatbuffer.parse(source, "m"), {"x": samples(64)}), {}
    while not stepper.is_finished:
        stepper.step()
        found |= {index: channel_extremes(values) for index, values in stepper.values.items()}
    return found


@pytest.fixture(scope="module")
def opened(source: bytes, channels: dict[int, np.ndarray]) -> Equalized:
    return equalize(source, channels, Way(0.5, is_open=True))


def readers(content: bytes, index: int) -> list[Any]:
    graph = flatbuffer.parse(content, "m").subgraphs[0]
    return [item for item in graph.operators if index in flatbuffer.indices(item.inputs)]


def spread(extremes: np.ndarray) -> float:
    peaks = np.abs(extremes).max(axis=0)
    return float(peaks.max() / np.median(peaks))


def error(content: bytes, other: bytes) -> float:
    given = samples(1)[0]
    (expected,), (found,) = run(content, given), run(other, given)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_the_stream_uses_its_range_and_the_outputs_stay(
    source: bytes, channels: dict[int, np.ndarray], opened: Equalized
) -> None:
    tree = flatbuffer.parse(opened.content, "m")
    names = {flatbuffer.tensor_name(tree.subgraphs[0], index) for index in opened.copies}
    # The dense layers behind took gamma; large channels of the stream are large there, too.
    ends = sorted(name.rpartition("/")[2] for name in names)
    assert ends == ["balanced", "restored", "restored"]
    assert len(kinds(opened.content)) == len(kinds(source)) + 3
    stream = set(opened.copies.values()) & set(opened.factors)
    assert len(stream) == 2
    for index in stream:
        assert spread(channels[index]) > 10
        assert spread(channels[index] * opened.factors[index]) < 1.5
    assert error(source, opened.content) < 1e-5
    inner = find_inner(Editor(tree)).operators
    inserted = [
        place
        for place, operator in enumerate(tree.subgraphs[0].operators)
        if flatbuffer.indices(operator.outputs)[0] in opened.copies
    ]
    assert inner >= set(inserted)  # computed in INT16


def test_a_reader_that_keeps_its_units_is_an_error(source: bytes, opened: Equalized) -> None:
    """Each of the layers that read changed channels matters."""
    tree = flatbuffer.parse(opened.content, "m")
    found = find_groups(tree)
    read = [layer for layer in found.layers if layer.source in opened.factors]
    assert len(read) >= 3
    for layer in read:
        tree = flatbuffer.parse(opened.content, "m")
        tensors, operator = tree.subgraphs[0].tensors, tree.subgraphs[0].operators[layer.position]
        weights = tensors[operator.inputs[layer.weights]]
        factors = opened.factors[layer.source]
        values = flatbuffer.constant(tree, weights) * factors.astype(np.float32)
        weights.buffer = flatbuffer.add_buffer(tree, values)
        assert error(source, flatbuffer.serialize(tree)) > 0.05


def test_only_the_named_operators_are_inserted(source: bytes) -> None:
    tree = flatbuffer.parse(source, "m")
    every = open_norms(tree)
    names = [flatbuffer.tensor_name(tree.subgraphs[0], index) for index in every]
    assert len(names) == 4  # before and behind both
    again = flatbuffer.parse(source, "m")
    made = open_norms(again, names[:1])
    assert [flatbuffer.tensor_name(again.subgraphs[0], index) for index in made] == names[:1]
    assert open_norms(flatbuffer.parse(source, "m"), ()) == {}
    assert error(source, flatbuffer.serialize(tree)) == 0


def test_operators_behind_tensors_of_one_name_are_told_apart(
    source: bytes, channels: dict[int, np.ndarray], opened: Equalized
) -> None:
    """A file may name several tensors alike, and two normalizations may read one tensor."""
    alike = flatbuffer.parse(source, "m")
    every = open_norms(flatbuffer.parse(source, "m"))
    for index in every.values():
        alike.subgraphs[0].tensors[index].name = "same"
    content = flatbuffer.serialize(alike)
    tree = flatbuffer.parse(content, "m")
    named = {
        flatbuffer.tensor_name(tree.subgraphs[0], made): read
        for made, read in open_norms(tree).items()
    }
    assert list(named.values()) == list(every.values())
    for name, read in named.items():
        again = flatbuffer.parse(content, "m")
        ((made, own),) = open_norms(again, {name}).items()
        assert (flatbuffer.tensor_name(again.subgraphs[0], made), own) == (name, read)
    found = equalize(content, channels, Way(0.5, is_open=True))
    assert list(found.copies.values()) == list(opened.copies.values())


def test_an_operator_without_a_use_is_not_inserted(source: bytes) -> None:
    """No factor is known for channels that were not observed."""
    assert equalize(source, {}, Way(is_open=True)) == Equalized(source, {}, {})


def test_convert_inserts_them_and_debug_knows(source: bytes, tmp_path: Path) -> None:
    model, data = tmp_path / "encoder.tflite", tmp_path / "x.npz"
    model.write_bytes(source)
    np.savez(data, x=samples(200)[:, 0])
    made, plain = (
        edgeq.convert(
            model, tmp_path / f"{name}.tflite", data=data, statistic="minmax", corrections=name,
            io="float32",
        )
        for name in ("equalize", "none")
    )  # fmt: skip
    assert made.quality is not None and plain.quality is not None
    assert worst_sqnr_db(made.quality) > worst_sqnr_db(plain.quality) + 15
    (note,) = (issue.message for issue in made.issues if issue.code == "convert.norm_scales")
    assert note.endswith("dB before other corrections; --corrections none leaves them out")
    assert "convert.norm_scales" not in {issue.code for issue in plain.issues}
    file = (tmp_path / "equalize.tflite").read_bytes()
    pair = Pair(source, file, {"x": samples(8)})
    errors = {pair.describe(step.position): step.own_error for step in pair.walk()}
    assert sum(name.endswith("restored") for name, _ in errors) == 2
    assert max(errors.values()) < 0.05  # wrong units would be an error of 1 or more
