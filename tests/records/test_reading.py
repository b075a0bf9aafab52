"""Records of every kind, written by the commands, read back and checked against the schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from edgeq import models, open_history
from edgeq.cli import cli
from edgeq.errors import RecordError, UsageError
from edgeq.files import storage
from edgeq.records import reading
from edgeq.records.schema import schema_text
from edgeq.values import Candidate, Issue, SchemeName
from edgeq.values.schemes import SCHEMES

ROOT = Path(__file__).resolve().parents[2]
TEST = str(models.path("fashion_mnist_test.npz"))
SCALE = ("--preprocess", "scale=1/255")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)


ALL = (*reading.KINDS, *reading.FLEET_KINDS)


@pytest.mark.parametrize("kind", ALL)
def test_what_was_written_is_what_is_read(record_files: dict[str, Path], kind: str) -> None:
    record = reading.read_record(record_files[kind])
    assert record.kind == kind
    plain = json.loads(record_files[kind].read_text())
    body = storage.to_plain(record.value)
    envelope = {"schema", "kind", "provenance", "validity", "reason_codes"}
    assert body == {key: value for key, value in plain.items() if key in body}
    assert envelope <= set(plain) <= envelope | set(body)
    assert (plain["validity"], tuple(plain["reason_codes"])) == (
        record.validity,
        record.reason_codes,
    )


def test_a_record_of_the_removed_engine_is_read_and_shown(tmp_path: Path) -> None:
    plain = json.loads((ROOT / "tests" / "gating" / "convert.json").read_text())
    plain["options"]["engine"] = plain["model"]["ranges"]["calibrator"] = "litert"
    path = tmp_path / "old.json"
    path.write_text(json.dumps(plain))
    assert reading.read_record(path).value.options.engine == "litert"
    shown = run("show", path)
    assert shown.exception is None
    assert "full integer" in shown.output
    assert "Wrote" not in shown.output  # it only reads


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_fulfils_the_schema(record_files: dict[str, Path], kind: str) -> None:
    schema = json.loads((ROOT / "edgeq" / "record.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    plain = json.loads(record_files[kind].read_text())
    assert list(validator.iter_errors(plain)) == []
    del plain["provenance"]
    assert [error.message for error in validator.iter_errors(plain)] == [
        "'provenance' is a required property"
    ]


def test_the_schema_refuses_another_type_deep_inside(record_files: dict[str, Path]) -> None:
    schema = json.loads((ROOT / "edgeq" / "record.schema.json").read_text())
    plain = json.loads(record_files["bench"].read_text())
    plain["runs"][0]["latency"]["p50_ms"] = "fast"
    (error,) = jsonschema.Draft202012Validator(schema).iter_errors(plain)
    assert list(error.absolute_path) == ["runs", 0, "latency", "p50_ms"]


def test_the_shipped_schema_is_that_of_the_classes() -> None:
    shipped = (ROOT / "edgeq" / "record.schema.json").read_text()
    assert shipped == schema_text(), "python -m edgeq.records.schema > edgeq/record.schema.json"


@pytest.mark.parametrize("kind", ALL)
def test_show_prints_any_record(record_files: dict[str, Path], kind: str) -> None:
    done = run("show", record_files[kind])
    assert done.exception is None
    head, empty, *rest = done.stdout.splitlines()
    assert head.startswith(f"{record_files[kind]}: {kind}, ") and " by edgeq " in head
    assert empty == "" and len(rest) >= 2


def test_show_prints_what_compare_printed(
    tmp_path: Path, int8_mobilenet: Path, float_file: Path
) -> None:
    given = ("compare", float_file, int8_mobilenet, "--data", TEST, "--samples", 20, *SCALE)
    first = run(*given, "--no-latency", "-o", tmp_path / "r.json").stdout
    again = run("show", tmp_path / "r.json").stdout
    assert again.split("\n", 2)[2] == first


def test_the_same_record_is_shown_once(record_files: dict[str, Path], tmp_path: Path) -> None:
    twin = tmp_path / "twin.json"
    twin.write_bytes(record_files["bench"].read_bytes())
    assert len(reading.read_all([record_files["bench"], twin, record_files["eval"]])) == 2


def broken(content: str, tmp_path: Path) -> str:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        reading.read_record(path)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(path), "R")


def test_what_is_no_record_is_said(tmp_path: Path) -> None:
    for content in ("[]", '{"a": 1}'):
        assert broken(content, tmp_path) == (
            "R is not an edgeq record: it has no schema edgeq.record/N. convert writes a record "
            "beside the model, other commands write one with -o."
        )
    assert broken('{"schema": "edgeq.rec', tmp_path) == (
        "R is not an edgeq record: it is not JSON, or is truncated (Unterminated string starting "
        "at: line 1 column 12 (char 11))."
    )
    assert broken('{"schema": "edgeq.record/9"}', tmp_path) == (
        "R has the schema edgeq.record/9, and this version of edgeq reads edgeq.record/1 and "
        "older. Upgrade edgeq: pip install -U edgeq"
    )
    assert broken('{"schema": "edgeq.record/x"}', tmp_path) == (
        "R has the unknown schema 'edgeq.record/x'."
    )
    assert broken('{"schema": "edgeq.record/1", "kind": "poem"}', tmp_path).startswith(
        "R is a record of the unknown kind 'poem'; known: convert, tune, bench, "
    )


def test_a_field_of_another_type_is_named(record_files: dict[str, Path], tmp_path: Path) -> None:
    plain = json.loads(record_files["bench"].read_text())
    plain["runs"][0]["latency"]["p50_ms"] = "fast"
    assert broken(json.dumps(plain), tmp_path) == (
        "R is not a bench record that this version of edgeq can read: Expected `float | null`, "
        "got `str` - at `$.runs[0].latency.p50_ms`. Make it again with this version, or upgrade "
        "edgeq if the record is newer."
    )
    plain = json.loads(record_files["bench"].read_text())
    del plain["facts"]
    assert "Object missing required field `facts`" in broken(json.dumps(plain), tmp_path)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("convert", "certificate.size_bytes", 0, "Expected `int` >= 1 - at `$.certificate.size_by"),
        ("convert", "model.scheme", "int7", "Expected `str` matching regex '^(int8|dynamic|fp16|"),
        (
            "convert",
            "certificate.inputs.0.zero_points",
            [],
            "scales and zero points must be equal in number",
        ),
        ("bench", "runs", [], "Expected `array` of length >= 1 - at `$.runs`"),
        (
            "bench",
            "runs.0.latencies_ms.0.0",
            "inf",
            "Expected `float` <= 1000000000.0 - at `$.runs[",
        ),
        (
            "compare",
            "quality.baseline_accuracy_percent",
            None,
            "both accuracies, their pairs and the drop must all be present or all be missing",
        ),
        ("compare", "quality.candidate_accuracy_percent", "nan", "Expected `float` >= 0.0"),
        ("compare", "metrics_baseline", [], "the two models need the same metrics"),
        (
            "gate",
            "rules.0.verdict",
            "",
            "Expected `str` matching regex '^(fail|cannot-tell|pass)$",
        ),
        ("gate", "verdict", "pass\n", "Expected `str` matching regex '^(fail|cannot-tell|pass)$"),
        ("compare", "verdict", "maybe", "Expected `str` matching regex '^(ship|check|no)$"),
        ("compare", "verdict", "ship\n", "Expected `str` matching regex '^(ship|check|no)$"),
        (
            "convert",
            "issues",
            [{"code": "bench.load", "severity": "dire", "message": "x"}],
            "Expected `str` matching regex '^(error|warning|note)$",
        ),
        ("bench", "runs.0.model.size_bytes", 1 << 63, "a whole number has more than 64 bits"),
        ("bench", "runs.0.model.size_bytes", "9" * 400, "a whole number has more than 64 bits"),
        ("profile", "pairs", [[0, 999]], "pairs must be indices of operators of"),
        ("profile", "pairs", [[-1, 0]], "pairs must be indices of operators of"),
        ("parity", "rows", [], "as many lists of samples as rows are needed"),
        ("fleet-eval", "entries.0.result", None, "a device has either a result or an error"),
    ],
)
def test_what_no_verb_writes_is_refused(
    record_files: dict[str, Path], tmp_path: Path, kind: str, path: str, value: Any, message: str
) -> None:
    plain = json.loads(record_files[kind].read_text())
    place: Any = plain
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in above:
        place = place[part]
    place[last] = value
    start = f"R is not a {kind} record that this version of edgeq can read: "
    assert broken(json.dumps(plain), tmp_path).removeprefix(start).startswith(message)


def test_the_schemes_of_records_are_those_that_convert_knows() -> None:
    (names,) = (bound.pattern for bound in SchemeName.__metadata__)
    assert names == rf"^({'|'.join(SCHEMES)})$(?!\n)"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    done = run("show", tmp_path / "none.json")
    reason = f"{tmp_path}/none.json cannot be read: No such file or directory."
    assert str(done.exception) == reason
    (tmp_path / "one.json").touch()
    done = run("show", tmp_path / "none.json")
    assert str(done.exception) == f"{reason} Did you mean '{tmp_path}/one.json'?"


def test_records_without_an_envelope_and_with_fields_of_tomorrow_are_read(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    plain = json.loads(record_files["eval"].read_text())
    for name in ("provenance", "validity", "reason_codes"):
        del plain[name]
    plain["evaluations"][0]["mood"] = "good"
    path = tmp_path / "old.json"
    path.write_text(json.dumps(plain))
    old, new = reading.read_record(path), reading.read_record(record_files["eval"])
    assert old.provenance is None
    assert (old.value, old.validity) == (new.value, new.validity)
    assert run("show", path).exception is None


def test_samples_tell_the_device_that_they_ran_on(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    compared = reading.read_record(record_files["compare"]).value
    facts = compared.bench.facts
    for value in (compared, reading.read_record(record_files["eval"]).value.evaluations[0]):
        assert (value.device, value.processor) == ("local", facts.processor)
    first = run("show", record_files["eval"]).stdout.splitlines()[2]
    assert first == f"local: {facts.processor}"
    plain = json.loads(record_files["eval"].read_text())
    for name in ("device", "processor"):  # as records were before
        del plain["evaluations"][0][name]
    (tmp_path / "old.json").write_text(json.dumps(plain))
    assert run("show", tmp_path / "old.json").stdout.splitlines()[2].startswith("model ")


def test_issues_are_found_wherever_they_are() -> None:
    doubt, note = Issue("a", "warning", "x"), Issue("b", "note", "y")
    value = {"runs": ({"issues": (doubt, note)}, Candidate("m", False, False, 1.0)), "own": [doubt]}
    assert storage.find_issues(value) == (doubt, note)


def test_the_moment_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert json.loads(storage.record_json("bench", {}))["provenance"]["created"] == (
        "1970-01-02T00:00:00Z"
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(UsageError) as caught:
        storage.record_json("bench", {})
    assert str(caught.value) == (
        "SOURCE_DATE_EPOCH must be a number of seconds since 1970, not 'soon'. Unset it."
    )


@pytest.mark.parametrize("command", ["show", "report", "history"])
def test_a_model_stands_for_the_record_beside_it(
    command: str, int8_mobilenet: Path, tmp_path: Path
) -> None:
    """Each command that takes records takes the `.tflite`, if it is the file of the record."""
    model = Path(shutil.copy(int8_mobilenet, tmp_path / "m.tflite"))
    database, page = tmp_path / "h.sqlite", tmp_path / "r.json"
    words: dict[str, tuple[object, ...]] = {
        "show": ("show", model),
        "report": ("report", model, "-o", page),
        "history": ("history", "add", model, "--database", database),
    }

    def told() -> str:
        """The message of the error, which `history add` prints for one file of several."""
        done = run(*words[command])
        assert done.exception is not None
        return done.output if command == "history" else str(done.exception)

    assert "m.tflite has no record: there is no " in told()
    record = Path(shutil.copy(f"{int8_mobilenet}.json", f"{model}.json"))
    done = run(*words[command])
    assert done.exception is None
    content = record.read_bytes()
    if command == "report":
        assert json.loads(page.read_text())["title"] == "mobilenet.tflite"
    elif command == "history":
        with open_history(database) as history:
            (entry,) = history.list().entries
            assert (history.content(entry), entry.file) == (content, str(record))
    else:
        assert done.output == run("show", record).output
    with model.open("ab") as stream:
        stream.write(b"\0")
    assert "m.tflite is not the file that " in told()


def test_a_report_does_not_replace_the_record_of_a_model(
    int8_mobilenet: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copy(int8_mobilenet, tmp_path / "m.tflite"))
    record = Path(shutil.copy(f"{int8_mobilenet}.json", f"{model}.json"))
    before = record.read_bytes()
    (tmp_path / "edgeq.toml").write_text("[policy]\nmax_size = '1 MB'\n")
    policy = ("--policy", tmp_path / "edgeq.toml")
    for words in (("report", model), ("gate", model, *policy)):
        done = run(*words, "-o", record)
        assert isinstance(done.exception, UsageError), words
    assert record.read_bytes() == before


def test_a_model_has_a_record_of_one_model(record_files: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"any")
    shutil.copy(record_files["bench"], f"{model}.json")
    with pytest.raises(RecordError, match=r"json is a record of bench, which is not about one"):
        reading.read_record(model)
