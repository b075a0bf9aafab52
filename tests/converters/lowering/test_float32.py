"""Models of half and double precision are read in float32, and edgeq reports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq import api
from edgeq.converters.calibration import calibrate
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import LoweringError
from edgeq.inspection.contents import inspect_model
from edgeq.values import ConvertOptions
from tests.conftest import make_once


@pytest.fixture(scope="module")
def precisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = str(Path(__file__).with_name("make_precision_models.py"))

    def make(folder: Path) -> None:
        command = [sys.executable, script, str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    return make_once(tmp_path_factory, "precisions", make)


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [
        ("mixed_float16.keras", ("float16",)),
        ("mixed_float16.h5", ("float16",)),
        ("bfloat16.keras", ("bfloat16",)),
        ("bfloat16.saved", ("bfloat16",)),
        ("float64.h5", ("float64",)),
        ("float64.saved", ("float64",)),
    ],
)
def test_they_compute_in_float32_with_the_stored_weights(
    precisions: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str, dtypes: tuple[str]
) -> None:
    path = precisions / name
    reader = FileReader(path, identify(path), tensorflow)
    model = reader.lower(ConvertOptions(), tmp_path)
    assert model.other_dtypes == dtypes
    with np.load(precisions / f"{path.stem}.npz") as arrays:
        samples, expected = arrays["x"], arrays["y"]
    name = model.inputs[0].name
    rows = [{name: sample} for sample in samples]
    run = calibrate.run_float_model(model, iter(rows), tmp_path, len(rows), "nothing")
    assert run.outputs[model.outputs[0].name] == pytest.approx(expected, abs=1e-5)
    reference = reader.predict({name: samples})[model.outputs[0].name]
    assert reference == pytest.approx(expected, abs=1e-5)


def test_conversion_and_file_report_it(precisions: Path, tmp_path: Path) -> None:
    with np.load(precisions / "mixed_float16.npz") as arrays:
        samples = arrays["x"]
    out = tmp_path / "model.tflite"
    result = api.convert(
        precisions / "mixed_float16.keras", out, data={"image": samples}, effort="fast"
    )
    (issue,) = [item for item in result.issues if item.code == "convert.read_in_float32"]
    assert "computes in float16" in issue.message
    (entry,) = [item for item in inspect_model(out).metadata if item.name == "edgeq.rewrites"]
    assert entry.text is not None
    assert "float16 read as float32" in entry.text


def test_the_loop_of_a_saved_model_names_the_way_out(
    precisions: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    reader = FileReader(precisions / "loop.saved", "saved_model", tensorflow)
    with pytest.raises(LoweringError, match="cannot lower a loop") as caught:
        reader.lower(ConvertOptions(), tmp_path)
    assert "Convert the model's .keras or .h5 file" in (caught.value.hint or "")


def test_a_model_that_depends_on_its_roundings_is_refused(
    precisions: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    """float16 rounds x + 8192 to multiples of 8."""
    reader = FileReader(precisions / "overwhelmed.keras", "keras", tensorflow)
    model = reader.lower(ConvertOptions(), tmp_path)
    with pytest.raises(LoweringError, match=r"in float32 differs by 38% .* in float16"):
        reader.predict({model.inputs[0].name: np.full((2, 3), 5, np.float32)})
