"""Trials of a small classifier whose ranges are right or ruin it."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.conversion.file_metadata import Carried
from edgeq.files.storage import to_plain
from edgeq.tuning.content_store import Store
from edgeq.tuning.trial import Task, make_file, rank_operators, try_task
from edgeq.tuning.workbench import Workbench
from edgeq.values import Ranges, Recipe, TensorRange
from tests.tiny_models import Operator, graph, model, operator, schema, tensor

COUNT = 600


def keep(store: Store, values: Any) -> str:
    path = store.folder / "new.npy"
    np.save(path, values)
    return store.adopt(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def make_task(store: Store, reach: float, most: float | None, **recipe: Any) -> Task:
    """A dense layer of four classes; the largest input is the class, and samples are sorted by it.

    Args:
        reach: largest input that its range covers; the inputs go up to 8.
    """
    random = np.random.default_rng(0)
    labels = np.sort(random.integers(0, 4, COUNT))
    inputs = random.uniform(0, 6, (COUNT, 4)).astype(np.float32)
    inputs[np.arange(COUNT), labels] = random.uniform(6.5, 8, COUNT)
    main = graph(
        [tensor("x", [1, 4]), tensor("w", [4, 4], buffer=1), tensor("b", [4], buffer=2),
         tensor("y", [1, 4])],
        [0], [3], [operator(0, [0, 1, 2], [3], schema.FullyConnectedOptionsT())],
    )  # fmt: skip
    eye = np.eye(4, dtype=np.float32)
    content = model([main], [(Operator.FULLY_CONNECTED, 1)], [eye, np.zeros(4, np.float32)])
    spans = {0: ("x", reach), 3: ("y", reach)}
    ranges = Ranges(
        "edgeq",
        "minmax",
        COUNT,
        tuple(TensorRange(i, name, 0.0, top) for i, (name, top) in spans.items()),
        "",
    )
    x = keep(store, inputs)
    return Task(
        recipe=Recipe("minmax", False, "channel", **recipe),
        source=store.put(content),
        ranges=store.put(json.dumps(to_plain(ranges)).encode()),
        io="int8",
        fits={"x": x},
        inputs={"x": x},
        outputs={"y": x},
        labels=keep(store, labels),
        carried=Carried(),
        max_drop_points=most,
    )


def test_a_trial_that_is_certain_to_miss_the_budget_ends_early(store: Store) -> None:
    bench = Workbench(store)
    ruined = try_task(make_task(store, 2.0, 1.0), bench)
    assert ruined["dropped_after"] == 120  # of 600 in five parts, each from all classes
    assert sum(ruined["paired"].values()) == 120
    assert ruined["paired"]["only_baseline"] > 60
    whole = try_task(make_task(store, 2.0, None), bench)
    assert whole["dropped_after"] is None
    assert sum(whole["paired"].values()) == COUNT
    assert whole["sha256"] == ruined["sha256"]
    right = try_task(make_task(store, 8.0, 1.0), bench)
    assert right["dropped_after"] is None
    assert right["paired"]["both_right"] > 0.9 * COUNT


def test_a_corrected_file_is_made_once_for_all_samples(store: Store) -> None:
    task = make_task(store, 8.0, None, corrections=("bias", "rounding"))
    other = replace(task, labels=keep(store, np.zeros(COUNT, np.int64)))
    first = try_task(task, Workbench(store))
    kept = store.path(task.file_key)
    assert sha256(kept.read_bytes()).hexdigest() == first["sha256"]
    kept.write_bytes(kept.read_bytes() + bytes(16))  # so that it is seen which one is run
    again = try_task(other, Workbench(store))
    assert again["size_bytes"] == first["size_bytes"] + 16
    assert again["paired"] != first["paired"]
    # The file that is written in the end is made again.
    assert sha256(make_file(task, Workbench(store))).hexdigest() == first["sha256"]
    keys = {make_task(store, 8.0, None, corrections=names).file_key for names in ((), ("bias",))}
    assert len({*keys, task.file_key, make_task(store, 7.0, None).file_key}) == 4


def test_trials_do_not_depend_on_those_before_them(store: Store) -> None:
    tasks = [
        make_task(store, reach, None, corrections=names)
        for reach in (8.0, 5.0)
        for names in ((), ("bias",), ("bias", "rounding", "refit", "clip"))
    ]
    used = Workbench(store)
    after = [try_task(task, used) for task in reversed(tasks)][::-1]
    for task in tasks:
        store.path(task.file_key).unlink(missing_ok=True)
    assert after == [try_task(task, Workbench(store)) for task in tasks]
    assert len({item["sha256"] for item in after}) > 2


def test_operators_are_ranked_by_samples_of_all_classes(store: Store) -> None:
    """Samples of the first class are inside the range, and all others are cut off."""
    task, bench = make_task(store, 2.0, None), Workbench(store)
    inputs = np.array(bench.array(task.fits["x"]))
    inputs[: COUNT // 2] /= 8
    (effect,) = rank_operators(replace(task, fits={"x": keep(store, inputs)}), bench)
    assert effect["sqnr_db"] < 5
