"""The table of issue codes and the verdict it gives."""

from pathlib import Path

import pytest

from edgeq.issues import ISSUE_KINDS, judge, make_issue
from edgeq.values import Issue


def test_severity_comes_from_the_table():
    issue = make_issue("data.not_finite", "Input 'x' holds NaN.")
    assert issue == Issue("data.not_finite", "error", "Input 'x' holds NaN.")


def test_unknown_code_is_refused_and_lists_the_known():
    with pytest.raises(ValueError, match=r"^Issue code 'data.odd' is not in the table: data.empty"):
        make_issue("data.odd", "Odd.")


def test_every_kind_has_a_known_severity_and_a_room():
    assert {kind.severity for kind in ISSUE_KINDS.values()} == {"error", "warning", "note"}
    assert {code.split(".")[0] for code in ISSUE_KINDS} <= {
        "data",
        "eval",
        "compare",
        "bench",
        "doctor",
        "profile",
        "convert",
        "tune",
    }


@pytest.mark.parametrize("code", [code for code in ISSUE_KINDS if code[:2] in ("be", "do")])
def test_every_code_of_bench_and_doctor_is_explained(code):
    page = Path(__file__).resolve().parents[1] / "docs" / "measuring.md"
    severity = ISSUE_KINDS[code].severity
    assert f"| `{code}` | {severity} |" in page.read_text()


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ((), "valid"),
        (("data.reshaped",), "valid"),
        (("data.reshaped", "bench.noisy"), "degraded"),
        (("bench.noisy", "data.not_finite"), "invalid"),
    ],
)
def test_worst_severity_decides(codes, verdict):
    assert judge(make_issue(code, "Said.") for code in codes) == verdict


def test_severity_that_contradicts_the_table_is_refused():
    with pytest.raises(ValueError, match=r"^Issue 'bench.noisy' cannot have severity 'note'\.$"):
        judge([Issue("bench.noisy", "note", "Said.")])
