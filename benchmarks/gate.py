"""How often `edgeq gate` calls a file slower that is not, and how often it sees one that is.

    python benchmarks/gate.py [--pairs 100] [--benches 20] [--precise 20] [--layers 100]

The files are chains of equal convolutions: A and A' with as many layers and other weights, B with
5 % more layers, C with 1 % more. How much longer B and C really take is measured over all rounds
of the run together. Each verdict is the gate's own, on records of `edgeq bench`, at a limit of 0 %
growth of p50. Doubts such as bench.load are accepted, so that they hide no false alarm.

- one bench: `bench A A' B`, A' and B against A, once for each of --pairs;
- one bench with --rounds 30: `bench A A' C --rounds 30`, once for each of --precise;
- two records: `bench A` and `bench B`, --benches times each; each later A against each earlier
  one, and each B against each A.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import edgeq
from edgeq import timing
from edgeq.files import storage
from edgeq.gating.gate import apply_policy
from edgeq.gating.parsing import read_policy
from edgeq.gating.policy import Policy
from edgeq.records.reading import Record
from edgeq.values import BenchResult

PRECISE_ROUNDS = 30
MOST_ALARMS, LEAST_FOUND = 0.05, 0.95
DOUBTS = ("bench.load", "bench.noisy", "bench.drift", "bench.throttled")
POLICY = f"""
[policy]
accept = {list(DOUBTS)}
[policy.regression]
max_p50_percent = 0
max_p90_percent = 0
"""


def make_models(folder: Path, layers: int) -> dict[str, Path]:
    """The files by their letters."""
    import keras

    counts = {
        "A": layers, "A'": layers, "B": layers + max(1, round(0.05 * layers)),
        "C": layers + max(1, round(0.01 * layers)),
    }  # fmt: skip
    made = {}
    for seed, (name, count) in enumerate(counts.items()):
        keras.utils.set_random_seed(seed)
        inner = [keras.layers.Conv2D(8, 3, padding="same", activation="relu") for _ in range(count)]
        made[name] = folder / f"{name.replace(chr(39), '2')}.tflite"
        model = keras.Sequential([keras.Input((16, 16, 8)), *inner])
        edgeq.convert(model, made[name], scheme="fp32")
    return made


class Laboratory:
    """Measures and judges, and keeps the verdicts for the final table.

    Attributes:
        pairs: p50 of a file and of A in the same round, by letter.
        spent: files, rounds and seconds of each bench.
    """

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        self.folder, self.models = folder, models
        (folder / "policy.toml").write_text(POLICY)
        self.policy: Policy = read_policy(folder / "policy.toml")
        self.known = {name: self.keep("inspect", edgeq.inspect_model(path))
                      for name, path in models.items()}  # fmt: skip
        self.pairs: dict[str, list[tuple[float, float]]] = {"A'": [], "B": [], "C": []}
        self.spent: list[tuple[int, int, float]] = []
        self.doubts: Counter[str] = Counter()

    def keep(self, kind: str, value: object) -> Record:
        """A record as a command writes it."""
        path = self.folder / f"{kind}.json"
        storage.write_record(path, kind, value)
        return edgeq.read_record(path)

    def bench(self, *names: str, rounds: int | None = None) -> Record:
        """`edgeq bench` of these files."""
        began = time.monotonic()
        result: BenchResult = edgeq.bench([self.models[name] for name in names], rounds=rounds)
        self.spent.append((len(names), len(result.runs[0].rounds), time.monotonic() - began))
        self.doubts.update({issue.code for run in result.runs for issue in run.issues})
        first, *others = map(timing.medians_of_rounds, result.runs)
        for name, own in zip(names[1:], others, strict=True):
            self.pairs[name] += zip(own, first, strict=True)
        return self.keep("bench", result)

    def judge(
        self, name: str, now: Record, before: Sequence[Record], baseline: str = "A"
    ) -> tuple[str, ...]:
        """Verdicts of the gate about p50 and p90."""
        records = [self.known[name], now]
        result = apply_policy(self.policy, records, [self.known[baseline], *before])
        return tuple(rule.verdict for rule in result.rules)


def share(label: str, found: Iterable[tuple[str, ...]], *, is_alarm: bool) -> bool:
    """Print how often p50 (and p90) was called slower; whether p50 is as it should be."""
    verdicts = list(found)
    if not verdicts:
        return True
    fails = [sum(verdict[place] == "fail" for verdict in verdicts) for place in (0, 1)]
    rate = fails[0] / len(verdicts)
    is_good = rate <= MOST_ALARMS if is_alarm else rate >= LEAST_FOUND
    what = "false alarms" if is_alarm else "found"
    limit = f"at most {MOST_ALARMS:.0%}" if is_alarm else f"at least {LEAST_FOUND:.0%}"
    print(f"  {label:34} {what:12} p50 {fails[0]:4} of {len(verdicts):4} ({rate:6.1%}, {limit}: "
          f"{'yes' if is_good else 'NO'})   p90 {fails[1]:4}", flush=True)  # fmt: skip
    return is_good


def measure_in_turns(
    lab: Laboratory, slower: str, count: int, rounds: int | None
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Verdicts about A' and about the slower file."""
    equal, more = [], []
    for number in range(count):
        record = lab.bench("A", "A'", slower, rounds=rounds)
        equal.append(lab.judge("A'", record, []))
        more.append(lab.judge(slower, record, []))
        print(f"\r  {number + 1} of {count}", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    return equal, more


def measure_apart(lab: Laboratory, count: int) -> tuple[list[Record], list[Record]]:
    """Records of A and of B, each alone, one after the other."""
    own, slower = [], []
    for number in range(count):
        own.append(lab.bench("A"))
        slower.append(lab.bench("B"))
        print(f"\r  {number + 1} of {count}", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    return own, slower


def report(lab: Laboratory) -> None:
    """Print the true ratios and the load, which explain the verdicts."""
    print("\nTrue ratios to A, of all rounds of one bench:")
    for name, pairs in lab.pairs.items():
        if pairs:
            ratio = timing.ratio_of_rounds(*zip(*pairs, strict=True))
            print(f"  {name:3} {100 * (ratio.value - 1):+.2f} % ({100 * (ratio.low - 1):+.2f} to "
                  f"{100 * (ratio.high - 1):+.2f}), {len(pairs)} rounds")  # fmt: skip
    print("Time of a bench:")
    kinds = sorted({(files, rounds) for files, rounds, _ in lab.spent})
    for files, rounds in kinds:
        times = [spent for *kind, spent in lab.spent if kind == [files, rounds]]
        mean = sum(times) / len(times)
        print(f"  files {files}, rounds {rounds}: {mean:.1f} s ({len(times)} times)")
    print(f"Doubted: {dict(lab.doubts) or 'none'} of {len(lab.spent)} benches")


def main() -> None:
    """Measure, print, and end with 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--benches", type=int, default=20)
    parser.add_argument("--precise", type=int, default=20)
    parser.add_argument("--layers", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lab = Laboratory(folder, make_models(folder, given.layers))
        good = []
        equal, slower = measure_in_turns(lab, "B", given.pairs, None)
        good.append(share("one bench, A' against A", equal, is_alarm=True))
        good.append(share("one bench, 5 % slower", slower, is_alarm=False))
        equal, slower = measure_in_turns(lab, "C", given.precise, PRECISE_ROUNDS)
        label = f"one bench, --rounds {PRECISE_ROUNDS}"
        good.append(share(f"{label}, A' against A", equal, is_alarm=True))
        good.append(share(f"{label}, 1 % slower", slower, is_alarm=False))
        own, more = measure_apart(lab, given.benches)
        equal = [lab.judge("A", now, [before]) for place, before in enumerate(own)
                 for now in own[place + 1 :]]  # fmt: skip
        good.append(share("two records, A against A", equal, is_alarm=True))
        slower = [lab.judge("B", now, [before]) for before in own for now in more]
        good.append(share("two records, 5 % slower", slower, is_alarm=False))
        report(lab)
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
