"""Old and odd files are the normal case: everything known to trip users, read for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api, models
from edgeq.converters.calibration import calibrate
from edgeq.converters.graph.rewriting import replace_half_used_splits
from edgeq.converters.lowering import lower as lowering
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader
from edgeq.converters.lowering.model_kinds import identify
from edgeq.converters.proof.certificate import certify
from edgeq.errors import LoweringError, SourceError, UsageError
from edgeq.files import storage
from edgeq.values import ConvertOptions, FloatModel
from tests.tiny_models import add_one, dense

Lower = Callable[..., FloatModel]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd Keras files from a separate script: this process never imports TensorFlow."""
    folder = tmp_path_factory.mktemp("odd")
    script = Path(__file__).with_name("make_odd_models.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def read_and_check(
    path: Path, process: TensorFlowProcess, folder: Path, **settings: Any
) -> FloatModel:
    """Lower a file and compare it with its source, as `convert` does."""
    reader = FileReader(path, identify(path), process)
    model = reader.lower(ConvertOptions(**settings), folder)
    drawn = lowering.random_samples(model.inputs, 3, seed=0)
    first = calibrate.first_inputs(iter(drawn), model.inputs, 3)
    run = calibrate.run_float_model(model, iter(drawn), folder, 3, "nothing")
    return lowering.check(model, reader.predict(first), run.outputs)


@pytest.mark.parametrize(
    ("name", "framework"),
    [
        ("fashion_mnist/fmnist_cnn.keras", "keras"),
        ("kws/kws_dscnn.keras", "keras"),
        ("mlperf_tiny/pretrainedResnet.h5", "keras"),
        ("mlperf_tiny/ad01.h5", "keras"),
        ("mlperf_tiny/vww_96.h5", "tf_keras"),
        ("mlperf_tiny/str_ww_ref_model.h5", "tf_keras"),
    ],
)
def test_shared_models_compute_what_their_source_computes(
    shared: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str, framework: str
) -> None:
    model = read_and_check(shared / name, tensorflow, tmp_path)
    assert model.framework.startswith(framework + " ")
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5


