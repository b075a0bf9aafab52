from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import models
from edgeq.children.framing import read_sample, write_sample
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.calibrate import run_float_model, why_stock
from edgeq.converters.calibration.statistics import choose_ranges
from edgeq.converters.calibration.worker import observable
from edgeq.converters.calibration.zero_ranges import estimate_ranges
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import adopt
from edgeq.errors import QuantizationError
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FloatModel, Ranges, TensorSpec
from tests.converters.rewrites.tiny_graphs import Builder, schema
from tests.tiny_models import endless, fused_lstm


def pictures(model: FloatModel, count: int, scale: float = 1.0) -> Iterator[calibrate.Inputs]:
    with np.load(models.path("fashion_mnist_calibration.npz")) as stored:
        for picture in stored["x"][:count]:
            yield {model.inputs[0].name: picture.astype(np.float32) * np.float32(scale)}


def minmax(run: calibrate.FloatRun) -> Ranges:
    return choose_ranges(run.statistics, "minmax")


def true_ranges(model: FloatModel, count: int, scale: float) -> dict[int, tuple[float, float]]:
    """The slow and certain way: the plain kernels, keeping every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model.file.path,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    tree = flatbuffer.read(Path(model.file.path))
    found: dict[int, tuple[float, float]] = {}
    for inputs in pictures(model, count, scale):
        index = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(index, inputs[model.inputs[0].name][None])
        interpreter.invoke()
        for tensor in observable(tree):
            values = interpreter.get_tensor(tensor)
            low, high = found.get(tensor, (np.inf, -np.inf))
            found[tensor] = (min(low, float(values.min())), max(high, float(values.max())))
    return found


def test_ranges_are_those_of_the_reference_kernels(
    float_mobilenet: FloatModel, tmp_path: Path
) -> None:
    run = run_float_model(float_mobilenet, pictures(float_mobilenet, 24, 1 / 255), tmp_path, keep=3)
    truth = true_ranges(float_mobilenet, 24, 1 / 255)
    assert {item.index for item in minmax(run).tensors} == set(truth)
    for item in minmax(run).tensors:
        spread = max(abs(truth[item.index][0]), abs(truth[item.index][1]))
        assert (item.minimum, item.maximum) == pytest.approx(truth[item.index], abs=1e-5 * spread)
    assert minmax(run).sample_count == 24
    assert run.outputs[float_mobilenet.outputs[0].name].shape == (3, 10)


def test_outputs_are_kept_over_all_samples(float_mobilenet: FloatModel, tmp_path: Path) -> None:
    def run(keep: int, every: int) -> Any:
        fed = pictures(float_mobilenet, 24, 1 / 255)
        kept = run_float_model(float_mobilenet, fed, tmp_path, keep, "nothing", every)
        return kept.outputs[float_mobilenet.outputs[0].name]

    np.testing.assert_array_equal(run(2, 8), run(24, 0)[[0, 1, 8, 16]])


def test_stock_calibration_widens_what_an_add_consumes_in_place_and_ours_does_not(
    float_mobilenet: FloatModel, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    samples = list(pictures(float_mobilenet, 24, 1 / 255))
    own = run_float_model(float_mobilenet, iter(samples), tmp_path, keep=1)
    with (tmp_path / "samples.bin").open("wb") as stream:
        for inputs in samples:
            write_sample(stream, [inputs[float_mobilenet.inputs[0].name][None]])
    tensorflow.call(
        "stock_calibrate",
        path=float_mobilenet.file.path,
        samples=str(tmp_path / "samples.bin"),
        out=tmp_path / "stock.tflite",
    )
    tree = flatbuffer.read(tmp_path / "stock.tflite")
    graph = tree.subgraphs[0]
    added = {
        index
        for op in graph.operators
        if flatbuffer.operator_name(tree, op) == "ADD"
        for index in flatbuffer.indices(op.inputs)
    }
    widened, equal = 0, 0
    for item in minmax(own).tensors:
        stored = graph.tensors[item.index].quantization
        ratio = float(stored.max[0] - stored.min[0]) / (item.maximum - item.minimum)
        if item.index in added and ratio > 1.05:
            widened += 1
        else:
            assert ratio == pytest.approx(1.0, abs=1e-4), item.name
            equal += 1
    assert widened >= 1
    assert equal > widened


def test_the_digest_does_not_depend_on_the_order_of_samples(
    float_cnn: FloatModel, tmp_path: Path
) -> None:
    samples = list(pictures(float_cnn, 10))
    forth = run_float_model(float_cnn, iter(samples), tmp_path, keep=1)
    back = run_float_model(float_cnn, reversed(samples), tmp_path, keep=1)
    assert minmax(forth).sha256 == minmax(back).sha256


def test_nan_in_the_model_is_named_with_the_sample(float_cnn: FloatModel, tmp_path: Path) -> None:
    name = float_cnn.inputs[0].name
    good = next(pictures(float_cnn, 1))
    bad = {name: np.full_like(good[name], np.nan)}
    with pytest.raises(QuantizationError) as caught:
        run_float_model(float_cnn, iter([good, bad]), tmp_path, keep=1)
    assert str(caught.value) == (
        f"The float model cannot be run: tensor {name!r} holds NaN or infinity for sample 1."
    )


def test_a_model_that_crashes_the_interpreter_is_an_error_message(
    float_cnn: FloatModel, tmp_path: Path
) -> None:
    """A CONV_2D whose filter is cut to a fraction of its shape makes the kernel read beyond it."""
    tree = flatbuffer.read(Path(float_cnn.file.path))
    graph = tree.subgraphs[0]
    for operator in graph.operators:
        if flatbuffer.operator_name(tree, operator) == "CONV_2D":
            tensor = graph.tensors[operator.inputs[1]]
            tree.buffers[tensor.buffer].data = tree.buffers[tensor.buffer].data[:4]
    hostile = tmp_path / "hostile.tflite"
    hostile.write_bytes(flatbuffer.serialize(tree))
    model = replace(float_cnn, file=storage.refer(hostile))
    with pytest.raises(QuantizationError, match=r"The (float model cannot be run|interpreter was)"):
        run_float_model(model, pictures(float_cnn, 2), tmp_path, keep=1)


def test_loops_need_the_stock_calibrator_and_fused_lstms_do_not() -> None:
    assert why_stock(endless()) == "it has 3 subgraphs (control flow)"
    assert why_stock(fused_lstm()) is None


def test_plain_models_do_not(float_cnn: FloatModel) -> None:
    assert why_stock(Path(float_cnn.file.path).read_bytes()) is None


def test_a_tensor_that_stayed_zero_gets_a_range_its_operands_could_produce(
    float_cnn: FloatModel, tmp_path: Path
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    run = run_float_model(float_cnn, pictures(float_cnn, 8), tmp_path, keep=1)
    tree = flatbuffer.parse(content, "m")
    first = next(
        op for op in tree.subgraphs[0].operators if flatbuffer.operator_name(tree, op) == "CONV_2D"
    )
    dead = int(first.outputs[0])
    tensors = tuple(
        replace(item, minimum=0.0, maximum=0.0) if item.index == dead else item
        for item in minmax(run).tensors
    )
    estimated, names = estimate_ranges(content, replace(minmax(run), tensors=tensors))
    found = next(item for item in estimated.tensors if item.index == dead)
    assert names == (found.name,)
    assert -found.minimum == found.maximum > 0
    others = [item for item in estimated.tensors if item.index != dead]
    assert others == [item for item in minmax(run).tensors if item.index != dead]


def test_good_ranges_are_left_alone(float_cnn: FloatModel, tmp_path: Path) -> None:
    run = run_float_model(float_cnn, pictures(float_cnn, 8), tmp_path, keep=1)
    estimated, names = estimate_ranges(Path(float_cnn.file.path).read_bytes(), minmax(run))
    assert (estimated, names) == (minmax(run), ())


def specs(*batches: int) -> list[TensorSpec]:
    return [TensorSpec(f"x{n}", (size, 2), "float32") for n, size in enumerate(batches)]


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (1, 3, [[0], [1], [2]]),
        (2, 4, [[0, 1], [2, 3]]),
        (2, 3, [[0, 1], [2, 2]]),  # the last one again, and not dropped
        (4, 1, [[0, 0, 0, 0]]),
        (4, 6, [[0, 1, 2, 3], [4, 5, 5, 5]]),
        (4, 0, []),
        (-1, 2, [[0], [1]]),
    ],
)
def test_a_short_last_batch_repeats_its_last_sample(
    size: int, count: int, expected: list[list[int]]
) -> None:
    inputs = specs(size, size)
    samples = ({"x0": np.full(2, n), "x1": np.full(2, -n)} for n in range(count))
    found = list(calibrate.batches(samples, inputs))
    assert [batch["x0"][:, 0].tolist() for batch in found] == expected
    assert [(-batch["x1"][:, 1]).tolist() for batch in found] == expected


def test_the_largest_batch_of_the_inputs_counts() -> None:
    assert calibrate.batch_size(specs(1, 4)) == 4
    assert calibrate.batch_size(specs(-1)) == 1
    assert calibrate.batch_size([TensorSpec("scalar", (), "float32")]) == 1


def test_the_first_inputs_are_those_of_the_kept_batches() -> None:
    samples = [{"x0": np.full(2, n)} for n in range(5)]
    found = calibrate.first_inputs(iter(samples), specs(2), 2)
    assert found["x0"][:, 0].tolist() == [0, 1, 2, 3]
    found = calibrate.first_inputs(iter(samples), specs(2), 9)
    assert found["x0"][:, 0].tolist() == [0, 1, 2, 3, 4, 4]
    sizes = [{"x0": np.full((n, 2), n)} for n in (1, 2, 1)]  # a dynamic dimension
    assert calibrate.first_inputs(iter(sizes), specs(-1), 3)["x0"][:, 0, 0].tolist() == [1, 1]


def test_samples_survive_the_pipe_format(tmp_path: Path) -> None:
    arrays = [np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros((1, 4), np.float32)]
    with (tmp_path / "s").open("wb") as stream:
        write_sample(stream, arrays)
        write_sample(stream, arrays[::-1])
    with (tmp_path / "s").open("rb") as stream:
        first, second = read_sample(stream), read_sample(stream)
        assert read_sample(stream) is None
    assert first is not None
    assert second is not None
    for wanted, found in zip([*arrays, *arrays[::-1]], [*first, *second], strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def sum_and_positive_ones() -> bytes:
    """A model of [1, 4] that returns the sum as one number, and the positive values."""
    build = Builder()
    x = build.input([1, 4])
    total = build.add("SUM", [x, build.constant([0, 1], "int32")], [])
    row = build.add("RESHAPE", [x, build.constant([4], "int32")], [4])
    is_positive = build.add("GREATER", [row, build.constant(np.zeros(4))], [4], "bool")
    places = build.add("WHERE", [is_positive], [-1, 1], "int64")
    places = build.add("RESHAPE", [places, build.constant([-1], "int32")], [-1], "int64")
    options = schema.GatherOptionsT()
    options.axis = 1
    return build.content(total, build.add("GATHER", [x, places], [1, -1], options=options))


def test_an_output_may_be_one_number_and_has_one_shape_for_all_samples(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(sum_and_positive_ones())
    model = adopt(path, ConvertOptions())
    alike: list[calibrate.Inputs] = [
        {"x": np.array([1, 2, -3, -4], np.float32)},
        {"x": np.array([-1, 5, 6, -7], np.float32)},
    ]
    total, positive = run_float_model(model, iter(alike), tmp_path, 2, "nothing").outputs.values()
    assert total.tolist() == [-4, 3]
    assert positive.tolist() == [[1, 2], [5, 6]]
    other = [*alike, {"x": np.ones(4, np.float32)}]
    with pytest.raises(QuantizationError, match=r"each sample, for example \(1, 2\) and \(1, 4\)"):
        run_float_model(model, iter(other), tmp_path, 3, "nothing")
