"""Real files through the real frameworks: hostile ones leave no trace, valid ones are read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import LoweringError, SourceError
from edgeq.values import ConvertOptions, FloatModel
from tests.conftest import make_once

TRUST = "ass --unsafe-deserialization if you trust where the file comes from."
NO_OPERATOR = (
    "which is not on the list of operators without access to files, Python and the network"
)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).with_name("make_foreign_models.py")

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)

    return make_once(tmp_path_factory, "foreign", make)


@pytest.fixture
def marker(foreign: Path) -> Iterator[Path]:
    """The file that hostile files would create; it does not exist before and after."""
    path = foreign / "marker"
    assert not path.exists()
    yield path
    path.unlink(missing_ok=True)


def read(path: Path, process: TensorFlowProcess, folder: Path, *, trusted: bool) -> FloatModel:
    reader = FileReader(path, identify(path), process)
    return reader.lower(ConvertOptions(trusted=trusted), folder)


LAMBDA = "layer 'evil' has the class 'Lambda', which holds Python code"
REFUSED = {
    "keras_lambda.keras": LAMBDA,
    "keras_lambda.h5": LAMBDA,
    "tf_keras_lambda.keras": LAMBDA,
    "tf_keras_lambda.h5": LAMBDA,
    # A SavedModel that only tf_keras would read: by its Keras metadata.
    "lambda": LAMBDA,
    "op_lambda.h5": "layer 'evil' calls 'keras.models.model_from_json', which is not on the list "
    "of functions of tensors",
    "function.keras": "layer 'evil' names the function 'os.system', which is not on the list of "
    "what edgeq loads",
    "write": f"signature 'serving_default' runs the operator 'WriteFile' ('cond/WriteFile'), "
    f"{NO_OPERATOR}",
    "print": f"signature 'serving_default' runs the operator 'PrintV2' to 'file://MARKER' "
    f"('PrintV2'), {NO_OPERATOR}",
    "version_1": "its loading fills the table 'text_file_init/InitializeTableFromTextFileV2' from "
    "a file outside the folder's assets",
    "table": "its asset '../le.txt' is outside its folder 'assets'",
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused_by_name_and_leave_no_trace(
    foreign: Path, marker: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str
) -> None:
    path = foreign / "evil" / name
    with pytest.raises(SourceError) as caught:
        read(path, tensorflow, tmp_path, trusted=False)
    assert caught.value.message.replace(str(marker), "MARKER") == f"{path}: {REFUSED[name]}."
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(TRUST)
    assert not marker.exists()


def test_the_ways_are_real(foreign: Path) -> None:
    """With the framework alone, outside edgeq and its sandbox, files create the marker."""
    real = set(json.loads((foreign / "real.json").read_text()))
    assert real >= {"tf_keras_lambda.h5", "op_lambda.h5", "write", "print"}
    assert real <= set(REFUSED)


def test_weights_from_elsewhere_are_refused_even_with_consent(
    foreign: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    path = foreign / "evil" / "external.h5"
    with pytest.raises(SourceError, match=r"kernel' keeps its values in another file"):
        read(path, tensorflow, tmp_path, trusted=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("op_lambda.h5", "error: {path}: layer 'evil' calls 'keras.models.model_from_json'"),
        ("function.keras", "error: {path}: layer 'evil' names the function 'os.system'"),
        ("write", "error: {path}: signature 'serving_default' runs the operator 'WriteFile'"),
    ],
)
def test_convert_says_one_sentence_and_writes_nothing(
    foreign: Path, marker: Path, tmp_path: Path, name: str, said: str
) -> None:
    path, out = foreign / "evil" / name, tmp_path / "o.tflite"
    program = [sys.executable, "-c", "from edgeq.cli import main; main()"]
    command = [*program, "convert", str(path), "--scheme", "dynamic", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said.format(path=path) in done.stderr
    assert "Traceback" not in done.stderr
    assert [*tmp_path.iterdir()] == []
    assert not marker.exists()


GOOD = (
    "keras.keras", "tf_keras.keras", "tf_keras.h5", "keras_rows.keras", "keras_rows.h5",
    "tf_keras_rows.keras", "tf_keras_rows.h5", "int8.keras", "signatures", "table",
    "version_1",
)  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_people_have_is_read(
    foreign: Path, tensorflow: TensorFlowProcess, tmp_path: Path, name: str
) -> None:
    path = foreign / "good" / name
    reader = FileReader(path, identify(path), tensorflow)
    options = ConvertOptions(signature="run" if name == "signatures" else None)
    # Read, and then without a form in TensorFlow Lite.
    if name in ("table", "int8.keras", "version_1"):
        with pytest.raises(LoweringError):
            reader.lower(options, tmp_path)
    else:
        assert reader.lower(options, tmp_path).source_kind in ("keras", "h5", "saved_model")
