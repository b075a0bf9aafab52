"""`edgeq history`, typed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeq.cli import cli
from edgeq.cli.commands.history import parse_since
from edgeq.errors import EdgeqError, UsageError
from edgeq.history import find_place
from edgeq.issues import make_issue
from edgeq.values import BenchResult
from tests.history.conftest import COMPARE, EVAL, bench_result, edgeq, write_bench


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "h.sqlite"
    monkeypatch.setenv("EDGEQ_HISTORY", str(path))
    return path


def run(*arguments: object, status: int = 0) -> str:
    """In this process, which is faster; what `main` does with errors is tested apart."""
    done = CliRunner().invoke(cli, ["history", *map(str, arguments)])
    if isinstance(done.exception, EdgeqError):
        assert done.exception.exit_code == status
        return str(done.exception)
    assert done.exit_code == status, done.output
    return done.output


def test_add_list_show(database: Path) -> None:
    added = run("add", EVAL, COMPARE, "--tag", "v1.2", "--commit", "0123456789abcdef")
    assert added.splitlines()[-1] == f"2 added: {database} (named by EDGEQ_HISTORY)"
    again = run("add", COMPARE)
    assert again.splitlines() == [
        f"known      2  5e9047b  compare        {COMPARE}",
        f"0 added, 1 known already: {database} (named by EDGEQ_HISTORY)",
    ]
    head, empty, titles, *rows = run("list").splitlines()
    assert (head, empty) == (f"{database} (named by EDGEQ_HISTORY): 2 records", "")
    assert titles.split() == [
        "no.", "id", "made", "(UTC)", "kind", "model", "drop", "accuracy", "SQNR", "size",
        "commit", "tags",
    ]  # fmt: skip
    assert rows[0].split() == [
        "2", "5e9047b", "2026-10-27", "11:20", "compare", "mobilenet.tflite", "+0.00", "94.00",
        "%", "37.9", "dB", "83.6", "kB", "0123456", "v1.2",
    ]  # fmt: skip
    shown = CliRunner().invoke(cli, ["show", str(COMPARE)]).output
    assert run("show", 2) == shown
    assert run("show", "5e9047b", "--json").encode() == COMPARE.read_bytes()


def test_json_of_each_answer(database: Path, tmp_path: Path) -> None:
    first = write_bench(tmp_path / "1.json", bench_result(2.0, fp32=4.0))
    second = write_bench(tmp_path / "2.json", bench_result(3.0, fp32=4.0))
    added = json.loads(run("add", first, second, "--json"))
    assert [item["number"] for item in added["additions"]] == [1, 2]
    listed = json.loads(run("list", "--json", "--last", 1))
    assert (listed["schema"], listed["total"], listed["matching"]) == ("edgeq.history/1", 2, 2)
    assert (listed["records"][0]["latency_p50_ms"], listed["records"][0]["tags"]) == (3.0, [])
    trend = json.loads(run("trend", "p50", "--json", "--model", "net.tflite"))["trend"]
    assert [point["value"] for point in trend["series"][0]["points"]] == [2.0, 3.0]
    diff = json.loads(run("diff", 1, 2, "--json"))["diff"]
    assert {"size", "p50", "p90", "speed-up", "peak-memory"} == {
        change["metric"] for change in diff["changes"]
    }
    assert json.loads(run("check", "--json"))["check"]["problems"] == []


def test_trend_and_diff_as_text(database: Path, tmp_path: Path) -> None:
    for number, p50 in enumerate((2.0, 3.0, 2.5), 1):
        record = write_bench(tmp_path / "r.json", bench_result(p50), f"2026-11-0{number}T10:00:00Z")
        run("add", record, "--tag", f"v{number}")
    lines = [line.rstrip() for line in run("trend", "p50").splitlines()]
    assert lines[0] == "latency p50, lower is better"
    assert lines[2] == "build/net.tflite"
    assert lines[3].startswith("device pi4, processor Cortex-A72, runtime ai-edge-litert 2.3.0, ")
    assert lines[4] == "▁█▅"
    assert lines[7].split() == [
        "2", "2026-11-02", "10:00", "3.00", "ms", "2.90", "ms", "to", "3.10", "ms", "+1.00", "ms",
        "v2",
    ]  # fmt: skip
    diff = run("diff", 1, 2)
    (p50,) = (line.split() for line in diff.splitlines() if line.startswith("latency p50"))
    assert p50[2:] == ["2.00", "ms", "3.00", "ms", "+1.00", "ms", "(+50.0", "%)", "worse"]


def verdicts(database: Path, tmp_path: Path, *results: BenchResult) -> dict[str, str]:
    """What `diff` prints of the latencies of two results, from the change on."""
    run("add", *(write_bench(tmp_path / f"{number}.json", result)
                 for number, result in enumerate(results)))  # fmt: skip
    lines = [" ".join(line.split()) for line in run("diff", 1, 2).splitlines()]
    return {line[:11]: line[12:] for line in lines if line.startswith("latency p")}


@pytest.mark.parametrize(
    ("p50", "half_width", "shown"),
    [
        (2.04, 0.001, "2.00 ms 2.04 ms +0.0400 ms (+2.0 %) not proven"),  # 2 % between two runs
        (2.05, 0.001, "2.00 ms 2.05 ms +0.0500 ms (+2.5 %) worse"),
        (1.9, 0.05, "2.00 ms 1.90 ms -0.100 ms (-5.0 %) not proven"),
        (1.9, 0.001, "2.00 ms 1.90 ms -0.100 ms (-5.0 %) better"),
        (1.9999, 0.001, "2.00 ms 2.00 ms -0.0001000 ms (below 0.1 %) not proven"),
    ],
)
def test_two_benches_of_one_file_are_not_better_or_worse_within_their_intervals(
    database: Path, tmp_path: Path, p50: float, half_width: float, shown: str
) -> None:
    before = bench_result(2.0, half_width=half_width)
    after = bench_result(p50, half_width=half_width)
    assert verdicts(database, tmp_path, before, after)["latency p50"] == shown


def test_a_record_of_one_process_is_known_to_10_per_cent_more(
    database: Path, tmp_path: Path
) -> None:
    """As edgeq 0.1 measured: p90 was "21.1 % worse" in two benches of one file."""
    old, near, far = (bench_result(p50, half_width=0.0) for p50 in (3.0, 3.4, 3.8))
    old = replace(old, runs=tuple(
        replace(run, rounds=(), latencies_ms=(),
                latency=replace(run.latency, p90_low_ms=None, p90_high_ms=None))
        for run in old.runs
    ))  # fmt: skip
    assert verdicts(database, tmp_path, old, near, far) == {
        "latency p50": "3.00 ms 3.40 ms +0.400 ms (+13.3 %) worse",
        "latency p90": "4.00 ms 4.40 ms +0.400 ms (+10.0 %) not proven",
    }
    (p90,) = (line for line in run("diff", 1, 3).splitlines() if line.startswith("latency p90"))
    assert p90.split()[-3:] == ["(+20.0", "%)", "worse"]


def test_doubts_are_shown_and_judge_nothing(database: Path, tmp_path: Path) -> None:
    load = make_issue("bench.load", "Other processes used 1.4 cores.")
    found = verdicts(database, tmp_path, bench_result(2.0), bench_result(9.0, issues=(load,)))
    assert found["latency p50"] == "2.00 ms 9.00 ms degraded +7.00 ms (+350.0 %) doubted"
    text = run("diff", 1, 2)
    assert "\nDoubts\n  2: Other processes used 1.4 cores. [bench.load]\n" in text
    diff = json.loads(run("diff", 1, 2, "--json"))["diff"]
    assert diff["doubts_before"] == []
    assert [doubt["code"] for doubt in diff["doubts_after"]] == ["bench.load"]


def test_a_difference_that_cannot_be_judged(database: Path, tmp_path: Path) -> None:
    run("add", write_bench(tmp_path / "1.json", bench_result(2.0)))
    run("add", write_bench(tmp_path / "2.json", bench_result(3.0, device="pi5")))
    text = run("diff", 1, 2)  # the sizes can
    assert "not compared, 1" in text
    assert "Not compared\n  1. device pi4 against pi5" in text


def test_refused_files_give_status_4(database: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_bytes(COMPARE.read_bytes()[:500])
    done = edgeq("add", cut, COMPARE, database=database)
    assert done.returncode == 4
    assert done.stderr.startswith(
        f"refused: {cut} is not an edgeq record: it is not JSON, or is truncated"
    )
    assert "1 added, 1 refused: " in done.stdout


def test_remove_and_export(database: Path, tmp_path: Path) -> None:
    run("add", EVAL, COMPARE)
    assert run("export", tmp_path / "out") == f"Wrote 2 records to {tmp_path / 'out'}\n"
    assert run("remove", 1, "5e9047b") == (
        f"removed     1  c2ccbe9  eval  {EVAL}\nremoved     2  5e9047b  compare  {COMPARE}\n"
    )
    assert run("list") == f"{database} (named by EDGEQ_HISTORY): 0 records\n"
    assert run("import", tmp_path / "out").splitlines()[-1].startswith("2 added: ")


def test_wrong_usage(database: Path) -> None:
    assert run("list", status=1).startswith(f"There is no history at {database}.")
    run("add", EVAL)
    assert run("list", "--last", 3, "--all", status=2) == (
        "--last and --all contradict each other. Remove one of them."
    )
    assert run("trend", "sqnr", status=2) == (
        "None of these records has the figure SQNR of the outputs' worst part."
    )
    assert run("list", "--since", "2027-01-01").endswith("1 record, none of them matches\n")
    assert "--mlflow needs MLflow" in run("add", EVAL, "--mlflow", "http://127.0.0.1:1", status=1)


def test_since() -> None:
    assert parse_since("2026-11-01") == "2026-11-01T00:00:00Z"
    assert parse_since("2026-11-01T12:00:00+02:00") == "2026-11-01T10:00:00Z"
    assert parse_since("2w") < parse_since("3d") < parse_since("1h")
    with pytest.raises(UsageError) as caught:
        parse_since("soon")
    assert str(caught.value) == (
        "--since 'soon' is not a date. Write 2026-11-01, 2026-11-01T12:00:00Z, or 36h, 30d, 4w."
    )


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEQ_HISTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert find_place().path == tmp_path / "data" / "edgeq" / "history.sqlite"
    (tmp_path / "edgeq.toml").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    place = find_place()
    assert (place.path, place.reason) == (
        tmp_path / ".edgeq" / "history.sqlite", "of this project",
    )  # fmt: skip
    monkeypatch.setenv("EDGEQ_HISTORY", "else.sqlite")
    assert find_place().path == Path("else.sqlite")
    assert find_place(Path("given")).reason == "named by --database"


def test_names_from_records_do_not_steer_the_terminal(database: Path, tmp_path: Path) -> None:
    hostile = "build/\x1b[31mnet\n.tflite"
    run("add", write_bench(tmp_path / "r.json", bench_result(2.0, model=hostile)))
    for text in (run("list"), run("trend", "p50"), run("diff", 1, 1)):
        assert "\x1b[31mnet" not in text
    assert r"\x1b[31mnet\n.tflite" in run("list")


def test_the_commit_of_the_environment(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run("add", EVAL, "--commit", "auto", status=2).startswith(
        "--commit auto finds no commit: none of GITHUB_SHA, CI_COMMIT_SHA, GIT_COMMIT is set"
    )
    monkeypatch.setenv("GITHUB_SHA", "feedface")
    run("add", EVAL, "--commit", "auto")
    assert json.loads(run("list", "--json"))["records"][0]["git_commit"] == "feedface"
