"""`edgeq init`: the file it writes is read and run as it is, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from edgeq.converters.safe_reading.keras_names import QAT_PREFIX
from edgeq.errors import DataError, EdgeqError, UsageError
from edgeq.pipeline.init_project import Outline, write_outline
from edgeq.pipeline.plan import read_plan
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions
from tests.pipeline.conftest import edgeq, run


@pytest.fixture
def here(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a model, as Keras leaves it and as float .tflite, and data."""
    for name in ("model.keras", "samples.npz", "test.npz", "build/model.fp32.tflite"):
        shutil.copy(finished / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_runs_as_it_is(here: Path) -> None:
    done = edgeq("init", "model.fp32.tflite", "--data", "samples.npz", "--test-data", "test.npz")
    assert done.exception is None, done.output
    assert done.stdout == "Wrote edgeq.toml.\nNext: edgeq run\n"
    text = (here / "edgeq.toml").read_text()
    assert "#   input   image: 1x28x28x1 float32\n#   output  class: 1x10 float32\n" in text
    done = run(Path(), "--effort", "fast")
    assert done.exception is None and done.return_value in (0, 4), done.output
    assert "baseline       left out: model.fp32.tflite is a .tflite already" in done.stdout
    assert "max_drop_points" in done.stdout


def test_all_that_is_commented_out_is_valid_too(here: Path) -> None:
    edgeq("init", "model.fp32.tflite")
    lines = (here / "edgeq.toml").read_text().splitlines()
    settings = [
        line.removeprefix("# ")
        for line in lines
        if line.startswith(("# [", "# ")) and (" = " in line or line.startswith("# ["))
    ]
    assert 'preprocess = ["scale=1/255"]' in settings and len(settings) == 17
    whole = [line.removeprefix("# ") if line.removeprefix("# ") in settings else line
             for line in lines]  # fmt: skip
    tune = whole.index(next(line for line in whole if line.startswith("[tune]")))
    del whole[tune : tune + 2]  # instead of a conversion, so not beside its options
    (here / "edgeq.toml").write_text("\n".join(whole))
    (here / "labels.txt").write_text("a\nb\n")
    plan = read_plan(Path("edgeq.toml"))
    assert (plan.test, plan.preprocess, plan.convert.io) == (
        "test.npz", ("scale=1/255",), "float32"
    )  # fmt: skip


def test_what_is_not_told_is_to_be_filled_in(here: Path) -> None:
    done = edgeq("init", "model.fp32.tflite")
    assert done.stdout.endswith("Fill in calibration and test, then: edgeq run\n")
    done = run(Path())
    assert done.exception.message == (
        "edgeq.toml, line 14 does not name data, and scheme int8 calibrates on a few hundred "
        "samples."
    )


def test_a_framework_model_is_looked_at_and_paths_start_from_the_file(here: Path) -> None:
    (here / "sub").mkdir()
    done = edgeq("init", "model.keras", "--data", "samples.npz", "--batch", "dynamic",
                 "--preprocess", "scale=1/255", "-o", "sub/other.toml")  # fmt: skip
    assert done.stdout.splitlines()[1] == ("Fill in test, then: edgeq run --file sub/other.toml")
    text = Path("sub/other.toml").read_text()
    assert 'source = "../model.keras"\n' in text
    assert "#   input   image: ?x28x28x1 float32" in text
    assert 'batch = "dynamic"\n' in text
    assert 'preprocess = ["scale=1/255"]\n' in text
    plan = read_plan(Path("sub/other.toml"))
    assert (plan.source, plan.calibration) == (Path("sub/../model.keras"), "sub/../samples.npz")


def test_a_quantization_aware_model_is_told_apart(here: Path) -> None:
    (spec,) = flatbuffer.interface(flatbuffer.read(Path("model.fp32.tflite")))[0]
    outline = Outline("Keras file", (spec,), (spec,), (), "tensor")
    text = write_outline(
        outline, Path("qat.keras"), here, data=None, test_data="test.npz", options=ConvertOptions()
    )
    Path("edgeq.toml").write_text(text)
    assert 'granularity = "tensor"\n' in text
    assert '# baseline = "original.keras"\n' in text
    config = {"registered_name": f"{QAT_PREFIX}Layer", "config": {}}
    with zipfile.ZipFile("qat.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    done = run(Path())
    assert done.exception.hint == (
        'Name the model it was made from: [model] baseline = "original.keras"'
    )


def test_a_file_that_is_there_stays(here: Path) -> None:
    path = here / "edgeq.toml"
    path.write_text("[policy]\nmin_sqnr_db = 3\n")
    done = edgeq("init", "model.fp32.tflite")
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == (
        "edgeq.toml already exists. Replace it with --force, or choose another -o."
    )
    path.write_text('[devices.pi]\naddress = "pi@board"\n')
    done = edgeq("init", "model.fp32.tflite")
    assert done.exception.hint == (
        "It has only [devices]; add the rest: edgeq init model.fp32.tflite -o - >> edgeq.toml"
    )
    rest = edgeq("init", "model.fp32.tflite", "--data", "samples.npz", "-o", "-").stdout
    path.write_text(path.read_text() + rest)
    assert [device.name for device in read_plan(Path("edgeq.toml")).devices] == ["local"]
    assert edgeq("init", "model.fp32.tflite", "--force").exception is None
    assert "[devices.pi]" not in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("nothere.keras",), EdgeqError),
        (("samples.npz",), EdgeqError),
        (("model.fp32.tflite", "--data", "nothere.npz"), DataError),
        (("model.fp32.tflite", "--preprocess", "scle=1"), UsageError),
        (("model.fp32.tflite", "-o", "model.fp32.tflite", "--force"), UsageError),
    ],
)
def test_nothing_is_written_after_a_mistake(
    here: Path, arguments: tuple[str, ...], kind: type[EdgeqError]
) -> None:
    before = {path: path.read_bytes() for path in here.iterdir()}
    assert isinstance(edgeq("init", *arguments).exception, kind)
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_data_that_is_missing_names_the_option_and_the_nearest_path(here: Path) -> None:
    for option, key in (("--data", "calibration"), ("--test-data", "test")):
        error = edgeq("init", "model.fp32.tflite", option, "sample.npz").exception
        assert isinstance(error, DataError)
        assert str(error) == (
            "There is no file or folder sample.npz. Did you mean 'samples.npz'? Without "
            f"{option}, edgeq.toml has a line to complete."
        )
        assert f"# {key} = " in edgeq("init", "model.fp32.tflite", "-o", "-").stdout
