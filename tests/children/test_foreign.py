"""A confined child that opens a foreign file: its end, and the messages that it can send."""

from __future__ import annotations

import os
import select
from pathlib import Path

import msgspec
import pytest

from edgeq.children import foreign, sandbox
from edgeq.errors import DataError, EdgeqError, UnjudgedPackageError


class Number(msgspec.Struct, frozen=True, tag=True):
    value: int
    text: str
    content: bytes


def ask(tmp_path: Path, code: str) -> Number:
    """The answer of a child with this code about the file `x`."""
    script = tmp_path / "child.py"
    script.write_text(
        "import os, signal, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from edgeq import errors\n"
        "from edgeq.children import foreign, sandbox\n"
        "sandbox.confine_as_planned()\n"
        f"{code}\n"
    )
    with foreign.Reader(str(script), Path("x"), UnjudgedPackageError) as child:
        found = child.receive(Number)
    assert isinstance(found, Number)
    return found


TELL = "print('{}', flush=True)\n".format


def test_a_value_arrives_as_it_was(tmp_path: Path) -> None:
    """Also integers that no machine has, and file names that are not text."""
    value = Number(10**30, "half \udcff", bytes(range(256)))
    code = (
        "import msgspec\n"
        "class Number(msgspec.Struct, tag=True):\n"
        "    value: int\n    text: str\n    content: bytes\n"
        "with foreign.to_parent() as parent:\n"
        f"    print('of a library'); parent.send({value!r})"
    )
    assert ask(tmp_path, code) == value


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV."),
        ("os.kill(os.getpid(), 40)", "was killed by signal 40."),
        ("sys.exit(3)", "ended with status 3."),
        ("raise KeyError('unforeseen')", "ended with status 1."),
        # It closes its end and lives on.
        ("os.close(1); time.sleep(600)", "was killed by SIGKILL."),
        (TELL("nonsense"), "sends invalid data."),
        (TELL("[" * 100_000), "sends invalid data."),
        (TELL('{"type": "Other"}'), "sends invalid data."),
        (TELL('{"type": "Number", "value": "1", "text": "", "content": ""}'),
         "sends invalid data."),
        (TELL('{"type": "Number", "value": 1, "text": "", "content": "?"}'),
         "sends invalid data."),
        (TELL('{"type": "Failed", "kind": "SystemExit", "message": "m", "hint": null, '
              '"details": null}'), "sends invalid data."),
        (TELL('{"type": "Failed", "kind": "annotations", "message": "m", "hint": null, '
              '"details": null}'), "sends invalid data."),
    ],
)  # fmt: skip
def test_a_child_that_dies_or_tells_nonsense(tmp_path: Path, code: str, end: str) -> None:
    with pytest.raises(UnjudgedPackageError) as caught:
        ask(tmp_path, code)
    assert caught.value.message == f"The process that reads x {end}"
    assert caught.value.hint is not None and caught.value.hint.startswith(
        "Run it again; if it happens"
    )
    if "unforeseen" in code:
        assert "KeyError: 'unforeseen'" in str(caught.value.details)


def test_an_error_arrives_as_it_was(tmp_path: Path) -> None:
    code = (
        "with foreign.to_parent():\n    raise errors.DataError('no \\udcff', hint='h', details='d')"
    )
    with pytest.raises(DataError) as caught:
        ask(tmp_path, code)
    error = caught.value
    assert (error.message, error.hint, error.details) == ("no \udcff", "h", "d")


@pytest.mark.skipif(bool(sandbox.missing()), reason="; ".join(sandbox.missing()))
@pytest.mark.parametrize("deed", ["Path({out!r}).write_text('x')", "subprocess.run(['true'])"])
def test_what_a_child_tries_is_refused(tmp_path: Path, deed: str) -> None:
    """`test_sandbox.py` tries everything else."""
    out = str(tmp_path / "out")
    code = (
        f"Path(os.environ['TMPDIR'], 'own').write_text('x')\n"
        f"with foreign.to_parent():\n    try:\n        {deed.format(out=out)}\n"
        "    except PermissionError as error:\n        raise errors.DataError('refused')"
    )
    with pytest.raises(DataError, match="refused"):
        ask(tmp_path, code)
    assert not Path(out).exists()


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    with (
        pytest.raises(KeyboardInterrupt),
        foreign.Reader(str(script), Path("x"), EdgeqError) as child,
    ):
        handle = os.pidfd_open(child.receive(int))
        raise KeyboardInterrupt
    assert select.select([handle], [], [], 0)[0], "the child still runs"
    os.close(handle)


def test_a_child_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(UnjudgedPackageError) as caught:
        foreign.Reader("edgeq.packaging.verification.all_checks", Path("x"), UnjudgedPackageError)
    assert caught.value.message == (
        f"The folder for temporary files, {tmp_path / 'gone'}, cannot be used: "
        "No such file or directory."
    )
