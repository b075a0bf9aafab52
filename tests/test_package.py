"""The shape of the house: who imports whom, how long things are, what the wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

import edgeq

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"edgeq": "edgeq", "converters": "edgeq.converters",
           "device_runners": "edgeq.device_runners", "models": "edgeq.models"}  # fmt: skip

# Lowest first. A module may import from its own tier and from those before it.
TIERS = (
    (
        "edgeq.values",
        "edgeq.errors",
        "edgeq.progress",
        "edgeq.version",
        "edgeq.files.damage",
        "edgeq.escaping",
        "edgeq.tflite.operator_releases",
        "edgeq.children.sandbox",
        "edgeq.files.scratch",
        "edgeq.children.entry",
        "edgeq.device_runners.agent",
    ),
    (
        "edgeq.children.launch",
        "edgeq.children.foreign",
        "edgeq.tflite.quantmath",
        "edgeq.accuracy.columns",
        "edgeq.accuracy.parts",
        "edgeq.timing",
        "edgeq.files.reading",
        "edgeq.files.npy",
        "edgeq.files.storage",
        "edgeq.tflite.flatbuffer",
        "edgeq.tflite.model_file",
        "edgeq.issues",
        "edgeq.provenance",
        "edgeq.project",
    ),
    ("edgeq.converters", "edgeq.device_runners"),
    (
        "edgeq.accuracy.metrics",
        "edgeq.profiling.event_mapping",
        "edgeq.profiling.reasons",
        "edgeq.accuracy.inference",
        "edgeq.accuracy.quality_meter",
        "edgeq.accuracy.verdict",
        "edgeq.accuracy.paired_runs",
        "edgeq.conversion.plan",
        "edgeq.conversion.file_metadata",
        "edgeq.conversion.scoring",
        "edgeq.conversion.command_line",
        "edgeq.conversion.remedies",
        "edgeq.conversion.input_ranges",
    ),
    ("edgeq.conversion.calibration_pass", "edgeq.conversion.proof"),
    ("edgeq.conversion.range_candidates", "edgeq.conversion.prepare"),
    ("edgeq.conversion.selection",),
    ("edgeq.conversion.litert",),
    ("edgeq.conversion.quantize",),
    ("edgeq.conversion.ways_out",),
    (
        "edgeq.conversion.convert",
        "edgeq.tuning",
        "edgeq.comparison.pairing",
        "edgeq.devices.doctor",
        "edgeq.inspection.inspect_model",
    ),
    ("edgeq.comparison.compare", "edgeq.debugging", "edgeq.profiling.profile"),
    (
        "edgeq.api",
        "edgeq.models",
        "edgeq.devices.inventory",
        "edgeq.comparison.parity",
        "edgeq.comparison.operator_parity",
    ),
    ("edgeq.devices.fleet",),
    ("edgeq.records.reading", "edgeq.records.schema"),
    (
        "edgeq.gating",
        "edgeq.history",
        "edgeq.inspection.explorer",
        "edgeq.inspection.explorer_child",
    ),
    ("edgeq.render", "edgeq.reporting"),
    ("edgeq.packaging",),
    ("edgeq.pipeline",),
    ("edgeq.cli",),
)

# A straight function of 60 lines reads better than four private ones that are called once.
MAX_BODY_LINES = 60
MAX_FILE_LINES = 400
# They travel as one file each.
LONG_FILES = {f"edgeq.device_runners.{name}" for name in ("agent", "keeper", "profiler")}


@cache
def parse(path: Path) -> ast.Module:
    """Once for all tests: CPython before 3.11.8 may fail when two threads parse (gh-106905)."""
    return ast.parse(path.read_text())


def sources() -> dict[str, Path]:
    """Module name to file, over the folders that make up the package."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if folder == "edgeq" and inside.parts[0] in FOLDERS:
                continue  # the links to the other folders
            parts = [package, *inside.with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


SOURCES = sources()


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def tier(module: str) -> int | None:
    best: tuple[int, int] | None = None
    for number, members in enumerate(TIERS):
        for member in members:
            if module == member or module.startswith(member + "."):
                best = max(best or (0, 0), (len(member), number))
    return None if best is None else best[1]


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_one_way(module: str) -> None:
    own = tier(module)
    if module == "edgeq":
        own = tier("edgeq.packaging")  # the package offers functions up to there, lazily
    assert own is not None, f"{module} belongs to no tier"
    for name in imported(SOURCES[module]):
        found = tier(name)
        if name.startswith("edgeq.") and found is not None:
            assert found <= own, f"{module} imports {name}, which is above it"


@pytest.mark.parametrize("module", SOURCES)
def test_converters_and_runners_do_not_know_each_other(module: str) -> None:
    pair = {"edgeq.converters", "edgeq.device_runners"}
    for own in pair:
        if module.startswith(own):
            (other,) = pair - {own}
            assert not any(name.startswith(other) for name in imported(SOURCES[module]))


def test_tensorflow_is_imported_in_few_files_only() -> None:
    roots = {"tensorflow", "keras", "tf_keras"}
    importers = {
        module
        for module, path in SOURCES.items()
        if any(name.split(".")[0] in roots for name in imported(path))
        and not module.startswith("edgeq.models")
    }
    # The agent knows TensorFlow as the third runtime it may find on a board.
    assert importers - {"edgeq.device_runners.agent"} == {
        "edgeq.converters.lowering.tensorflow_lowering",
        "edgeq.converters.lowering.tflite_quantizer",
        "edgeq.converters.lowering.frameworks",
        # Quantization-aware training works on the caller's live Keras model.
        "edgeq.converters.training.qat",
        "edgeq.converters.training.qat_graph",
        "edgeq.converters.training.qat_layers",
        "edgeq.converters.training.qat_plan",
        "edgeq.converters.training.distillation",
    }


@pytest.mark.parametrize("module", SOURCES)
def test_files_and_bodies_are_short(module: str) -> None:
    text = SOURCES[module].read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES or module in LONG_FILES
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
    if module.startswith(("edgeq.models", "edgeq.device_runners.agent")):
        return  # they read what ships with edgeq, and what the host has written
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
    with pytest.raises(AttributeError, match="no attribute 'convrt'"):
        edgeq.convrt  # noqa: B018


def test_the_wheel_holds_every_module_and_nothing_beside_edgeq(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"edgeq"}
    inside = {name for name in names if name.endswith(".py")}
    expected = set()
    for module, path in SOURCES.items():
        stem = module.replace(".", "/")
        expected.add(f"{stem}/__init__.py" if path.name == "__init__.py" else f"{stem}.py")
    assert inside == expected
    shipped = {"edgeq/py.typed", "edgeq/models/fmnist_cnn.keras",
               "edgeq/packaging/targets/ios/templates/Numerics.swift",
               "edgeq/packaging/targets/ios/templates/Package.swift.jinja",
               "edgeq/packaging/targets/c/templates/package.h",
               "edgeq/models/fashion_mnist_test.npz"}  # fmt: skip
    assert shipped <= set(names)
    # Templates and the like of packages for releases.
    beside = (ROOT / "edgeq/packaging").rglob("*.*")
    for path in beside:
        if path.suffix not in {".py", ".pyc", ".md"}:
            assert path.relative_to(ROOT).as_posix() in names
