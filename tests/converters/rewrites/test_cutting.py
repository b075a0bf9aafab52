"""A model cut off before what suppresses boxes, and how that is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.conversion.file_metadata import read_outputs
from edgeq.converters.rewrites.outputs.cutting import cut_outputs, find_choosing
from edgeq.errors import UsageError
from edgeq.records.reading import read_record
from edgeq.tflite import flatbuffer
from tests import tiny_detectors
from tests.commands import run_edgeq
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema
from tests.tiny_detectors import BOXES, DECODE, SIZE


def choosing(kind: str) -> bytes:
    """The grid detector, whose boxes and scores go into an operator that chooses among them."""
    net = Builder()
    source = net.input([1, SIZE, SIZE, 3])
    boxes, scores = tiny_detectors.heads(net, source)
    if kind == "TFLite_Detection_PostProcess":
        made = [net.tensor(shape) for shape in ([1, 10, 4], [1, 10], [1, 10], [1])]
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode, code.customCode, code.version = 32, kind, 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(net.tree.operatorCodes)
        operator.inputs = np.array([boxes, scores, net.constant(np.zeros((BOXES, 4)))], np.int32)
        operator.outputs = np.array(made, np.int32)
        net.tree.operatorCodes.append(code)
        net.graph.operators.append(operator)
        return net.content(*made)
    rows = net.add("RESHAPE", [boxes, net.constant([BOXES, 4], "int32")], [BOXES, 4])
    one = net.add("RESHAPE", [scores, net.constant([BOXES * 2], "int32")], [BOXES * 2])
    rest = [net.constant(np.array(value, np.float32)) for value in (0.5, 0.1)]
    inputs = [rows, one, net.constant(np.array(10), "int32"), *rest]
    made = [net.tensor([10], "int32"), net.tensor([], "int32")]
    if kind == "NON_MAX_SUPPRESSION_V5":
        inputs.append(net.constant(np.array(0.0, np.float32)))
        made = [made[0], net.tensor([10]), made[1]]
    net.graph.operators.append(flatbuffer.make_operator(net.tree, kind, inputs, made, options=None))
    return net.content(*made)


KINDS = ("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TFLite_Detection_PostProcess")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_named_and_cut_off(kind: str) -> None:
    content = choosing(kind)
    tree = flatbuffer.parse(content, "m")
    found = find_choosing(tree, ())
    assert found is not None
    assert found[0] == kind
    boxes, scores = found[1]
    last = flatbuffer.tensor_name(tree.subgraphs[0], tree.subgraphs[0].operators[-1].outputs[0])
    assert find_choosing(tree, (last,)) is None
    cut = cut_outputs(content, [boxes, scores])
    assert kind not in kinds(cut)
    _, outputs = flatbuffer.interface(flatbuffer.parse(cut, "cut"))
    assert [(spec.name, spec.shape) for spec in outputs] == [
        (boxes, (1, BOXES, 4)), (scores, (1, BOXES, 2))
    ]  # fmt: skip
    pixels = np.random.default_rng(0).uniform(size=(1, SIZE, SIZE, 3))
    joined = np.concatenate(run(cut, pixels), axis=2)
    assert np.array_equal(joined, run(tiny_detectors.detector(), pixels)[0])


def test_names_that_are_no_tensors_are_told() -> None:
    content = tiny_detectors.detector()
    with pytest.raises(UsageError, match="'nothing': the model computes no tensor with") as caught:
        cut_outputs(content, ["nothing"])
    assert "'found'" in str(caught.value.hint)
    with pytest.raises(UsageError, match="names the same tensor twice"):
        cut_outputs(content, ["found", "found"])


def test_a_detector_with_its_choice_inside_becomes_int8(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(choosing("TFLite_Detection_PostProcess"))
    tiny_detectors.write_pictures(tmp_path, 40)
    words = ("convert", "float.tflite", "--data", "images", "--labels", "coco.json", "--preprocess",
             "scale=1/255", "--effort", "fast", "-o", "int8.tflite")  # fmt: skip
    refused = run_edgeq(*words, cwd=tmp_path)
    told = " ".join(refused.stderr.split())
    assert refused.returncode == 1
    assert "TFLite_Detection_PostProcess suppresses overlapping boxes inside the model" in told
    options = told.split("Cut it off: ")[1].split(". Then")[0].split()
    done = run_edgeq(*words, *options, "--decode", DECODE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = read_record(tmp_path / "int8.tflite.json").value
    assert made.quality.metrics[0].baseline.value == pytest.approx(100)
    assert read_outputs(tmp_path / "int8.tflite") == tuple(options[1::2])
    assert {spec.dtype for spec in made.certificate.outputs} == {"int8"}
    # compare cuts the float model off in the same way.
    compare = ("--data", "images", "--labels", "coco.json", "--no-latency", "-o", "compare.json")
    done = run_edgeq("compare", "float.tflite", "int8.tflite", *compare, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "compare.json").value.losses[0].loss.value < 1
