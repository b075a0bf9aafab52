"""The benchmark of tasks: what its rows show, and which bounds it finds missed."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.metrics.catalogue import check_metric
from tests.tiny_models import passing

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    """The script, as Python runs it: with its folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import tasks

    return tasks


@pytest.fixture(scope="module")
def entries(tasks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Make the entries of two tools whose files pass values on in steps, edgeq's first."""
    folder = tmp_path_factory.mktemp("tools")
    values = np.random.default_rng(0).uniform(0, 100, (300, 1)).astype(np.float32)
    data = {"x": values, "y": values[:, 0]}
    (folder / "float.tflite").write_bytes(passing((1, 1), (1, 1), None))

    def measure(tool: str, step: float, paired: float | None) -> Any:
        paths = {}
        for number in filter(None, (step, paired)):
            paths[number] = folder / f"{number}.tflite"
            paths[number].write_bytes(passing((1, 1), (1, 1), number))
        found = edgeq.compare(folder / "float.tflite", paths[step], data, latency=False)
        beside = None
        if paired is not None:
            beside = edgeq.compare(paths[step], paths[paired], data, latency=False)
        return tasks.Entry(tool, found, beside, edgeq.certify(paths[step]))

    def make(own: float, other: float) -> list[Any]:
        return [measure("edgeq", own, None), measure("stock", other, own)]

    return make


@pytest.fixture
def task(tasks: ModuleType) -> Any:
    return tasks.Task("weight", "none.keras", "none.npz", "none.npz", "r2")


def test_a_better_file_misses_no_bound_but_that_of_the_samples(
    tasks: ModuleType, task: Any, entries: Callable[..., Any]
) -> None:
    assert list(tasks.missed(task, entries(1.0, 30.0))) == ["weight: measured on 300 samples only"]


def test_a_worse_file_misses_each_bound(
    tasks: ModuleType, task: Any, entries: Callable[..., Any]
) -> None:
    lost, _, paired, figure = tasks.missed(task, entries(30.0, 1.0))
    # uniform errors of a step of 30, where values vary by 100: 0.3 ** 2 of the variance
    share, limit = re.fullmatch(r"weight: r2 loses (\S+) \[.*\], more than (.*)", lost).groups()
    assert float(share) == pytest.approx(0.09, abs=0.02)
    assert limit == "0.01"
    worse = re.match(r"weight: worse than stock by (\S+) \[", paired)[1]
    assert float(worse) == pytest.approx(float(share), abs=0.001)
    ours, theirs = re.fullmatch(r"weight: (.*) dB, stock (.*) dB", figure).groups()
    assert float(ours) == pytest.approx(20 * math.log10(100 / 30), abs=1)
    assert float(theirs) == pytest.approx(20 * math.log10(100), abs=1)


def test_no_file_of_edgeq_is_a_miss_and_none_of_another_tool_is_not(
    tasks: ModuleType, task: Any, entries: Callable[..., Any]
) -> None:
    own, _ = entries(1.0, 30.0)
    refused = tasks.Entry("stock", note="cannot (exit 1): a | b")
    assert list(tasks.missed(task, [own, refused])) == ["weight: measured on 300 samples only"]
    assert list(tasks.missed(task, [refused, own])) == [
        "weight: edgeq made no file: cannot (exit 1): a | b"
    ]
    assert list(tasks.rows(task, [own, refused]))[-1] == (
        "| | stock |  |  |  |  |  |  |  | cannot (exit 1): a / b |"
    )


def test_rows_show_the_metric_the_loss_and_the_pair(
    tasks: ModuleType, task: Any, entries: Callable[..., Any]
) -> None:
    own, other = entries(1.0, 30.0)
    first, second, third = tasks.rows(task, [own, other])
    assert first.startswith("| weight, 300 | FP32 | r2 1 | ")
    columns = [[cell.strip() for cell in row.split("|")] for row in (first, second, third)]
    head = tasks.HEAD.splitlines()[0].split("|")
    assert {len(row) for row in columns} == {len(head)}
    assert columns[1][5] == "" and columns[2][5].startswith("-0.")
    assert float(columns[1][3]) > float(columns[2][3])
    assert columns[1][8] == "0"


def test_what_is_not_int8_is_named(tasks: ModuleType, int8_mobilenet: Path) -> None:
    proof = edgeq.certify(int8_mobilenet)
    assert tasks.wide(proof) == ""
    border = (replace(proof.outputs[0], dtype="float32"),)
    changed = replace(proof, wide_outputs=("pred (ADD)",), outputs=border)
    assert tasks.wide(changed) == "pred (ADD); float32 at the border"


def test_every_model_and_data_function_of_the_table_is_there(tasks: ModuleType) -> None:
    for task in tasks.TASKS:
        assert models.path(task.model).is_file()
        check_metric(task.metric)
        for data in (task.calibration, task.test):
            module, _, name = data.partition(":")
            assert getattr(importlib.import_module(module), name) if name else models.path(data)
