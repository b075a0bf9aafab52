"""What earlier runs left: keys, digests, damage, and the lock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq.errors import OutputError
from edgeq.pipeline.state import State, locked


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out.bin"
    path.write_bytes(b"made")
    return path


def test_a_step_is_done_when_origin_and_outputs_are_as_they_were(
    output: Path, tmp_path: Path
) -> None:
    path, origin = tmp_path / "run.json", {"effort": "fast", "shape": (1, 2), "the model": "abc"}
    assert State(path).why("convert", origin, [output]) == ""
    State(path).finish("convert", origin, [output])
    again = State(path)
    assert again.why("convert", origin, [output]) is None
    assert again.why("convert", {**origin, "effort": "best"}, [output]) == "changed: effort"
    assert again.why("convert", {**origin, "more": 1}, [output]) == "changed: more"
    fewer = {"effort": "fast", "shape": (1, 2)}
    assert again.why("convert", fewer, [output]) == "changed: the model"
    output.write_bytes(b"mad")
    assert again.why("convert", origin, [output]) == "out.bin was changed"
    output.unlink()
    assert again.why("convert", origin, [output]) == "out.bin is missing"


def test_what_is_not_asked_for_any_more_is_removed(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    paths = {name: tmp_path / f"{name}.json" for name in ("convert", "compare pi4", "gate")}
    for name, path in paths.items():
        path.write_text(name)
        state.finish(name, {}, [path])
    state.withdraw({"gate"}, tmp_path)
    assert [path.exists() for path in paths.values()] == [True, False, True]
    assert State(tmp_path / "state").why("compare pi4", {}, []) == ""
    assert State(tmp_path / "state").why("gate", {}, [paths["gate"]]) is None


def test_a_step_whose_output_lies_elsewhere_is_none(tmp_path: Path) -> None:
    """Outputs that are no longer asked for are removed by the names that the file tells."""
    other = tmp_path / "other.json"
    other.write_text("of somebody else")
    folder = tmp_path / "build"
    folder.mkdir()
    for name in ("../other.json", str(other), "\0", "\ud800", "", ".", ".."):
        step = {"key": "", "origin": {}, "outputs": {name: ""}}
        plain = {"schema": "edgeq.run/1", "steps": {"gate": step}}
        (folder / "state").write_text(json.dumps(plain))
        State(folder / "state").withdraw((), folder)
        assert other.exists()


@pytest.mark.parametrize("name", ["folder", "a" * 300])
def test_an_output_that_cannot_be_removed_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    step = {"key": "", "origin": {}, "outputs": {name: ""}}
    plain = {"schema": "edgeq.run/1", "steps": {"gate": step}}
    (tmp_path / "state").write_text(json.dumps(plain))
    with pytest.raises(
        OutputError, match=r"Cannot remove .*, an old output that edgeq.toml no longer has: "
    ):
        State(tmp_path / "state").withdraw((), tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"schema": "edgeq.run/2", "steps": {}}', b'{"schema": "edgeq.run/1"}',
     b'{"schema": "edgeq.run/1", "steps": {"convert": {"key": 3}}}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_state_is_no_step(output: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    assert State(path).why("convert", {}, [output]) == ""


def test_a_lock_names_its_owner_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    code = (
        "import sys, time; from pathlib import Path; from edgeq.pipeline.state import locked\n"
        "with locked(Path(sys.argv[1]), 'it'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(OutputError) as caught, locked(path, "it"):
            pass
        assert caught.value.message == f"Another `edgeq run` (process {child.pid}) is making it."
        child.kill()
    with locked(path, "it"):
        pass


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    expected = r"Cannot write .*no/run\.lock: No such file"
    with pytest.raises(OutputError, match=expected), locked(tmp_path / "no" / "run.lock", "it"):
        pass
