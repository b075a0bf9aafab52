"""Quantization-aware training: the `.tflite` computes the trained function."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

import edgeq
from edgeq import models
from edgeq.accuracy.inference import read_interface, run_samples
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.safe_reading.keras_config import QAT_MODULES
from edgeq.converters.training import qat_layers
from edgeq.converters.training.learned_ranges import trained_granularity
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import QuantizationError, UnsupportedLayerError, UsageError
from edgeq.tflite import flatbuffer

MOBILENET = models.path("fmnist_mobilenet.keras")
CALIBRATION = models.path("fashion_mnist_calibration.npz")
SCALING = ["scale=1/255"]

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def teacher() -> Any:
    return keras.saving.load_model(MOBILENET)


def images(count: int) -> Array:
    with np.load(models.path("fashion_mnist_test.npz")) as arrays:
        scaled: Array = arrays["x"][:count] * np.float32(1 / 255)
    return scaled


def watched(model: Any, batch: Any) -> Any:
    """The model with ranges from one batch, and no weight moved."""
    with qat_layers.observing():
        model(batch)
    return model


def run_int8(path: Path, samples: dict[str, Array]) -> dict[str, Array]:
    """Outputs of a `.tflite` by name, in real units."""
    interface = read_interface(path)
    count = len(next(iter(samples.values())))
    rows = ({name: array[i] for name, array in samples.items()} for i in range(count))
    chunks = [chunk[0] for chunk in run_samples([(path, interface)], rows, resolve_device("local"))]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def steps_apart(model: Any, batch: Any, path: Path, **settings: Any) -> Array:
    """Convert, and compare with the model's own fake-quantized outputs, in steps of the output."""
    result = edgeq.convert(model, path, **settings)
    assert result.certificate.problems == ()
    kinds = {op.precision for op in result.certificate.operators}
    assert kinds <= {"int8", "convert"}  # a tanh is put on the scale of its concatenation
    assert result.model.ranges is not None
    assert result.model.ranges.calibrator == "qat"
    (spec,) = result.certificate.outputs
    samples = batch if isinstance(batch, dict) else {result.certificate.inputs[0].name: batch}
    expected = np.asarray(model(batch, training=False))
    apart: Array = np.abs(run_int8(path, samples)[spec.name] - expected) / spec.scales[0]
    return apart


# ---------------------------------------------------------------- each supported layer


def cnn(x: Any) -> Any:
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", activation="relu6")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return layers.Dense(5, activation="softmax")(layers.Dropout(0.3)(x))


def residual(x: Any) -> Any:
    entry = layers.Conv2D(6, 1, use_bias=False)(
        layers.Normalization(mean=120.0, variance=70.0**2)(x)
    )
    entry = layers.ReLU(6.0)(layers.BatchNormalization()(entry))
    side = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1)(entry)
    side = layers.BatchNormalization(scale=False)(side)
    x = layers.ReLU()(layers.Add()([entry, side]))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    gate = layers.Conv2D(6, 1, activation="sigmoid")(x)
    return layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))


def branches(x: Any) -> Any:
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    right = layers.ReLU(max_value=2.0)(layers.Conv2D(4, 1)(x))
    squashed = layers.Activation("tanh")(layers.Conv2D(2, 1, activation="linear")(left))
    joined = layers.Concatenate()([left, right, squashed])
    again = layers.Concatenate()([joined, layers.Conv2D(3, 1)(joined)])
    x = layers.GlobalMaxPooling2D()(left + layers.Conv2D(4, 1)(again))
    x = layers.Dense(6)(layers.Reshape((4,))(x))
    return layers.Softmax()(layers.BatchNormalization()(x))


def nested(x: Any) -> Any:
    inner = keras.Sequential([
        layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(),
        layers.Activation("relu6"), layers.Activation("linear"),
    ])  # fmt: skip
    shared = layers.Dense(3, activation="tanh")
    first = layers.GlobalAveragePooling2D()(inner(x))
    second = layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(x))
    return layers.Multiply()([shared(first), shared(second)])


Build = Callable[[Any], Any]


