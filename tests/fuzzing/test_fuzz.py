"""A few damaged files of each kind, hostile models and kills; `scripts/fuzz` does many."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import make_once
from tests.fuzzing import hostile, samples
from tests.fuzzing.driving import Outcome, Session, add_events, run_batch, run_kind
from tests.fuzzing.kills import JOBS, run_kills
from tests.fuzzing.kinds import KINDS, RECORDS, damaged

if shutil.which("strace") is None:
    pytest.skip("strace is not installed", allow_module_level=True)

EACH = 2
_OWN = [kind.name for kind in KINDS.values() if not kind.is_framework and kind.needs is None]
_RECORDS = [f"record-{kind}" for kind in RECORDS]
# Packages whose sample is there only if this program is.
_TOOLS = {"package-c": "EDGEQ_TFLITE_MICRO_PYTHON", "package-aar": "javac"}
_PACKAGES = [name for name in _OWN if name.startswith("package") and name not in _TOOLS]
GROUPS = {
    "records": _RECORDS,
    "packages": _PACKAGES,
    "rest": [name for name in _OWN if name not in (*_RECORDS, *_PACKAGES, *_TOOLS)],
    **{name: [name] for name in _TOOLS},
}
# What one child of a framework opens.
FRAMEWORKS = {
    "tensorflow": ("keras", "h5", "legacy-h5", "saved-model"),
    "torch": ("pt2",),
    "onnx": ("onnx",),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, record_files: dict[str, Path]) -> Path:
    """A folder with the sound files in `samples` and what must not be touched in `outside`."""

    def make(folder: Path) -> None:
        (folder / "samples").mkdir()
        samples.make(folder / "samples", folder / "outside", record_files)

    return make_once(tmp_path_factory, "fuzz", make)


def found(outcomes: Sequence[Outcome], session: Session) -> list[str]:
    """What counts, in a form that tells the case."""
    events = session.close()
    for outcome in outcomes:
        add_events(outcome, events)
    return [
        f"{item.case}: {item.check}: {item.text}"
        for outcome in outcomes
        for item in outcome.findings
        if not item.is_denied
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files_do_no_harm(group: str, made: Path, tmp_path: Path) -> None:
    tool = _TOOLS.get(group)
    if tool is not None and tool not in os.environ and shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing, which makes the sample")
    with Session(tmp_path, made / "outside" / "canary") as session:
        outcomes = [
            # Two commands of each kind, others of the next: records all have the same six.
            run_kind(KINDS[name], session, made / "samples", each=EACH, seed=0, first=EACH * place)
            for place, name in enumerate(GROUPS[group])
        ]
        assert found(outcomes, session) == []
    assert all(outcome.cases == EACH for outcome in outcomes)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_damaged_and_hostile_models_do_no_harm(framework: str, made: Path, tmp_path: Path) -> None:
    """One child opens them all, because its start takes longer than what it does."""
    if framework in samples.PYTHONS and samples.PYTHONS[framework] not in os.environ:
        pytest.skip(f"{samples.PYTHONS[framework]} names no Python with it")
    files: dict[str, Mapping[str, bytes]] = {
        f"{kind}-{number}": damaged(KINDS[kind], made / "samples", 0, number)[0]
        for kind in FRAMEWORKS[framework]
        for number in range(EACH)
    }
    wanted = None if framework == "tensorflow" else framework
    models = [item for item in hostile.every(made / "samples", made / "outside")
              if item.needs == wanted and not item.name.startswith("tflite")]  # fmt: skip
    files |= {f"hostile-{item.name}": item.make() for item in hostile.choose(models, EACH, 0)}
    outcome = Outcome("models")
    with Session(tmp_path, made / "outside" / "canary") as session:
        run_batch(outcome, session, framework, files, 2 << 20)
        assert found([outcome], session) == []
    assert outcome.cases == len(files)


@pytest.mark.timeout(900)
def test_after_a_kill_the_next_run_leaves_nothing(made: Path, tmp_path: Path) -> None:
    quick = [job for job in JOBS if job.name in ("package", "history")]
    with Session(tmp_path, made / "outside" / "canary") as session:
        outcome = run_kills(session, made / "samples", count=EACH, seed=0, jobs=quick)
        assert found([outcome], session) == []
