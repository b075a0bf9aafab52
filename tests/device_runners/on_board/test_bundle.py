"""The agent's one file and the keeper's text: complete, and fit for the Pythons on boards."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.links import keeper_link
from edgeq.device_runners.on_board import bundle

FOLDER = Path(bundle.__file__).parent
TRAVELLING = sorted({*FOLDER.rglob("*.py")} - {FOLDER / "bundle.py"})
NAMES = [str(path.relative_to(FOLDER)) for path in TRAVELLING]


@pytest.fixture(params=["this Python", "Python 3.8"])
def python(request: pytest.FixtureRequest) -> str:
    is_this = request.param == "this Python"
    return sys.executable if is_this else str(request.getfixturevalue("python_3_8"))


@pytest.mark.parametrize("path", TRAVELLING, ids=NAMES)
def test_what_travels_imports_nothing_of_edgeq(path: Path) -> None:
    """Only the standard library, its neighbours and, once a model is run, numpy."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        for name in names:
            is_late = name == "numpy" and node not in tree.body
            assert name.partition(".")[0] in sys.stdlib_module_names or is_late


def test_the_agents_file_holds_every_module_uncompressed_and_undated() -> None:
    """Its digest names it in the boards' caches: the same modules must give the same bytes."""
    archive = zipfile.ZipFile(io.BytesIO(bundle.pack_agent()))
    own = [path.relative_to(FOLDER / "agent") for path in (FOLDER / "agent").rglob("*.py")]
    found = archive.namelist()
    assert found == ["__main__.py", *sorted((f"edgeq_agent/{path}" for path in own), key=Path)]
    for item in archive.infolist():
        assert item.date_time == (1980, 1, 1, 0, 0, 0)
        assert item.compress_type == zipfile.ZIP_STORED
        assert (item.create_system, item.external_attr, item.extra) == (3, 0o600 << 16, b"")


def test_every_python_packs_the_same_bytes() -> None:
    pythons = [sys.executable, *Path.home().glob(".pyenv/versions/3.1[0-3].*/bin/python3")]
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); "
        "from edgeq.device_runners.on_board import bundle; "
        "print(hashlib.sha256(bundle.pack_agent()).hexdigest())"
    )
    root = str(Path(__file__).parents[3])
    commands = [[python, "-I", "-B", "-c", code, root] for python in pythons]
    assert len({subprocess.check_output(command) for command in commands}) == 1


def test_the_keeper_is_sent_whole_and_each_module_after_those_that_it_imports() -> None:
    assert sorted([*bundle.KEEPER_MODULES, "__init__"]) == sorted(
        path.stem for path in (FOLDER / "keeper").glob("*.py")
    )
    for place, (_, text) in enumerate(bundle.keeper_parts()):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in bundle.KEEPER_MODULES[:place]


