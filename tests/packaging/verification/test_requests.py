"""What a child that a package has taken over could ask its parent for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeq.children.foreign import Failed
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import DamagedPackageError
from edgeq.packaging.verification import requests
from edgeq.packaging.verification.answers import Answerer

ONE = requests.Tensor.of(np.ones((1, 2), np.float32))


def answer(request: requests.Request, *, runs: bool = True) -> object:
    devices = [resolve_device("local")] if runs else None
    return Answerer(devices, lambda event: None).answer(request)


@pytest.mark.parametrize("path", ["../A.java", "/tmp/A.java", "a/../../A.java", "a\\b", "", "a\n"])
def test_sources_stay_in_their_folder(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    refused = answer(requests.CompileJava({"A.java": b"class A {}", path: b"class B {}"}))
    assert isinstance(refused, Failed) and refused.kind == DamagedPackageError.__name__
    assert list(tmp_path.rglob("*.java")) == []


def test_an_option_is_no_source() -> None:
    if shutil.which("javac") is None:
        pytest.skip("needs javac (Debian: default-jdk-headless)")
    refused = answer(requests.CompileJava({"-version": b"class A {}"}))
    assert isinstance(refused, Failed) and "does not compile" in refused.message


@pytest.mark.parametrize(
    "request_",
    [requests.Infer(0, b"", {"x": ONE}), requests.MeasureArena(b"", ((ONE,),), 1, "x.tflite")],
)
def test_nothing_runs_when_nothing_is_to(request_: requests.Request) -> None:
    with pytest.raises(ValueError, match="it requests to run a model, and none is to run"):
        answer(request_, runs=False)


@pytest.mark.parametrize("device", [-1, 1, 10**30])
def test_only_devices_of_the_command_line_run(device: int) -> None:
    with pytest.raises(ValueError, match=f"there is no device {device}"):
        answer(requests.Infer(device, b"", {"x": ONE}))


def test_a_model_that_is_none_is_said() -> None:
    refused = answer(requests.Infer(0, b"no model", {"x": ONE}))
    assert isinstance(refused, Failed) and refused.kind == "SourceError"


@pytest.mark.parametrize("shape", [(1, 3), (), (1 << 30, 1 << 30)])
def test_an_array_is_as_large_as_its_bytes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="bytes, not 8"):
        requests.Tensor("float32", shape, bytes(8)).array()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_arrive_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    back = requests.Tensor.of(array).array()
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, shape, array.tobytes())
