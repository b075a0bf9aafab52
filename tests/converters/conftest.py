"""What the tests of PyTorch and ONNX share: models made by a Python that can, and the check."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.calibration import calibrate
from edgeq.converters.lowering import exported_models, lower
from edgeq.converters.lowering.exported_models import ExportedReader
from edgeq.converters.lowering.framework_process import FrameworkProcess
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import MissingExtraError
from edgeq.values import ConvertOptions, FloatModel
from tests.conftest import make_once


def make_models(kind: str, factory: pytest.TempPathFactory) -> Path:
    """Run the script that makes this kind's models, once; skip where no Python can."""
    framework = exported_models.FRAMEWORKS[kind]
    try:
        python = exported_models.find_python(kind, ConvertOptions())
    except MissingExtraError:
        pytest.skip(f"no Python with {framework.package}: name one in {framework.variable}")
    script = Path(__file__).with_name(f"make_{kind}_models.py")

    def make(folder: Path) -> None:
        subprocess.run([python, str(script), str(folder)], check=True, capture_output=True)

    return make_once(factory, kind, make)


@pytest.fixture(scope="session")
def torch_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models("torch", tmp_path_factory)


class Lender:
    """A `FrameworkProcess` that all readers get in turn, since its start takes 12 s."""

    def __init__(self) -> None:
        self._child: FrameworkProcess | None = None

    def __call__(self, *arguments: Any, **settings: Any) -> Lender:
        if self._child is None:
            self._child = FrameworkProcess(*arguments, **settings)
            self.call = self._child.call
        return self

    def __enter__(self) -> Lender:
        return self

    def __exit__(self, *error: object) -> None:
        """The reader's end is not the child's."""

    def close(self) -> None:
        if self._child is not None:
            self._child.__exit__(None, None, None)


@pytest.fixture(scope="session")
def torch_lender() -> Iterator[Lender]:
    with contextlib.closing(Lender()) as lender:
        yield lender


@pytest.fixture
def torch_child(torch_lender: Lender, monkeypatch: pytest.MonkeyPatch) -> None:
    """One child with PyTorch for all tests that have this, each of which reads files of its own."""
    monkeypatch.setattr(exported_models, "FrameworkProcess", torch_lender)


@pytest.fixture(scope="session")
def onnx_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models("onnx", tmp_path_factory)


@pytest.fixture
def read_exported(tmp_path: Path) -> Callable[..., FloatModel]:
    """Lower a file and compare it with its source, as `convert` does."""

    def read(path: Path, **settings: Any) -> FloatModel:
        options = ConvertOptions(**settings)
        with ExportedReader(path, identify(path), options) as reader:
            model = reader.lower(options, tmp_path)
            drawn = lower.random_samples(model.inputs, 4, seed=0)
            first = calibrate.first_inputs(iter(drawn), model.inputs, 4)
            run = calibrate.run_float_model(model, iter(drawn), tmp_path, 4, "nothing")
            return lower.check(model, reader.predict(first), run.outputs)

    return read
