from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from edgeq.errors import QuantizationError
from edgeq.tuning.pool import LocalPool, Worker
from tests.tuning.conftest import Bench


def test_the_same_recipe_gives_the_same_bytes_in_any_worker(bench: Bench) -> None:
    corrected = replace(
        bench.workshop.plain_recipes()[0], corrections=bench.workshop.later_corrections
    )
    task = bench.task(corrected)
    found = []
    for _ in range(2):
        with LocalPool(bench.store, 1) as pool:
            found.append(pool.ask(task))
    assert found[0] == found[1]
    assert found[0]["sha256"] is not None


def test_all_tasks_come_back_whatever_their_number(bench: Bench) -> None:
    tasks = [bench.task(recipe) for recipe in bench.workshop.plain_recipes()]
    assert len(tasks) > 3
    with LocalPool(bench.store, 2) as pool:
        found = {task.recipe: outcome for task, outcome in pool.run(tasks)}
    assert set(found) == set(bench.workshop.plain_recipes())
    assert all(outcome["sha256"] for outcome in found.values())


def test_a_worker_prefers_files_of_the_float_model_that_it_has_results_of(bench: Bench) -> None:
    plain = bench.workshop.plain_recipes()[0]
    task = bench.task(replace(plain, corrections=("bias",)))
    other = replace(task, source="f" * 64)
    with LocalPool(bench.store, 2) as pool:
        first, second = pool._workers
        first.corrected.add(task.source)
        assert [pool._effort(first, item) for item in (task, other)] == [0, 1]
        assert [pool._effort(second, item) for item in (task, other)] == [2, 1]
        assert pool._effort(second, bench.task(plain)) == 0  # nothing is corrected
        assert [found for found, _ in pool.run([task])] == [task]
        assert any(task.source in worker.corrected for worker in pool._workers)


def test_a_killed_worker_is_replaced_and_its_task_done_again(bench: Bench) -> None:
    worker = Worker(bench.store.folder)
    child = worker._start()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(worker.ask(bench.task())))
    thread.start()
    time.sleep(0.2)  # it is still importing
    os.kill(child.pid, signal.SIGKILL)
    thread.join()
    worker.close()
    assert answers[0]["paired"]["both_right"] > 100
    assert child.wait() == -signal.SIGKILL


def test_a_recipe_that_cannot_be_made_is_an_answer(bench: Bench) -> None:
    recipe = replace(bench.workshop.plain_recipes()[0], keep_float=("image",))
    base = bench.task(recipe)
    other = replace(base, source=bench.store.put(b"no flatbuffer at all"))
    with LocalPool(bench.store, 1) as pool:
        ((_, outcome),) = pool.run([other])
        assert "the float model" in outcome["failure"]
        with pytest.raises(QuantizationError, match="The file cannot be made"):
            pool.make(other)
        assert pool.ask(base)["sha256"]  # the worker lives on


def test_a_task_without_its_data_kills_no_one_silently(bench: Bench) -> None:
    missing = replace(bench.task(), ranges="0" * 64)
    with LocalPool(bench.store, 1) as pool:
        ((_, outcome),) = pool.run([missing])
    assert outcome["failure"].startswith("the worker ended with status 1 (FileNotFoundError: ")
    assert outcome["failure"].endswith(", 2 times")


def test_operators_are_ranked(bench: Bench) -> None:
    with LocalPool(bench.store, 1) as pool:
        effects = pool.ask(bench.task(), "effects")
    assert [item["sqnr_db"] for item in effects] == sorted(item["sqnr_db"] for item in effects)
    assert {item["operator"] for item in effects} >= {"CONV_2D", "FULLY_CONNECTED"}
