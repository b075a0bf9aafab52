"""The gate's JUnit XML, held against the schema of what CI systems read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import xmlschema

from edgeq.gating.gate import apply_policy
from edgeq.gating.parsing import read_policy
from edgeq.records.reading import Record
from edgeq.render.gate import gate_junit

HOSTILE = 'a|b`<img src=x onerror=alert(1)>`@team\n# *x* \x01"]]>&\ud800.tflite'

# Policy, and how many of its rules are missed and cannot be judged.
POLICIES = {
    "kept": ("min_sqnr_db = 20", 0, 0),
    "missed": ('max_size = "1 kB"', 1, 0),
    "unknown": ('runs_on = "2.14"', 0, 1),
    "all three": ('min_sqnr_db = 20\nmax_size = "1 kB"\nruns_on = "2.14"\nmax_float_islands = 0',
                  1, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def written(record: Record, policy: str, folder: Path) -> str:
    path = folder / "edgeq.toml"
    path.write_text(f"[policy]\n{policy}\n")
    return gate_junit(apply_policy(read_policy(path), [record]))


@pytest.mark.parametrize("name", [None, HOSTILE], ids=["plain name", "hostile name"])
@pytest.mark.parametrize(("policy", "failures", "skipped"), POLICIES.values(), ids=POLICIES)
def test_each_verdict_is_valid(
    schema: xmlschema.XMLSchema, compared: Record, tmp_path: Path, policy: str, failures: int,
    skipped: int, name: str | None,
) -> None:  # fmt: skip
    value = compared.value
    candidate = replace(value.candidate, path=name or value.candidate.path)
    record = replace(compared, value=replace(value, candidate=candidate))
    text = written(record, policy, tmp_path)
    schema.validate(text)
    suite = ET.fromstring(text)
    # A schema cannot count, and CI systems believe what stands there.
    assert int(suite.get("tests", "")) == len(suite) == len(policy.splitlines())
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure")) == failures
    assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped")) == skipped


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('tests="1"', ""),
        ('tests="1"', 'tests="one"'),
        ('time="0"', 'time="1e-3"'),
        ("<testcase ", '<testcase verdict="fail" '),
        ("system-out>", "system-log>"),
        ('type="edgeq.gate"', ""),
        ("<system-out>", "<skipped message='x' /><system-out>"),
    ],
)
def test_what_a_reader_would_misread_is_refused(
    schema: xmlschema.XMLSchema, compared: Record, tmp_path: Path, before: str, after: str
) -> None:
    text = written(compared, 'max_size = "1 kB"', tmp_path)
    assert before in text
    assert not schema.is_valid(text.replace(before, after))
