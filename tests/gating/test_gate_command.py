"""`edgeq gate` as CI calls it: exit statuses, JUnit, Markdown, and the files in docs/."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgeq
from edgeq.cli import cli
from edgeq.escaping import printable
from edgeq.gating.gate import apply_policy
from edgeq.gating.parsing import read_policy
from edgeq.gating.rules import RULES
from edgeq.records.reading import Record
from edgeq.render.gate import gate_junit, gate_markdown

ROOT = Path(__file__).resolve().parents[2]


def gate(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["gate", *map(str, arguments)], standalone_mode=False)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "edgeq.toml"
    path.write_text("[policy]\nmin_sqnr_db = 20\nmax_size = '1 MB'\n")
    return path


def test_a_model_within_its_budgets_passes(
    converted: Record, compared: Record, policy: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("gate.xml", "gate.md", "gate.json")]
    done = gate(converted.path, compared.path, "--policy", policy,
                "--junit", paths[0], "--markdown", paths[1], "-o", paths[2])  # fmt: skip
    assert done.exception is None and done.return_value == 0
    assert done.stdout.splitlines()[-1] == "PASS: Every rule is met."
    suite = ET.parse(paths[0]).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "0", "0")
    assert paths[1].read_text().startswith("### :white_check_mark: edgeq gate: pass\n")
    assert json.loads(paths[2].read_text())["kind"] == "gate"


def test_a_missed_rule_is_status_3_and_one_that_cannot_be_judged_4(
    compared: Record, policy: Path, tmp_path: Path
) -> None:
    policy.write_text("[policy]\nmin_sqnr_db = 90\nruns_on = '2.14'\n")
    done = gate(compared.path, "--policy", policy, "--junit", tmp_path / "g.xml")
    assert done.return_value == 3
    failure, skipped = ET.parse(tmp_path / "g.xml").getroot()
    assert failure.find("failure") is not None and skipped.find("skipped") is not None
    assert f"    {compared.path}: $.quality.outputs[0].sqnr_db" in done.stdout.splitlines()
    policy.write_text("[policy]\nruns_on = '2.14'\n")
    assert gate(compared.path, "--policy", policy).return_value == 4


def test_what_is_no_record_is_status_4(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"schema": "edgeq.rec')
    done = gate(tmp_path / "r.json", "--policy", policy)
    assert done.exception.exit_code == 4
    assert "is not JSON, or is truncated" in str(done.exception)


def test_a_model_stands_for_the_record_beside_it(int8_mobilenet: Path, tmp_path: Path) -> None:
    """If the record is about the file as it is now."""
    model = Path(shutil.copy(int8_mobilenet, tmp_path / "m.tflite"))
    policy = tmp_path / "edgeq.toml"
    policy.write_text("[policy]\nmax_size = '1 MB'\n")
    missing = gate(model, "--policy", policy)
    assert missing.exception.exit_code == 4 and "m.tflite has no record" in str(missing.exception)
    shutil.copy(f"{int8_mobilenet}.json", tmp_path / "m.tflite.json")
    assert gate(model, "--policy", policy).return_value == 0
    with model.open("ab") as stream:
        stream.write(b"\0")
    changed = gate(model, "--policy", policy)
    assert changed.exception.exit_code == 4
    assert f"{model} is not the file that {model}.json is about" in str(changed.exception)
    model.unlink()
    assert f"{model} does not exist." in str(gate(model, "--policy", policy).exception)


def test_the_summary_begins_with_what_decides(compared: Record, policy: Path) -> None:
    policy.write_text("[policy]\nmax_size = '1 MB'\nruns_on = '2.14'\nmin_sqnr_db = 90\n")
    result = apply_policy(read_policy(policy), [compared])
    lines = gate_markdown(result).splitlines()
    assert lines[0] == "### :x: edgeq gate: fail"
    assert lines[2].startswith(
        "A rule is missed: this model does not ship. min\\_sqnr\\_db decides."
    )
    marks = [line.split(" | ")[0] for line in lines[6:]]
    assert marks == ["| :x:", "| :grey_question:", "| :white_check_mark:"]


def test_an_output_does_not_replace_a_record(compared: Record, policy: Path) -> None:
    before = Path(compared.path).read_bytes()
    done = gate(compared.path, "--policy", policy, "--markdown", compared.path)
    assert done.exception.exit_code == 2
    assert Path(compared.path).read_bytes() == before


def test_python_callers_have_the_same_function(compared: Record, policy: Path) -> None:
    result = edgeq.gate([compared.path], policy)
    assert (result.verdict, [rule.rule for rule in result.rules]) == (
        "pass",
        ["min_sqnr_db", "max_size"],
    )


def test_a_line_names_the_record_and_is_left_whole(compared: Record, policy: Path) -> None:
    lines = gate(compared.path, "--policy", policy).stdout.splitlines()
    assert lines[2].split() == ["rule", "figure", "(95", "%", "interval)", "limit", "from"]
    assert lines[3].startswith("PASS  min_sqnr_db  ")
    assert lines[3].endswith(f"  at least 20 dB  {compared.path}")


def test_hostile_names_stay_text(compared: Record, policy: Path) -> None:
    value = compared.value
    name = 'a|b`<img src=x onerror=alert(1)>`@team\n# *x* \x01"]]>&.tflite'
    hostile = replace(value, candidate=replace(value.candidate, path=name))
    result = apply_policy(read_policy(policy), [replace(compared, value=hostile)])
    text = gate_markdown(result)
    assert "<img" not in text and "@team" not in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 3
    case = next(iter(ET.fromstring(gate_junit(result))))
    assert case.get("classname") == printable(name)


def test_the_rules_of_the_page_are_those_of_the_table() -> None:
    tables = {"": "[policy]", "devices": "[policy.devices.NAME]", "any": "either",
              "metrics": "[policy.metrics.NAME]",
              "regression": "[policy.regression]"}  # fmt: skip
    page = (ROOT / "docs" / "gate.md").read_text()
    rows = re.findall(r"^\| (\S+) \| `(\w+)` \| `(.+?)` \| (.+) \|$", page, re.M)
    assert [(row[0].strip("`"), *row[1:]) for row in rows] == [
        (tables[rule.place], rule.key, rule.example, rule.meaning) for rule in RULES.values()
    ]


def test_the_policy_of_the_page_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "gate.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "edgeq.toml").write_text(block)
    assert len(read_policy(tmp_path / "edgeq.toml").limits) == 13
