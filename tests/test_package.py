"""The shape of the house: who imports whom, how long things are, what the wheel holds."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import edgeq
from edgeq.moved import MOVED
from tests.house import FLOORS, FOLDERS, INSIDE, ROOT, SOURCES, edges, floor, imported, parse, room

# A straight function of 60 lines reads better than four private ones that are called once.
MAX_BODY_LINES = 60
MAX_FILE_LINES = 400
MAX_FOLDER_FILES = 24


@pytest.mark.parametrize("module", INSIDE)
def test_imports_go_down(module: str) -> None:
    for name in edges()[module]:
        assert name != "edgeq", f"{module} imports from edgeq: take it from the room that has it"
        assert room(name) == room(module) or floor(name) < floor(module), f"{module} imports {name}"


def test_no_files_import_each_other_in_a_circle() -> None:
    left = dict(edges())
    while free := [module for module, found in left.items() if not found & left.keys()]:
        for module in free:
            del left[module]
    assert not left, "each of these is in a circle, or imports one that is"


def test_every_room_is_there() -> None:
    assert {room(module) for module in INSIDE} == {name for rooms in FLOORS for name in rooms}


@pytest.mark.parametrize("module", INSIDE)
def test_converters_and_runners_do_not_know_each_other(module: str) -> None:
    pair = {"edgeq.converters", "edgeq.device_runners"}
    for own in pair:
        if module.startswith(own):
            (other,) = pair - {own}
            assert not any(name.startswith(other) for name in imported(SOURCES[module]))


def test_no_folder_is_crowded() -> None:
    folders = Counter(path.parent for path in SOURCES.values())
    assert {folder: n for folder, n in folders.items() if n > MAX_FOLDER_FILES} == {}


def test_children_are_started_by_one_class() -> None:
    """Programs of others are run to their end by subprocess.run; a board has its own copy."""
    starters = {module for module in INSIDE if "Popen(" in SOURCES[module].read_text()}
    assert {module for module in starters if ".on_board." not in module} == {
        "edgeq.children.child",
        "edgeq.device_runners.links.ssh_login",  # the user's ProxyCommand, on a socket
    }


def test_tensorflow_is_imported_in_few_files_only() -> None:
    roots = {"tensorflow", "keras", "tf_keras"}
    importers = {
        module
        for module, path in SOURCES.items()
        if any(name.split(".")[0] in roots for name in imported(path))
        and not module.startswith("edgeq.models")
    }
    assert importers == {
        "edgeq.converters.tracing.expressions",
        "edgeq.converters.tracing.float32",
        "edgeq.converters.tracing.rebuilding",
        "edgeq.converters.tracing.sign_bits",
        "edgeq.converters.lowering.tensorflow_lowering",
        "edgeq.converters.tracing.wrapping",
        "edgeq.converters.lowering.tflite_quantizer",
        "edgeq.converters.tracing.lstm_layers",
        "edgeq.converters.lowering.frameworks",
        # Quantization-aware training works on the caller's live Keras model.
        "edgeq.converters.training.qat",
        "edgeq.converters.training.qat_graph",
        "edgeq.converters.training.qat_layers",
        "edgeq.converters.training.qat_plan",
        "edgeq.converters.training.distillation",
        # As do the functions on its states.
        "edgeq.converters.training.states",
    }


@pytest.mark.parametrize("module", SOURCES)
def test_files_and_bodies_are_short(module: str) -> None:
    text = SOURCES[module].read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(parse(SOURCES[module])):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= MAX_BODY_LINES, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("folder", ["converters", "device_runners", "models"])
def test_a_folder_cannot_be_imported_under_a_second_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"write 'import edgeq.{folder}'" in done.stderr


@pytest.mark.parametrize("module", SOURCES)
def test_numpy_never_unpickles(module: str) -> None:
    """Wherever a file may be another's; it is numpy's default, but was another before 1.16.3."""
    if module.startswith("edgeq.models"):
        return  # it reads what ships with edgeq
    for node in ast.walk(parse(SOURCES[module])):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            assert "allow_pickle=False" in ast.unparse(node), f"line {node.lineno}"


def test_importing_edgeq_and_its_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, edgeq.cli\n"
        "try: edgeq.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'tensorflow', 'ai_edge_litert', 'rich', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists() -> None:
    for name in edgeq.__all__:
        assert getattr(edgeq, name)
    for name, meant in {
        "convrt": "convert",
        "report": "make_report",
        "package": "make_package",
        "inspect": "inspect_model",
        "eval": "evaluate",
    }.items():
        with pytest.raises(AttributeError) as caught:
            getattr(edgeq, name)
        assert str(caught.value) == f"edgeq has no {name!r}. Did you mean {meant!r}?"
    importlib.import_module("edgeq.fit")
    with pytest.raises(TypeError, match=r"is a module\. Did you mean 'edgeq\.fit_model'"):
        edgeq.fit("model.tflite")  # type: ignore[operator]


def test_modules_that_have_moved_are_named() -> None:
    for old, new in MOVED.items():
        with pytest.raises(ImportError, match=rf"^{old} is now {new}: import that\.$"):
            importlib.import_module(old)
        assert new in SOURCES
    with pytest.raises(ImportError, match=r"inspect_model is now edgeq\.inspect_model: use that"):
        from edgeq.inspection import inspect_model  # noqa: F401
    with pytest.raises(ImportError, match=r"profile is now edgeq\.profile: use that"):
        from edgeq.profiling import profile  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"No module named .edgeq\.other."):
        importlib.import_module("edgeq.other")


PUBLIC = {"edgeq", "edgeq.values", "edgeq.errors", "edgeq.history", "edgeq.tflite", "edgeq.models"}


def test_the_docs_use_public_modules_only() -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    assert set(re.findall(r"^\| `(edgeq[\w.]*)` \|", page, re.MULTILINE)) == PUBLIC
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        kotlin_left_out = re.sub(r"^```kotlin\n.*?^```$", "", path.read_text(), flags=re.M | re.S)
        found = re.findall(
            r"^(?:>>> )?(?:from|import) (edgeq[\w.]*)", kotlin_left_out, re.MULTILINE
        )
        assert set(found) <= PUBLIC, path


def test_the_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    """Built from a copy in which links are text files, as in a clone without symbolic links."""
    copy, expected = tmp_path / "clone", set()
    ignored = shutil.ignore_patterns("__pycache__", *FOLDERS)
    for folder, package in FOLDERS.items():
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
        expected |= {
            f"{package.replace('.', '/')}/{path.relative_to(copy / folder).as_posix()}"
            for path in (copy / folder).rglob("*")
            if path.is_file()
        }
    for link in FOLDERS.keys() - {"edgeq"}:
        (copy / "edgeq" / link).write_text(f"../{link}")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    # First the source distribution, then the wheel from it.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    (source,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(source) as members:
        others = [item.name for item in members if not (item.isfile() or item.isdir())]
        assert others == [], "links in a source distribution do not unpack on every system"
        assert not [name for name in members.getnames() if "/tests/" in name]
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    # Policies of the example models, and a note for developers, are for the checkout.
    left_out = {name for name in expected if name.startswith("edgeq/models/")
                and name.endswith(".toml")} | {
        "edgeq/packaging/targets/android/stubs/README.md"}  # fmt: skip
    assert inside == expected - left_out
