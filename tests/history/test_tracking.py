"""Against a real MLflow server on this machine, in the environment that has MLflow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeq.history.figures import summarize
from edgeq.history.tracking import metrics_of
from edgeq.records.reading import read_record
from tests.history.conftest import COMPARE, bench_result, write_bench


def test_metrics_carry_their_units_and_others_their_model(tmp_path: Path) -> None:
    path = write_bench(tmp_path / "r.json", bench_result(2.0, fp32=4.0))
    found = metrics_of(summarize(read_record(path)))
    assert (found["latency_p50_ms"], found["fp32.tflite/latency_p50_ms"]) == (2.0, 4.0)
    assert set(found) == {
        "size_bytes", "latency_p50_ms", "latency_p90_ms", "peak_rss_bytes", "speedup",
        "fp32.tflite/size_bytes", "fp32.tflite/latency_p50_ms", "fp32.tflite/latency_p90_ms",
        "fp32.tflite/peak_rss_bytes",
    }  # fmt: skip


def test_an_sqnr_without_error_is_left_out(tmp_path: Path) -> None:
    plain = json.loads(COMPARE.read_text())
    plain["quality"]["outputs"][0]["sqnr_db"] = "inf"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(plain))
    assert "sqnr_db" not in metrics_of(summarize(read_record(path)))


@dataclass
class Server:
    python: str
    address: str
    database: Path

    def edgeq(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """`edgeq history` with the Python that has MLflow."""
        command = [self.python, "-c", "from edgeq.cli import main; main()", "history"]
        variables = {**os.environ, "EDGEQ_HISTORY": str(self.database)}
        command += map(str, arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)

    def runs(self, experiment: str) -> list[dict[str, object]]:
        """What the server's own client finds there."""
        code = (
            "import json, sys; from mlflow import MlflowClient; c = MlflowClient(sys.argv[1])\n"
            "e = c.get_experiment_by_name(sys.argv[2])\n"
            "print(json.dumps([{'status': r.info.status, 'metrics': r.data.metrics,\n"
            "  'params': r.data.params, 'tags': r.data.tags, 'bytes':\n"
            "  open(c.download_artifacts(r.info.run_id, c.list_artifacts(r.info.run_id)[0].path))\n"
            "  .read()} for r in c.search_runs([e.experiment_id])]))"
        )
        command = [self.python, "-c", code, self.address, experiment]
        found: list[dict[str, object]] = json.loads(subprocess.check_output(command, text=True))
        return found


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    python = os.environ.get("EDGEQ_MLFLOW_PYTHON")
    if python is None:
        pytest.skip("EDGEQ_MLFLOW_PYTHON is not set: EDGEQ_TEST_EXTRAS=mlflow scripts/test")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", "sqlite:///runs.db", "--artifacts-destination", "artifacts",
               "--workers", "1"]  # fmt: skip
    # Its consumers of jobs, which no record needs, are seven more Pythons that import MLflow.
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        # Workers are its children, so the whole group is ended.
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=variables
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health", process, folder / "log")
        yield Server(python, address, folder / "h.sqlite")
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 500  # it is a large program, and others may run
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def test_records_are_logged_once_as_json_and_refusals_told(server: Server) -> None:
    """One test, because the server takes longer to start than all of it: each worker of
    pytest-xdist would start another.
    """
    log_a_record_once(server)
    keep_json_json(server)
    tell_of_a_server_that_does_not_answer_or_refuses(server)


def log_a_record_once(server: Server) -> None:
    given = ("add", COMPARE, "--tag", "v1", "--commit", "abc", "--mlflow", server.address)
    first = server.edgeq(*given, "--experiment", "nets")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith(f"logged     1  {server.address}/#/experiments")
    again = server.edgeq(*given, "--experiment", "nets")
    assert again.stdout.splitlines()[-1].startswith(f"known      1  {server.address}/#/experiments")
    (run,) = server.runs("nets")
    assert run["status"] == "FINISHED"
    assert run["bytes"] == COMPARE.read_text()
    metrics, params, tags = run["metrics"], run["params"], run["tags"]
    assert isinstance(metrics, dict) and isinstance(params, dict) and isinstance(tags, dict)
    assert (metrics["accuracy_percent"], metrics["size_bytes"]) == (94.0, 83600.0)
    assert (params["data"], params["samples"], params["kind"]) == ("test.npz", "50", "compare")
    assert tags["edgeq.record_sha256"].startswith("5e9047b")
    assert (tags["edgeq.tags"], tags["mlflow.source.git.commit"]) == ("v1", "abc")


def keep_json_json(server: Server) -> None:
    done = server.edgeq("add", COMPARE, "--mlflow", server.address, "--json")
    assert json.loads(done.stdout)["additions"][0]["kind"] == "compare"


def tell_of_a_server_that_does_not_answer_or_refuses(server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        done = server.edgeq("add", COMPARE, "--mlflow", address)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: MLflow at {address} rejected the record: ")
    assert hint == "hint:  The record is in the history; run the same command again to log it."
    done = server.edgeq("add", COMPARE, "--mlflow", f"{server.address}/nothing")
    assert "404" in done.stderr and "Traceback" not in done.stderr
    done = server.edgeq("add", COMPARE, "--mlflow", server.address, "--experiment", "")
    assert done.returncode == 1 and "Traceback" not in done.stderr
