"""Fixtures that several test folders share; what is slow to make is made once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeq import api, models
from edgeq.converters.lowering import FileReader
from edgeq.converters.process import TensorFlowProcess
from edgeq.converters.source import identify
from edgeq.values import ConvertOptions, FloatModel

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and labelled data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED


@pytest.fixture(scope="session")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorFlowProcess]:
    """One TensorFlow child process for the whole session."""
    with TensorFlowProcess() as process:
        yield process


Lower = Callable[..., FloatModel]


@pytest.fixture(scope="session")
def lower(tensorflow: TensorFlowProcess, tmp_path_factory: pytest.TempPathFactory) -> Lower:
    """Lower a model file in the shared child process; equal calls share the result."""
    made: dict[tuple[Path, ConvertOptions], FloatModel] = {}

    def make(path: Path, **settings: Any) -> FloatModel:
        options = ConvertOptions(**settings)
        key = (path, options)
        if key not in made:
            reader = FileReader(path, identify(path), tensorflow)
            made[key] = reader.lower(options, tmp_path_factory.mktemp("lowered"))
        return made[key]

    return make


@pytest.fixture(scope="session")
def float_cnn(lower: Lower) -> FloatModel:
    """The plain CNN that ships with edgeq, as a float `.tflite`: raw 28x28x1 input, 10 classes."""
    return lower(models.path("fmnist_cnn.keras"))


@pytest.fixture(scope="session")
def float_mobilenet(lower: Lower) -> FloatModel:
    """The MobileNet-like model that ships with edgeq: inputs in 0..1, residual ADDs."""
    return lower(models.path("fmnist_mobilenet.keras"))


@pytest.fixture(scope="session")
def float_file(float_mobilenet: FloatModel) -> Path:
    """The float `.tflite` of the MobileNet-like model."""
    return Path(float_mobilenet.file.path)


@pytest.fixture(scope="session")
def int8_mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MobileNet-like model as edgeq's default conversion leaves it, with its record."""
    path = tmp_path_factory.mktemp("int8") / "mobilenet.tflite"
    api.convert(
        models.path("fmnist_mobilenet.keras"),
        path,
        data=models.path("fashion_mnist_calibration.npz"),
        preprocess=["scale=1/255"],
    )
    return path
