"""`verify`, with its child: what it concludes, and that interpreter and key are those named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import UnjudgedPackageError
from edgeq.packaging.container import writing
from edgeq.packaging.verification.answers import Answerer
from edgeq.packaging.verification.checks import Check
from edgeq.packaging.verification.verify import Verification, verify_package
from tests.packaging.test_verify import find
from tests.packaging.verification.test_all_checks import (
    PUBLIC_KEY,
    SOUND,
    Files,
    make_files,
    signed,
    words,
)


def concluded(manifest: Any, **checks: str) -> tuple[str, bool, str]:
    named = tuple(Check(name, verdict, ("told",)) for name, verdict in checks.items())
    result = Verification("p", manifest, named)
    return result.verdict, result.is_sound, result.conclusion


@pytest.mark.parametrize(
    ("checks", "verdict", "conclusion"),
    [
        ({"files": "pass", "signature": "pass", "measured": "pass"}, "pass",
         "p is what was measured."),
        ({"files": "pass", "signature": "pass", "measured": "skipped", "gate": "skipped"}, "pass",
         "p is what its signer packaged. Skipped: measured, gate."),
        ({"files": "fail", "signature": "skipped", "model": "fail", "code": "cannot-tell"}, "fail",
         "do not ship p: files, model failed."),
        ({"files": "pass", "code": "cannot-tell", "gate": "skipped"}, "cannot-tell",
         "nothing failed in p, but not judged: code."),
        ({"files": "pass", "signature": "skipped"}, "pass",
         "p is consistent; its signature was not checked with a --public-key, so anybody can "
         "have made it."),
    ],
)  # fmt: skip
def test_the_worst_check_decides(checks: dict[str, str], verdict: str, conclusion: str) -> None:
    assert concluded(None, **checks) == (verdict, verdict == "pass", conclusion)


@pytest.mark.parametrize("before", ["a check before", "zz"])
@pytest.mark.parametrize(
    ("detail", "why"),
    [
        ("not signed", "it is unsigned"),
        ("a key", "its signature was not checked with a --public-key"),
        ("signed by x", "its signature was not checked with a --public-key"),
    ],
)
def test_who_signed_and_what_is_open_is_told(before: str, detail: str, why: str) -> None:
    checks = (
        Check(before, "skipped", ("a",)),
        Check("signature", "skipped", (detail,)),
        Check("zeta", "skipped", ("z",)),
    )
    assert Verification("p", None, checks).conclusion == (  # type: ignore[arg-type]
        f"p is consistent; {why}, so anybody can have made it. Skipped: {before}, zeta."
    )


# ---------------------------------------------------------------- through the child


@pytest.fixture
def verify(tmp_path: Path) -> Any:
    def run(content: Files, **given: Any) -> Verification:
        writing.write_package(content, tmp_path / "package")
        return verify_package(tmp_path / "package", **given)

    return run


def test_a_sound_package_runs_here(verify: Any, tmp_path: Path) -> None:
    result = verify(make_files(tmp_path, is_signed=False))
    assert words(result) == [*SOUND, ("golden vectors on local", "pass")]
    assert result.checks[-1].detail == ("3 of 3 within tolerance, 3 exact",)
    assert result.conclusion == (
        f"{result.path} is consistent; it is unsigned, so anybody can have made it. "
        "Skipped: measured, gate."
    )


def test_what_is_not_to_run_does_not(verify: Any, tmp_path: Path) -> None:
    content = make_files(tmp_path, is_signed=False)
    assert verify(content, runs=False).checks[-1].verdict == "skipped"


def test_interpreter_and_key_are_those_named(verify: Any, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(PUBLIC_KEY)
    content = signed(make_files(tmp_path, is_signed=True))
    result = verify(content, python=tmp_path / "no-python", public_key=tmp_path / "key.pem")
    assert find(result, "signature").verdict == "pass"
    assert result.checks[-1].verdict == "cannot-tell"
    assert "no-python" in result.checks[-1].detail[0]


def test_the_interpreter_is_for_this_machine_alone(
    verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(name: str, python: Path | None = None) -> Any:
        asked.append((name, python))
        return resolve_device("local")

    monkeypatch.setattr("edgeq.device_runners.devices.addresses.resolve_device", resolve)
    names = ("adb", "local", "pi@board")
    content = make_files(tmp_path, is_signed=False)
    verify(content, devices=names, python=Path("python"), runs=False)
    assert asked == [("adb", None), ("local", Path("python")), ("pi@board", None)]


def test_an_answer_that_makes_no_sense_is_no_verdict(
    verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(self: Answerer, told: Any) -> Any:
        raise ValueError("nonsense")

    monkeypatch.setattr(Answerer, "answer", answer)
    with pytest.raises(UnjudgedPackageError, match="sends invalid data"):
        verify(make_files(tmp_path, is_signed=False))


def test_what_is_not_there_is_not_judged(tmp_path: Path) -> None:
    with pytest.raises(UnjudgedPackageError):
        verify_package(tmp_path / "none")
