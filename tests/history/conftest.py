from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeq.files import storage
from edgeq.history.store import History
from edgeq.issues import judge
from edgeq.values import (
    BenchOptions,
    BenchResult,
    BenchRun,
    Checkup,
    DeviceFacts,
    FileRef,
    Issue,
    Latency,
    Ratio,
    Round,
    RuntimeInfo,
)

HERE = Path(__file__).parent
# Written by edgeq itself, on the model that ships with it.
EVAL, COMPARE = HERE / "eval.json", HERE / "compare.json"

FACTS = DeviceFacts("pi4", "Linux 6.1.0", "aarch64", "Cortex-A72", 4, None, None, "3.11.2", ())
RUNTIME = RuntimeInfo("ai-edge-litert", "2.3.0")


def bench_run(
    model: str,
    p50: float,
    *,
    threads: int = 1,
    issues: tuple[Issue, ...] = (),
    half_width: float = 0.1,
) -> BenchRun:
    low, high = p50 - half_width, p50 + half_width
    latency = Latency(30, p50, p50, low, high, p50 + 1, p50 + 2, p50, 0.1,
                      p90_low_ms=low + 1, p90_high_ms=high + 1)  # fmt: skip
    validity = judge(issues)
    file = FileRef(model, hashlib.sha256(model.encode()).hexdigest(), 1000)
    return BenchRun(
        file, RUNTIME, threads, 1.0, 1.0, (),
        ((p50,) * 30,), latency, 5_000_000, None, None, validity, issues,
        rounds=(Round(30, p50, p50 + 1, 1.0, 1.0),) * 9,
    )  # fmt: skip


def bench_result(
    p50: float,
    *,
    device: str = "pi4",
    fp32: float | None = None,
    model: str = "build/net.tflite",
    threads: int = 1,
    issues: tuple[Issue, ...] = (),
    half_width: float = 0.1,
) -> BenchResult:
    runs = [bench_run(model, p50, threads=threads, issues=issues, half_width=half_width)]
    speedups: tuple[Ratio, ...] = ()
    if fp32 is not None:
        runs.insert(0, bench_run("build/fp32.tflite", fp32))
        speedups = (Ratio(fp32 / p50, fp32 / p50 - 0.1, fp32 / p50 + 0.1),)
    facts = replace(FACTS, device=device)
    return BenchResult(facts, BenchOptions(threads=threads), tuple(runs), speedups)


def write_bench(target: Path, result: BenchResult, moment: str = "2026-11-01T00:00:00Z") -> Path:
    """A bench record that was made at a given moment."""
    storage.write_record(target, "bench", result)
    plain = json.loads(target.read_text())
    plain["provenance"]["created"] = moment
    target.write_text(json.dumps(plain))
    return target


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "history.sqlite", make=True, wait_s=5) as opened:
        yield opened


def edgeq(
    *arguments: object, database: Path | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """`edgeq history` in a process of its own."""
    variables = {**os.environ, **settings}
    if database is not None:
        variables["EDGEQ_HISTORY"] = str(database)
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", "history"]
    command += map(str, arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


@pytest.fixture
def made_doctor(tmp_path: Path) -> Path:
    """A record without figures."""
    path = tmp_path / "doctor.json"
    storage.write_record(path, "doctor", Checkup(FACTS, (), (), None, None, (), True))
    return path