def test_keras_2_files_are_read_with_tf_keras_and_said(
    shared: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model = read_and_check(shared / "mlperf_tiny" / "vww_96.h5", tensorflow, tmp_path)
    (note,) = model.notes
    assert "cannot read this file (DepthwiseConv2D has the argument 'groups')" in note
    assert "it was read with tf_keras" in note


def test_the_keras_2_saved_model_is_read(
    shared: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model = read_and_check(shared / "mlperf_tiny" / "kws_ref_model", tensorflow, tmp_path)
    assert model.inputs[0].shape == (1, 49, 10, 1)
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5


@pytest.mark.parametrize(
    ("name", "layer"), [("mnist_lstm/mnist_lstm.keras", "lstm"), ("kws/kws_gru_s.keras", "gru")]
)
def test_recurrent_layers_are_unrolled(
    shared: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str, layer: str
) -> None:
    model = read_and_check(shared / name, tensorflow, tmp_path)
    assert model.unrolled_layers == (layer,)
    assert calibrate.why_stock(Path(model.file.path).read_bytes()) is None


def test_a_split_with_an_unread_part_is_gone(shared: Path, lower: Lower) -> None:
    """Left in, the quantizer makes it INT8 in one run and leaves it float in the next."""
    from edgeq.tflite import flatbuffer

    model = lower(shared / "mnist_lstm" / "mnist_lstm.keras")
    assert replace_half_used_splits(flatbuffer.read(Path(model.file.path))) == 0
    names = [operator.name for operator in certify(Path(model.file.path)).operators]
    assert "SLICE" in names


def test_names_with_a_leading_underscore_survive(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model = read_and_check(odd / "underscore.keras", tensorflow, tmp_path)
    assert (model.inputs[0].name, model.outputs[0].name) == ("_in", "_out")


def test_integer_inputs_stay_integer(odd: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    out = tmp_path / "o.tflite"
    result = api.convert(
        odd / "embedding.keras", out, data={"ids": random.integers(0, 100, (60, 7))}
    )
    assert result.certificate.inputs[0].dtype == "int32"
    assert "convert.input_kept" in [issue.code for issue in result.issues]


def test_dictionary_inputs_and_outputs_keep_their_names(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model = read_and_check(odd / "dictionary.keras", tensorflow, tmp_path)
    assert {spec.name for spec in model.inputs} == {"left", "right"}
    assert {spec.name for spec in model.outputs} == {"sum", "side"}


def test_the_batch_is_fixed_to_one_or_as_asked_or_kept(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    for batch, expected in ((None, 1), (4, 4), (0, -1)):
        model = read_and_check(odd / "underscore.keras", tensorflow, tmp_path, batch=batch)
        assert model.inputs[0].shape == (expected, 4)


def test_dynamic_dimensions_are_kept_or_fixed(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    reader = FileReader(odd / "dynamic.keras", "keras", tensorflow)
    assert reader.lower(ConvertOptions(), tmp_path).inputs[0].shape == (1, -1, -1, 3)
    fixed = ConvertOptions(input_shapes=(("image", (1, 8, 8, 3)),))
    assert reader.lower(fixed, tmp_path).inputs[0].shape == (1, 8, 8, 3)
    with pytest.raises(UsageError, match="does not fit the model's"):
        reader.lower(ConvertOptions(input_shapes=(("image", (1, 8, 8, 4)),)), tmp_path)


def test_a_layer_that_refuses_a_shape_is_named(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    reader = FileReader(odd / "two_rows.keras", "keras", tensorflow)
    two, ten = (ConvertOptions(input_shapes=(("rows", (1, size, 4)),)) for size in (2, 10))
    assert reader.lower(two, tmp_path).outputs[0].shape == (1, 8)
    with pytest.raises(LoweringError) as caught:
        reader.lower(ten, tmp_path)
    assert str(caught.value).startswith(
        "Reshape cannot be traced with inputs of shape (1, 10, 4): ValueError: The total size of "
        "the tensor must be unchanged."
    )


def test_a_dynamic_model_is_calibrated_on_samples_of_several_sizes(
    odd: Path, tmp_path: Path
) -> None:
    def samples() -> Any:
        random = np.random.default_rng(0)
        for size in (8, 12, 8, 16) * 12:
            yield random.random((size, size, 3), np.float32)

    out = tmp_path / "o.tflite"
    result = api.convert(odd / "dynamic.keras", out, data=samples, samples=40)
    assert result.certificate.inputs[0].shape == (1, -1, -1, 3)
    assert {op.precision for op in result.certificate.operators} == {"int8"}


def test_a_saved_model_with_several_signatures_asks_which(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    reader = FileReader(odd / "signatures", "saved_model", tensorflow)
    with pytest.raises(UsageError) as caught:
        reader.lower(ConvertOptions(), tmp_path)
    assert str(caught.value) == (
        f"{odd}/signatures has no signature 'serving_default'; it has: double, triple. "
        "Choose one with --signature NAME."
    )
    model = read_and_check(odd / "signatures", tensorflow, tmp_path, signature="triple")
    assert model.outputs[0].name == "tripled"


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_lambda_layer_is_refused_unless_trusted(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read_and_check(odd / name, tensorflow, tmp_path)
    assert str(caught.value) == (
        f"{odd}/{name}: layer 'twice' has the class 'Lambda', which holds Python code. "
        "Pass --unsafe-deserialization if you trust where the file comes from."
    )
    assert read_and_check(odd / name, tensorflow, tmp_path, trusted=True).max_deviation == 0


def test_a_custom_layer_says_how_to_pass_it(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as caught:
        read_and_check(odd / "custom.keras", tensorflow, tmp_path)
    assert str(caught.value) == (
        f"{odd}/custom.keras: layer 'twice' has the class 'odd>Twice', which is not on the list "
        "of what edgeq loads. If Twice is yours, pass --custom-objects module:Twice naming where "
        "it is defined; pass --unsafe-deserialization if you trust where the file comes from."
    )
    with pytest.raises(UsageError, match="--custom-objects 'none:Twice' cannot be imported"):
        read_and_check(odd / "custom.keras", tensorflow, tmp_path, custom_objects=("none:Twice",))


def test_an_operator_without_a_tflite_form_is_named(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    with pytest.raises(LoweringError) as caught:
        read_and_check(odd / "erfinv", tensorflow, tmp_path)
    assert str(caught.value).startswith("TensorFlow Lite has no operator for: Erfinv.")


def test_a_layer_that_changes_a_variable_is_named(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    with pytest.raises(LoweringError, match=r"AssignVariableOp in '\S*grey\S*' changes") as caught:
        read_and_check(odd / "random.keras", tensorflow, tmp_path)
    assert "leave them out" in str(caught.value)


def test_a_weights_file_is_told_from_a_model(
    odd: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="holds weights only, not a model"):
        read_and_check(odd / "only.weights.h5", tensorflow, tmp_path)


def test_another_function_is_found_out(float_cnn: FloatModel) -> None:
    """ad01_fp32.tflite is such a case: it differs from the Keras file published beside it."""
    name = float_cnn.outputs[0].name
    expected = {name: np.array([[0.1, 0.9]])}
    with pytest.raises(LoweringError) as caught:
        lowering.check(float_cnn, expected, {name: np.array([[0.2, 0.8]])})
    assert str(caught.value) == (
        f"The float .tflite is not the source model: output {name!r} differs by 11.11% of its "
        "largest value on 1 samples (limit 0.1%). Look for layers that behave differently in "
        "training, or random ones."
    )


def test_nan_is_a_difference(float_cnn: FloatModel) -> None:
    name = float_cnn.outputs[0].name
    with pytest.raises(LoweringError):
        lowering.check(float_cnn, {name: np.ones((1, 2))}, {name: np.full((1, 2), np.nan)})


def float_model(folder: Path) -> FloatModel:
    """One output, y."""
    path = folder / "m.tflite"
    path.write_bytes(add_one())
    return FloatModel(storage.refer(path), storage.refer(path), "tflite", "", (), ())


@pytest.mark.parametrize(
    ("got", "deviation"),
    [
        ([1.0, -1000.0], 0.0),
        ([2.0, -1000.0], 1e-3),  # a thousandth of the largest value, exactly
        ([0.0, -1000.0], 1e-3),
        ([1.0, -1001.0], 1e-3),
        ([1.0, -999.0], 1e-3),
        ([1.0, -999.5], 5e-4),
        ([2.1, -1000.0], None),
        ([1.0, -1001.1], None),
        ([1.0, -998.9], None),
        ([1.0, 1000.0], None),
        ([np.nan, -1000.0], None),
        ([1.0, np.nan], None),
        ([np.inf, -1000.0], None),
    ],
)
def test_a_thousandth_of_the_largest_value_is_the_same_function(
    tmp_path: Path, got: list[float], deviation: float | None
) -> None:
    model, expected = float_model(tmp_path), np.array([[1.0, -1000.0]])
    good, given = {"x": expected, "y": expected}, {"x": expected, "y": np.array([got])}
    for names in (("x", "y"), ("y", "x")):  # whichever output it is
        outputs = {name: given[name] for name in names}
        if deviation is None:
            with pytest.raises(LoweringError, match="output 'y' differs by "):
                lowering.check(model, good, outputs)
        else:
            checked = lowering.check(model, {name: good[name] for name in names}, outputs)
            assert checked.max_deviation == pytest.approx(deviation, abs=1e-9)


def test_nan_of_both_is_the_same_and_other_values_count(tmp_path: Path) -> None:
    model, expected = float_model(tmp_path), {"y": np.array([[np.nan, 2.0]])}
    assert lowering.check(model, expected, {"y": np.array([[np.nan, 2.0]])}).max_deviation == 0
    with pytest.raises(LoweringError, match=r"output .y. differs by 50\.00% "):
        lowering.check(model, expected, {"y": np.array([[np.nan, 3.0]])})


def test_a_live_keras_model_converts_and_is_left_as_it_was(tmp_path: Path) -> None:
    """In a separate process, which must import TensorFlow, as the user's has."""
    code = f"""
import keras, numpy as np, edgeq
keras.utils.set_random_seed(1)
rows = keras.Input((28, 28), name="rows")
state = keras.layers.GRU(8)(keras.layers.Rescaling(1 / 255)(rows))
model = keras.Model(rows, keras.layers.Dense(10, activation="softmax")(state))
data = np.load({str(models.path("fashion_mnist_calibration.npz"))!r})["x"][:60, :, :, 0]
result = edgeq.convert(model, {str(tmp_path / "o.tflite")!r}, data=data, effort="fast")
assert not any(getattr(layer, "unroll", False) for layer in model.layers)
found = {{op.precision for op in result.certificate.operators}}
assert {{"int8"}} < found <= {{"int8", "int16x8", "convert"}}, found
assert result.source.source_kind == "python"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.tflite").exists()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("diverged.keras", "second"),
        ("diverged.h5", "second"),
        ("diverged_saved", "sequential/second"),
    ],
)
def test_diverged_weights_are_named(
    odd: Path, name: str, layer: str, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    """The layer has the name that it has in the framework, before TensorFlow lowers it."""
    path = odd / name
    with pytest.raises(SourceError) as caught:
        FileReader(path, identify(path), tensorflow).lower(ConvertOptions(), tmp_path)
    assert caught.value.message == (
        f"The weights of layer {layer!r} hold NaN, and so do those of 1 more."
    )
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Its training has diverged: take an earlier checkpoint")


@pytest.mark.parametrize(("value", "told"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_stored_weights_that_are_not_numbers_are_named(
    value: float, told: str, tmp_path: Path
) -> None:
    """A `.tflite`, and what comes from the converters of PyTorch and ONNX."""
    path = tmp_path / "diverged.tflite"
    path.write_bytes(dense("float32", value))
    with pytest.raises(SourceError, match=rf"^The weights of layer 'y' hold {told}\. "):
        lowering.adopt(path, ConvertOptions())


def test_an_infinity_that_is_added_on_purpose_is_no_weight(tmp_path: Path) -> None:
    """A mask before a softmax is such a case."""
    path = tmp_path / "masked.tflite"
    path.write_bytes(add_one().replace(np.float32(1).tobytes(), np.float32(-np.inf).tobytes()))
    assert path.read_bytes() != add_one()
    assert lowering.adopt(path, ConvertOptions()).source_kind == "tflite"