def make(build: Build, seed: int = 0) -> tuple[Any, Array]:
    """A model of random weights and statistics, and samples of 0..255."""
    keras.utils.clear_session()  # layers are numbered from the beginning
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, build(image), name=build.__name__)
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(0, 0.3, size))
            layer.moving_variance.assign(random.uniform(0.3, 2, size))
            layer.beta.assign(random.normal(0, 0.3, size))
            if layer.gamma is not None:
                layer.gamma.assign(random.uniform(0.5, 2, size))
    return model, random.integers(0, 256, (32, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("build", [cnn, residual, branches, nested])
def test_int8_computes_what_was_trained(
    build: Build, granularity: str, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model, batch = make(build)
    trained = edgeq.quantization_aware(model, granularity)
    with qat_layers.unquantized():
        folded = np.asarray(trained(batch))
    np.testing.assert_allclose(folded, np.asarray(model(batch)), rtol=1e-4, atol=1e-5)
    watched(trained, batch)
    settings = {"granularity": granularity, "tensorflow": tensorflow}
    apart = steps_apart(trained, batch, tmp_path / "int8.tflite", **settings)
    assert apart.max() <= 3.01
    assert apart.mean() < 0.4


# ---------------------------------------------------------------- a real model


# Keras's saving meets a newer numpy in TensorFlow.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_mobilenet_folds_trains_saves_and_converts(
    teacher: Any, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    batch = images(200)
    model = edgeq.quantization_aware(teacher)
    with qat_layers.unquantized():
        folded = np.asarray(model(batch))
    np.testing.assert_allclose(folded, np.asarray(teacher(batch)), atol=1e-5)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 1e-4
    before = model.get_layer("conv2d").kernel.numpy()
    model.fit(batch[:64], np.zeros(64), batch_size=32, verbose=0)
    assert np.any(model.get_layer("conv2d").kernel.numpy() != before)
    ranges = [layer for layer in model.layers if isinstance(layer, qat_layers.FakeQuantize)]
    assert all(int(layer.seen[0]) == 2 for layer in ranges if layer.fixed is None)
    model.save(tmp_path / "qat.keras")
    assert trained_granularity(tmp_path / "qat.keras") == "channel"
    again = keras.saving.load_model(tmp_path / "qat.keras")
    expected = model.predict(batch, verbose=0)
    np.testing.assert_array_equal(again.predict(batch, verbose=0), expected)
    # The file, in the child process, which has to find the code of the layers.
    result = edgeq.convert(
        tmp_path / "qat.keras", tmp_path / "int8.tflite", io="float32", tensorflow=tensorflow
    )
    assert result.certificate.problems == ()
    assert result.certificate.is_per_channel
    assert result.model.ranges is not None
    assert len(result.model.ranges.tensors) == 25
    got = run_int8(tmp_path / "int8.tflite", {"image": batch})["class"]
    assert np.mean(np.argmax(got, -1) == np.argmax(expected, -1)) > 0.97
    assert np.mean(np.abs(got - expected)) * 256 < 0.5


def test_stored_kernels_are_the_trained_ones_step_by_step(
    tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model, batch = make(residual)
    trained = watched(edgeq.quantization_aware(model), batch)
    edgeq.convert(trained, tmp_path / "int8.tflite", tensorflow=tensorflow)
    tree = flatbuffer.read(tmp_path / "int8.tflite")
    stored = {
        flatbuffer.indices(tensor.shape): flatbuffer.constant(tree, tensor)
        for tensor in tree.subgraphs[0].tensors
        if flatbuffer.is_constant(tree, tensor) and len(flatbuffer.indices(tensor.shape)) == 4
    }
    kernel, _ = trained.get_layer("conv2d").parameters()
    values = np.moveaxis(np.asarray(kernel), -1, 0)
    scale = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
    assert np.array_equal(stored[6, 1, 1, 3], np.rint(values / scale))


def name_module_as_in_0_1(path: Path) -> None:
    """Rewrite a saved model as edgeq 0.1 wrote it: its layers were in another module."""
    now, then = QAT_MODULES
    if path.suffix == ".h5":  # knows the layers by registered names only, so it is as it was
        with h5py.File(path) as file:
            assert "edgeq>FakeQuantize" in file.attrs["model_config"]
            assert "qat_layers" not in file.attrs["model_config"]
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert now.encode() in parts["config.json"]
    parts["config.json"] = parts["config.json"].replace(now.encode(), then.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


# Keras's saving meets a newer numpy in TensorFlow.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_that_were_saved_with_edgeq_0_1_convert(
    suffix: str, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model, batch = make(residual)
    trained = watched(edgeq.quantization_aware(model, "tensor"), batch)
    path = tmp_path / f"qat{suffix}"
    trained.save(path)
    name_module_as_in_0_1(path)
    settings: dict[str, Any] = {"granularity": "tensor", "tensorflow": tensorflow}
    if suffix == ".keras":
        assert trained_granularity(path) == "tensor"
        old = edgeq.convert(path, tmp_path / "old.tflite", **settings)
    else:  # that it has learned its ranges is known only when it is lowered
        old = edgeq.convert(path, tmp_path / "old.tflite", data=batch, **settings)
    assert old.certificate.problems == ()
    assert old.model.ranges is not None
    assert old.model.ranges.calibrator == "qat"
    new = edgeq.convert(trained, tmp_path / "new.tflite", **settings)
    assert old.model.ranges.sha256 == new.model.ranges.sha256


def test_several_inputs_and_outputs_keep_their_names(
    tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    ends = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    joined = layers.Concatenate()(list(ends))
    outputs = [layers.Dense(2, name="first")(joined), layers.Dense(3, name="second")(joined)]
    model = edgeq.quantization_aware(keras.Model(ends, outputs))
    drawn = np.random.default_rng(0).normal(size=(2, 16, 4)).astype(np.float32)
    watched(model, list(drawn))
    result = edgeq.convert(model, tmp_path / "int8.tflite", io="uint8", tensorflow=tensorflow)
    assert {spec.dtype for spec in result.certificate.inputs} == {"uint8"}
    got = run_int8(tmp_path / "int8.tflite", {"b": drawn[0], "a": drawn[1]})
    for spec, expected in zip(("first", "second"), model(list(drawn)), strict=True):
        (scale,) = (s.scales[0] for s in result.certificate.outputs if s.name == spec)
        assert np.max(np.abs(got[spec] - np.asarray(expected))) / scale <= 1.01


def test_what_is_frozen_stays_frozen() -> None:
    model, _ = make(residual)
    model.get_layer("depthwise_conv2d").trainable = False
    trained = edgeq.quantization_aware(model)
    assert trained.get_layer("depthwise_conv2d").trainable_variables == []
    assert trained.get_layer("conv2d").trainable_variables != []


# ---------------------------------------------------------------- distillation


def test_distillation_lowers_the_output_error(teacher: Any) -> None:
    student = edgeq.quantization_aware(teacher, granularity="tensor")
    batch = images(500)
    expected = np.asarray(teacher(batch))
    with np.load(CALIBRATION) as arrays:
        few = {"image": arrays["x"][:64]}
    start = watched(edgeq.quantization_aware(teacher, granularity="tensor"),
                    few["image"] * np.float32(1 / 255))  # fmt: skip
    error = np.mean((np.asarray(start(batch)) - expected) ** 2)
    settings = {"epochs": 8, "learning_rate": 1e-4, "preprocess": SCALING}
    trained = edgeq.distill(student, teacher, few, **settings)
    assert np.mean((np.asarray(trained(batch)) - expected) ** 2) < 0.8 * error
    ranges = next(layer for layer in student.layers if isinstance(layer, qat_layers.FakeQuantize))
    assert int(ranges.seen[0]) == 0  # the student is left as it was


def test_distillation_of_other_outputs_is_deterministic() -> None:
    for build in (branches, residual):
        model, batch = make(build)
        student = edgeq.quantization_aware(model)
        settings = {"epochs": 2, "batch_size": 12, "seed": 3}
        first, second = (edgeq.distill(student, model, batch, **settings) for _ in range(2))
        for one, two in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- refusals


def test_an_unsupported_layer_is_named() -> None:
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([layers.Input((8, 8, 3)), layers.PReLU(name="odd")], name="block")
    with pytest.raises(UnsupportedLayerError) as caught:
        edgeq.quantization_aware(keras.Model(image, inner(image)))
    assert str(caught.value) == (
        "Layer 'block_odd' (PReLU) is not supported in quantization-aware training. Replace it "
        "with supported layers, or quantize the trained model without training: "
        "edgeq.convert(model, ..., data=samples)."
    )
    with pytest.raises(UnsupportedLayerError) as caught:
        odd = layers.Conv2D(2, 1, activation="gelu", name="smooth")(image)
        edgeq.quantization_aware(keras.Model(image, odd))
    assert caught.value.message == (
        "Layer 'smooth' (Conv2D) has activation 'gelu', which is not supported in "
        "quantization-aware training."
    )


def test_a_model_without_a_graph_and_one_that_is_done_are_refused() -> None:
    model, _ = make(cnn)
    done = edgeq.quantization_aware(model)
    with pytest.raises(UnsupportedLayerError) as caught:
        edgeq.quantization_aware(done)
    assert str(caught.value) == "Model 'cnn' is quantization-aware already. Train it as it is."
    with pytest.raises(UnsupportedLayerError, match="is a Sequential without a graph of layers"):
        edgeq.quantization_aware(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(UsageError, match="Unknown granularity 'row'; use one of channel, tensor"):
        edgeq.quantization_aware(model, granularity="row")


def test_converting_an_untrained_model_says_what_to_do(
    tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    model, _ = make(cnn)
    with pytest.raises(QuantizationError) as caught:
        untrained = edgeq.quantization_aware(model)
        edgeq.convert(untrained, tmp_path / "int8.tflite", tensorflow=tensorflow)
    assert str(caught.value) == (
        "Input 'image' has no range: the quantization-aware model has not seen a training batch "
        "yet. Train it with fit() or edgeq.distill(), then convert it."
    )
    assert not (tmp_path / "int8.tflite").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"granularity": "tensor"},
            "The model was trained with granularity 'channel', not 'tensor'. Pass --granularity "
            "channel.",
        ),
        (
            {"scheme": "fp16", "statistic": "mse"},
            "A quantization-aware model was trained for full INT8 with its own ranges; --scheme "
            "fp16, --statistic mse cannot be combined with it. Remove these options, or convert "
            "the model it was made from.",
        ),
    ],
)
def test_options_that_contradict_the_training_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model, _ = make(cnn)
    with pytest.raises(UsageError) as caught:
        edgeq.convert(edgeq.quantization_aware(model), tmp_path / "int8.tflite", **settings)
    assert str(caught.value) == message


def test_distilling_what_does_not_match_is_refused(teacher: Any) -> None:
    model, batch = make(cnn)
    with pytest.raises(UsageError) as caught:
        edgeq.distill(model, model, batch)
    assert str(caught.value) == (
        "The student 'cnn' is not quantization-aware. Make it with "
        "edgeq.quantization_aware(teacher)."
    )
    with pytest.raises(UsageError, match=r"The teacher has 1 inputs and outputs \[\(10,\)\]"):
        edgeq.distill(edgeq.quantization_aware(model), teacher, batch)


def test_a_half_precision_model_is_trained_in_float32(tmp_path: Path) -> None:
    """Also if the policy is still set, and with a layer that has its own dtype."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        image = keras.Input((6, 6, 2), name="image")
        summed = layers.Add()([layers.Conv2D(4, 3)(image), layers.Conv2D(4, 3)(image)])
        logits = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(summed)))
        model = keras.Model(image, layers.Softmax(dtype="float32")(logits))
        student = edgeq.quantization_aware(model)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.dtype_policy.name for layer in student._flatten_layers()} == {"float32"}
    batch = np.random.default_rng(0).normal(0, 1, (8, 6, 6, 2)).astype(np.float32)
    own = np.asarray(model(batch))
    assert np.asarray(watched(student, batch)(batch)) == pytest.approx(own, abs=0.02)
    assert steps_apart(student, batch, tmp_path / "student.tflite").max() <= 1