def test_the_keeper_answers_under_this_python(python: str, tmp_path: Path) -> None:
    """Prologue, keeper and two requests, as a login gets them."""
    (tmp_path / "json.py").write_text("raise ImportError('of the folder of the login')")
    starter, keeper = keeper_link.programs()
    code = f'import sys;exec(getattr(sys.stdin,"buffer",sys.stdin).read({len(starter)}))'
    lines = [{"call": "hello", "arguments": {}},
             {"call": "write", "arguments": {"path": "f", "offset": 0, "size": 3}}]  # fmt: skip
    requests = b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b"abc"
    done = subprocess.run(
        [python, "-c", code],
        input=starter + keeper + requests,
        capture_output=True, check=True, cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    frames = keeper_link.Frames()
    frames.feed(done.stdout)
    answers = [keeper_link.split(frames.next() or b"")[0] for _ in range(3)]
    assert answers[0]["missing"] == ""
    assert answers[1]["ok"]["root"] == str(tmp_path / "cache" / "edgeq")
    assert answers[2] == {"ok": None}
    assert (tmp_path / "f").read_bytes() == b"abc"
    assert done.stderr == b""


# ---------------------------------------------------------------- the agent's one file


def do(python: str, file: Path, folder: Path, **job: Any) -> dict[str, Any]:
    """The result of a job that needs a runtime which is missing."""
    given = {"protocol": 1, "threads": 1, "runtime": "none-such", "models": ["m"], **job}
    (folder / "job.json").write_text(json.dumps(given))
    subprocess.run([python, "-I", file, "run", folder], check=True, capture_output=True)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_the_one_file_does_every_task(python: str, tmp_path: Path) -> None:
    """Its workers and its profiler start, and say what is missing."""
    file, folder = tmp_path / "agent", tmp_path / "job"
    file.write_bytes(bundle.pack_agent())
    folder.mkdir()
    assert do(python, file, folder, task="check")["error"]["code"] == "runtime_missing"
    bench = {"task": "bench", "runs": 3, "models": [{"path": "m"}]}
    found = do(python, file, folder, **bench)
    assert found["models"][0]["error"]["code"] == "runtime_missing"
    assert len(found["health"]) >= 2
    chunk = {"model": 0, "inputs": {}, "outputs": {"y": "y.npy"}}
    found = do(python, file, folder, task="infer", workers=1, chunks=[chunk])
    assert found["error"]["code"] == "runtime_missing"
    (folder / "m").write_bytes(bytes(200))
    (profiled,) = do(python, file, folder, task="profile", runs=3)["models"]
    is_there = found["facts"]["runtimes"] and sys.executable == python
    assert profiled["error"]["code"] == ("bad_model" if is_there else "runtime_missing")


@pytest.mark.parametrize("name", ["a" * 64, "with blanks 'and' quotes", "agent.pyz"])
def test_the_one_file_runs_under_any_name(python: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bundle.pack_agent())
    (tmp_path / "link").symlink_to(tmp_path / name)
    (tmp_path / "job").mkdir()
    for path in (tmp_path / name, Path(name), tmp_path / "link"):
        done = subprocess.run(
            [python, path, "facts"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["protocol"] == 1
    assert do(python, tmp_path / "link", tmp_path / "job", task="check")["error"]["code"] == (
        "runtime_missing"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_the_one_file_runs_where_nothing_may_be_written_or_executed(
    python: str, tmp_path: Path
) -> None:
    place, folder = tmp_path / "place", tmp_path / "job"
    place.mkdir()
    folder.mkdir()
    (place / "agent").write_bytes(bundle.pack_agent())
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro,noexec "$1" && shift && exec "$@"'
    (folder / "job.json").write_text('{"protocol": 1, "task": "check", "runtime": "none-such"}')
    subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script, "sh", place,
         python, place / "agent", "run", folder],
        check=True, capture_output=True,
    )  # fmt: skip
    assert json.loads((folder / "result.json").read_text())["error"]["code"] == "runtime_missing"


def test_modules_beside_the_one_file_and_in_the_job_are_not_imported(
    python: str, tmp_path: Path
) -> None:
    """An earlier model could have put them there."""
    file, folder = tmp_path / "agent.pyz", tmp_path / "job"
    file.write_bytes(bundle.pack_agent())
    folder.mkdir()
    for place in (tmp_path, folder):
        for name in ("json", "numpy", "bench", "statistics", "sandbox", "edgeq_agent"):
            (place / f"{name}.py").write_text(f"open({str(tmp_path / 'oops')!r}, 'w')")
    job = {"protocol": 1, "task": "check", "runtime": None, "sandbox": None}
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run([python, file, "run", folder], check=True, capture_output=True, cwd=folder)
    assert (folder / "result.json").exists()
    assert not (tmp_path / "oops").exists()


def test_it_needs_neither_numpy_nor_ctypes_to_say_what_the_machine_is(
    python: str, tmp_path: Path
) -> None:
    (tmp_path / "agent").write_bytes(bundle.pack_agent())
    for name in ("numpy", "ctypes"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name}')")
    done = subprocess.run(
        [python, tmp_path / "agent", "facts"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["protocol"] == 1
