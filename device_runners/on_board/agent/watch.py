"""Looks at the machine during a measurement, and the windows of a sustained run."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from .energy import Meter
from .health import health
from .statistics import MIN_RUNS

MAX_RUNS = 20000  # inferences after the minimum time; more would only make the record larger


class Watch:
    """Looks at the machine during a job.

    Args:
        cores: numbers of the cores whose clock is recorded.
        pause_s: shortest time between two looks.
    """

    def __init__(self, cores: Sequence[int], pause_s: float):
        self.cores, self.pause_s = cores, pause_s
        self.meter = Meter()
        self.looks: list[dict[str, Any]] = []
        self.next_s = 0.0

    def look(self) -> None:
        """Look once; the longer it takes, the later is the next look."""
        began = time.monotonic()
        self.looks.append(health(self.cores))
        self.next_s = time.monotonic() + max(self.pause_s, 5 * (time.monotonic() - began))

    def is_due(self) -> bool:
        """Whether it is time for another look."""
        return time.monotonic() >= self.next_s


class Window:
    """One stretch of a sustained run: counts all times and keeps a uniform sample of them.

    Algorithm R (Vitter, "Random sampling with a reservoir", 1985), with a fixed seed.
    """

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.kept: list[int] = []
        self.random = random.Random(0)

    def add(self, times: Sequence[int]) -> None:
        """Add the times of a burst, in ns."""
        for value in times:
            self.count += 1
            if len(self.kept) < self.size:
                self.kept.append(value)
                continue
            place = int(self.random.random() * self.count)
            if place < self.size:
                self.kept[place] = value


def make_windows(job: dict[str, Any]) -> list[Window]:
    """The windows of a sustained run; empty for any other run."""
    if job.get("sustained_s") is None:
        return []
    count = max(1, round(job["sustained_s"] / job["window_s"]))
    return [Window(max(MIN_RUNS, MAX_RUNS // count)) for _ in range(count)]
