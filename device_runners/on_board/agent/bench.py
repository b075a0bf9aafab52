"""The task `bench`: measures models interleaved, in several rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from .child import PATIENCE_S, Child
from .job import JobError, emit
from .machine import own_cores
from .statistics import MIN_RUNS, is_tight, median_interval
from .watch import MAX_RUNS, Watch, make_windows

BURST_S = 0.03  # of inferences in a row before it is the next model's turn
MAX_BURST = 1000  # inferences in such a row
MOST_RUNS = 200000  # inferences, whatever the minimum time is
FEWEST_ROUNDS = 3  # however long loading takes
STEADY = 0.05  # largest change between the medians of two windows of a warm model
WARMUP_S = 2.0  # at most, once a model has run three times
WINDOW_S = 0.05  # of warming up
SAMPLE_S = 0.5  # between looks at clock and temperature
MAX_LOOKS = 1200  # in a sustained run; that is every half second of ten minutes
LOOK_S = 0.05  # of inferences during a look at the machine; they do not count
METERED_S = 0.1  # of metered inferences at least: RAPL counts once per millisecond


def run_bench(job: dict[str, Any], deadline: float | None) -> dict[str, Any]:
    """Measure models interleaved, in several rounds; one that fails does not stop the others.

    The place of a process in memory changes its latency by a few per cent until it ends. So each
    round measures every model in a fresh process, and a round counts as one measurement.
    """
    pause_s = max(SAMPLE_S, (job.get("sustained_s") or 0) / MAX_LOOKS)
    watch = Watch(job.get("cores") or own_cores(), pause_s)
    runs = [Bench(index, entry, job, deadline, watch) for index, entry in enumerate(job["models"])]
    # Before the workers start: all processor time of a worker is counted when it ends.
    watch.look()
    number, rounds = 0, int(job.get("rounds", 1))
    while number < rounds and any(run.error is None for run in runs):
        costs = run_round(runs, number, rounds - number, watch)
        number += 1
        if number == 1 and job.get("spare_s") is not None:
            rounds = min(rounds, affordable_rounds(job, len(runs), *costs))
    watch.look()  # before the clock changes
    for run in runs:
        run.guarded(run.finish)
    watch.look()
    return {"models": [run.plain() for run in runs], "health": watch.looks}


def run_round(
    runs: Sequence[Bench], number: int, left: int, watch: Watch
) -> tuple[float, float, float]:
    """Measure each model in a fresh process, in bursts that take turns.

    Args:
        left: number of rounds that remain, this one included.

    Returns:
        Seconds for loading all models, for warming them up, and for one inference of each model.
    """
    order = [*runs[number % len(runs) :], *runs[: number % len(runs)]]
    began = time.monotonic()
    for run in order:
        run.guarded(run.prepare)
    loaded = time.monotonic()
    for run in order:
        run.guarded(run.warm_up)
    warm = time.monotonic()
    if number == 0:
        watch.look()
    for run in runs:
        run.begin(left)
    while any(run.wants_more() for run in runs):
        for run in order:
            # All models run until the last one is done, so bursts stay paired.
            run.guarded(run.measure)
        order = [*order[1:], order[0]]
        if watch.is_due():
            seen = next((run for run in order if run.error is None), order[0])
            seen.guarded(seen.observe)
            emit("progress", step="measure", done=min(run.count for run in runs))
    for run in runs:
        run.guarded(run.end)
    return loaded - began, warm - loaded, sum(run.typical_s for run in runs)


def affordable_rounds(
    job: dict[str, Any], models: int, load_s: float, warm_s: float, typical_s: float
) -> int:
    """How many rounds take at most twice as long as one round that measures everything.

    Args:
        job: gives the times and runs to measure; `spare_s` is added to the time of the one round.
        models: number of them.
        load_s, warm_s: of the first round; later ones warm up for one window only.
        typical_s: for one inference of each model.
    """
    if job.get("runs") is not None:
        measure_s = job["runs"] * typical_s
    else:
        measure_s = max(models * float(job["min_time_s"]), MIN_RUNS * typical_s)
        measure_s = min(measure_s, models * float(job["max_time_s"]))
    once = 2 * load_s + warm_s + measure_s  # another process looks up the arena
    # Each round has at least one inference of each model.
    later = load_s + min(warm_s, max(models * WINDOW_S, typical_s))
    later += max(0.0, typical_s - measure_s / job["rounds"])
    return max(FEWEST_ROUNDS, 1 + int((once + job["spare_s"]) / later))


class Bench:
    """One model's measurement, step by step."""

    def __init__(
        self,
        index: int,
        entry: dict[str, Any],
        job: dict[str, Any],
        deadline: float | None,
        watch: Watch,
    ):
        self.index, self.entry, self.job, self.deadline = index, entry, job, deadline
        self.watch = watch
        self.child: Any = None
        self.error: dict[str, Any] | None = None
        self.facts: dict[str, Any] = {}
        self.warmup: list[int] = []
        self.starts: list[dict[str, float]] = []  # one entry per round, as in the next list
        self.rounds: list[list[int]] = []
        self.times: list[int] = []
        self.count = 0
        self.size = 1
        self.typical_s = 0.0
        self.limits = {"runs": 0.0, "min_s": 0.0, "max_s": 0.0, "enough": 0.0, "most": 0.0}
        self.sustained_s: float | None = job.get("sustained_s")
        self.began = 0.0  # start of a sustained run, on the monotonic clock
        self.windows = make_windows(job)
        self.energy = {"joules": 0.0, "seconds": 0.0, "inferences": 0}
        self.watts: list[float] = []

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step; an error ends the measurement of this model."""
        if self.error is not None:
            return
        try:
            step()
        except JobError as error:
            self.error = error.plain()
        if self.error is not None and self.child is not None:
            self.child.kill()

    def prepare(self) -> None:
        """Load, set the inputs, and run once."""
        if not self.starts:
            emit("progress", step="load", done=self.index)
        self.child = self.start_worker()
        if self.job.get("cores"):
            self.child.call("pin", cores=self.job["cores"])
        options = {"runtime": self.job.get("runtime"), "threads": self.job["threads"]}
        found = self.child.call("load", model=self.entry["path"], **options)
        self.child.call("feed", arrays=self.entry.get("inputs", {}), seed=0)
        first_ms = self.child.call("burst", count=1)[0] / 1e6
        self.starts.append({"init_ms": found["init_ms"], "first_ms": first_ms})
        self.facts["runtime"] = found["runtime"]

    def start_worker(self) -> Child:
        """A new worker process."""
        return Child(self.deadline, self.job.get("patience_s", PATIENCE_S))

    def warm_up(self) -> None:
        """Run until two windows in a row have the same median within 5 %, or time is up.

        In later rounds, the first window is compared with the previous round.
        """
        if not self.warmup:
            emit("progress", step="warm up", done=self.index)
        began = time.monotonic()
        last, spent = self.typical_s * 1e9, []
        while True:
            times = self.child.call("burst", count=1000, time_s=WINDOW_S)
            spent += times
            median = median_interval(times)[1]
            is_steady = last > 0 and abs(median - last) <= STEADY * last
            if is_steady or (len(spent) >= 3 and time.monotonic() - began > WARMUP_S):
                break
            last = median
        self.typical_s = median / 1e9
        self.size = min(max(1, round(BURST_S * 1e9 / max(median, 1))), MAX_BURST)
        if not self.warmup:
            self.warmup = spent
        self.began = time.monotonic()

    def begin(self, left: int) -> None:
        """Divide the remaining times and runs among the remaining rounds."""
        job, spent, done = self.job, sum(self.times) / 1e9, len(self.times)
        self.rounds.append([])
        self.limits = {
            "runs": math.ceil((int(job.get("runs") or 0) - done) / left),
            "min_s": (float(job.get("min_time_s") or 0) - spent) / left,
            "max_s": (float(job.get("max_time_s") or 0) - spent) / left,
            "enough": (MAX_RUNS - done) / left,
            "most": (MOST_RUNS - done) / left,
        }

    def wants_more(self) -> bool:
        """Whether this model needs another burst in this round."""
        if self.error is not None:
            return False
        if self.sustained_s is not None:
            return time.monotonic() - self.began < self.sustained_s
        limits, count, spent_s = self.limits, len(self.rounds[-1]), sum(self.rounds[-1]) / 1e9
        if self.job.get("runs") is not None:
            return count < limits["runs"]
        if count and (spent_s >= limits["max_s"] or count >= limits["most"]):
            return False
        if count == 0 or spent_s < limits["min_s"]:
            return True
        return count < limits["enough"] and not is_tight(self.times)

    def measure(self) -> None:
        """Run one burst and keep its times."""
        size = self.size
        if self.job.get("runs") is not None:
            size = min(size, int(self.limits["runs"]) - len(self.rounds[-1]))
        if size <= 0:
            return
        before, began = self.watch.meter.counters(), time.monotonic()
        times = self.child.call("burst", count=size)
        spent, after = time.monotonic() - began, self.watch.meter.counters()
        if before is not None and after is not None:
            self.energy["joules"] += self.watch.meter.joules(before, after)
            self.energy["seconds"] += spent
            self.energy["inferences"] += len(times)
        self.count += len(times)
        if self.sustained_s is None:
            self.rounds[-1] += times
            self.times += times
        else:
            place = int((began - self.began) / self.job["window_s"])
            self.windows[min(place, len(self.windows) - 1)].add(times)

    def observe(self) -> None:
        """Look at the machine while the model runs; looking slows these runs: they do not count."""
        self.child.send("burst", count=MOST_RUNS, time_s=LOOK_S)
        watts = self.watch.meter.watts() if self.watch.meter.kind == "PMIC" else None
        if watts is not None and not self.child.has_answered():
            self.watts.append(watts)
        self.watch.look()
        self.child.receive()

    def end(self) -> None:
        """End a round's process; the peak memory is that of the largest one."""
        peak = self.child.call("memory")
        self.facts["peak_rss_bytes"] = max(peak, self.facts.get("peak_rss_bytes", 0))
        self.child.kill()

    def finish(self) -> None:
        """Look up the arena in a separate process."""
        probe = self.start_worker()
        try:
            probe.call("load", model=self.entry["path"], runtime=self.job.get("runtime"),
                       threads=1, kernels="builtin")  # fmt: skip
            probe.call("feed", arrays=self.entry.get("inputs", {}), seed=0)
            self.facts["arena_bytes"] = probe.call("arena")
        except JobError:
            self.facts["arena_bytes"] = None  # this runtime does not give access to it
        finally:
            probe.kill()

    def plain(self) -> dict[str, Any]:
        """Facts and raw times in ns, or an error, as JSON."""
        if self.error is not None:
            return {"error": self.error}
        energy: dict[str, Any] | None = None
        if self.watts:
            energy = {"meter": "PMIC", "watts": self.watts}
        elif self.energy["seconds"] >= METERED_S:
            energy = dict(self.energy, meter="RAPL")
        found = dict(self.facts, starts=self.starts, energy=energy)
        found.update(warmup_ns=self.warmup, rounds_ns=self.rounds)
        if self.sustained_s is not None:
            found["rounds_ns"] = [window.kept for window in self.windows]
            found["counts"] = [window.count for window in self.windows]
            found["began_s"] = self.began
        return found
