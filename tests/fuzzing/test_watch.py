"""Each check of the fuzzer finds what it is for: planted, and seen from outside."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fuzzing import driving, hostile, truth
from tests.fuzzing.driving import Session, judge
from tests.fuzzing.watch import Event, Watcher, read_calls

if shutil.which("strace") is None:
    pytest.skip("strace is not installed", allow_module_level=True)

SCRIPTS = {
    "sound": ("import sys", []),
    "program": ("import os; os.system('true')", ["program"]),
    "own-program": (
        "import edgeq.children.child as c; c.Child(['edgeq.nothing'], folders=None).wait()",
        [],
    ),
    "like-it": (
        "import os, sys; os.execv(sys.executable, ['python', '/x/entry.py', '{}', 'edgeq.x'])",
        ["program"],
    ),
    "file": ("open(OUT + '/new', 'w')", ["file"]),
    "relative": ("import os; os.chdir('..'); os.mkdir('../../beside')", ["file"]),
    "link": ("import os; os.symlink('/', OUT + '/link')", ["file"]),
    "through-link": ("import os; os.symlink(OUT, 'l'); open('l/through', 'w')", ["file"]),
    "rename": ("import os; open('a', 'w'); os.rename('a', OUT + '/renamed')", ["file"]),
    "remove": ("import os; os.unlink(OUT + '/there')", ["file"]),
    "child": ("import os; os.fork() or open(OUT + '/child', 'w')", ["file"]),
    "thread": (
        "import threading as t; t.Thread(target=open, args=(OUT + '/t', 'w')).start()",
        ["file"],
    ),
    "socket": ("import socket; socket.socket()", ["socket"]),
    "read": ("open(OUT + '/canary').read()", ["read"]),
    "inside": (
        "import os; open('a', 'w'); os.mkdir('b'); open(os.environ['TMPDIR'] + '/c', 'w')",
        [],
    ),
    "missing": ("import os; os.path.exists(OUT + '/x') or open('/nowhere/x', 'a')", []),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "outside").mkdir()
    for name in ("canary", "there"):
        (folder / "outside" / name).write_text(name)
    return folder


def run_script(
    session: Session, work: Path, name: str, script: str, **given: Any
) -> dict[str, Any]:
    session.write(name, {})
    text = f"OUT = {str(work / 'outside')!r}; {script}"
    program = [sys.executable, "-c", text]
    return session.run(name, [], program=program, **{"deadline_s": 30.0, **given})


@pytest.fixture(scope="module")
def seen(work: Path) -> dict[str, list[Event]]:
    """What strace told of every script, all in one session, one after another."""
    session = Session(work, work / "outside" / "canary")
    for name, (script, _) in SCRIPTS.items():
        run_script(session, work, name, script)
    return session.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_process_does_outside_is_seen(name: str, seen: dict[str, list[Event]]) -> None:
    # The interpreter itself is a program that edgeq never starts so.
    found = [event for event in seen.get(name, []) if " -c OUT =" not in event.text]
    assert {event.kind for event in found} == set(SCRIPTS[name][1])
    assert not any(event.is_denied for event in found)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("judged")
    with Session(folder, folder / "canary") as opened:
        yield opened


@pytest.mark.parametrize(
    ("script", "checks", "given"),
    [
        ("pass", [], {}),
        ("raise ValueError('x')", ["traceback"], {}),
        ("import os; os.kill(os.getpid(), 11)", ["status"], {}),
        ("import sys; sys.exit(1)", ["silence"], {}),
        ("import sys; sys.exit('said')", [], {}),
        ("import time; time.sleep(60)", ["late"], {"deadline_s": 0.2}),
        ("import os; os.fork() or __import__('time').sleep(60)", ["left"], {}),
        ("import os; os.fork() or (os.setsid(), __import__('time').sleep(60))", ["left"], {}),
        ("open('.out.tflite.x.tmp', 'w')", ["left"], {}),
        ("import os; os.mkdir(os.environ['TMPDIR'] + '/edgeq-1')", ["left"], {}),
    ],
)
def test_what_a_command_leaves_and_says_is_judged(
    script: str,
    checks: Sequence[str],
    given: dict[str, Any],
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    case = f"case{abs(hash(request.node.name))}"
    done = run_script(session, session.folder(""), case, script, **given)
    assert [item.check for item in judge(case, session.folder(case), done, None)] == list(checks)


def test_memory_is_that_of_the_whole_tree(session: Session) -> None:
    script = (
        "import os, time\nx = bytearray(100 << 20)\nx[::4096] = b'a' * len(x[::4096])\n"
        "if os.fork() == 0: x[::4096] = b'b' * len(x[::4096]); time.sleep(0.4)\n"
        "else: os.wait()"
    )
    done = run_script(session, session.folder(""), "memory", f"exec({script!r})")
    assert done["peak_kb"] > 200 << 10
    most = done["peak_kb"] - driving.MOST_ABOVE_SOUND_KB
    assert [item.check for item in judge("memory", session.folder("memory"), done, most - 1)] == [
        "memory"
    ]
    assert judge("memory", session.folder("memory"), done, most) == []


def test_a_kill_ends_the_command_alone(session: Session) -> None:
    script = "import os, time; os.fork(); time.sleep(60)"
    for moment in (0.3, 3.0, 30.0):  # on a busy machine Python takes longer to come to its fork
        done = run_script(
            session,
            session.folder(""),
            f"kill-{moment}",
            script,
            kill_after_s=moment,
            deadline_s=60,
        )
        if done["left"]:
            break
    assert (done["status"], done["is_killed"], len(done["left"])) == (-9, True, 1)


def test_a_denied_attempt_is_told_and_does_not_count() -> None:
    lines = [
        '1 openat(AT_FDCWD</>, "/server", O_RDONLY) = 3</server>',
        '7 openat(AT_FDCWD</>, "/edgeq-fuzz-case/a", O_RDONLY) = -1 ENOENT (No such file)',
        '7 openat(AT_FDCWD</>, "/etc/x", O_WRONLY|O_CREAT, 0666 <unfinished ...>',
        '8 openat(AT_FDCWD</>, "/etc/y", O_WRONLY|O_CREAT, 0666) = 3</etc/y>',
        "7 <... openat resumed>) = -1 EACCES (Permission denied)",
        "1 vfork() = 7",
        "7 clone(child_stack=NULL) = 8",  # told behind what the child has done
        "8 +++ exited with 0 +++",
        "7 fork() = 8",
        '8 openat(AT_FDCWD</>, "/etc/z", O_WRONLY|O_CREAT, 0666) = 3</etc/z>',
    ]
    assert [call.error for call in read_calls(lines)][:4] == [None, "ENOENT", None, "EACCES"]
    events = Watcher(Path("/cases"), Path("/canary")).sort(lines)
    assert [(event.text, event.is_denied) for event in events["a"]] == [
        ("open for writing /etc/x", True),
        ("open for writing /etc/y", False),
        ("open for writing /etc/z", False),
    ]
    assert list(events) == ["a"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda record: None, 0),
        (lambda record: record["certificate"]["inputs"][0].update(dtype="uint8"), 1),
        (lambda record: record["certificate"]["outputs"][0].update(zero_points=[3]), 1),
        (lambda record: record["certificate"]["operators"].pop(), 1),
        (lambda record: record["certificate"].update(quantize_ops=1), 1),
        (lambda record: record["certificate"].update(size_bytes=5), 1),
        (lambda record: record["certificate"].update(custom_ops=["x"]), 1),
    ],
)
def test_a_certificate_that_lies_is_found(change: Any, found: int, int8_mobilenet: Path) -> None:
    record = json.loads(Path(f"{int8_mobilenet}.json").read_text())
    change(record)
    assert len(truth.check_certificate(int8_mobilenet.read_bytes(), record["certificate"])) == found


def test_a_float_file_that_is_certified_int8_is_found(
    int8_mobilenet: Path, float_file: Path
) -> None:
    record = json.loads(Path(f"{int8_mobilenet}.json").read_text())
    found = truth.check_certificate(float_file.read_bytes(), record["certificate"])
    assert "it has operators on floats, and the certificate tells of none" in found


def test_a_digest_that_lies_is_found(int8_mobilenet: Path) -> None:
    record = json.loads(Path(f"{int8_mobilenet}.json").read_text())
    assert truth.check_file(int8_mobilenet, record["model"]["file"]) == []
    assert (
        len(truth.check_file(int8_mobilenet, {**record["model"]["file"], "sha256": "0" * 64})) == 1
    )


def test_hostile_models_of_each_kind_are_chosen() -> None:
    models = [
        hostile.Hostile(f"{kind}-{number}", dict, ()) for kind in "abc" for number in range(9)
    ]
    chosen = hostile.choose(models, 7, 0)
    assert len({item.name for item in chosen}) == 7
    assert {item.name[0] for item in chosen} == {"a", "b", "c"}
    assert chosen == hostile.choose(models, 7, 0) != hostile.choose(models, 7, 1)
