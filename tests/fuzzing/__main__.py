"""`scripts/fuzz`: hostile models, damaged files and kills, judged from outside."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.fuzzing import samples
from tests.fuzzing.driving import (
    Finding,
    Outcome,
    Session,
    add_events,
    run_batches,
    run_hostile,
    run_kind,
)
from tests.fuzzing.kills import run_kills
from tests.fuzzing.kinds import KINDS

HOSTILE, KILLS, LOWERED = "hostile", "kills", "-lowered"
_MOST_LINES = 15


def main() -> int:
    """Run what was asked for; 1 when something was found."""
    given = _parse(sys.argv[1:])
    work = given.work or Path(tempfile.mkdtemp(prefix="fuzz-"))
    outside = work / "outside"
    made = work / "samples"
    if not (made / "made").exists():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        print("Making the sound files", flush=True)
        samples.make(made, outside)
        (made / "made").touch()
    outcomes = []
    for outcome in run_all(given, work, made, outside):
        outcomes.append(outcome)
        _tell(outcome)
        (work / "report.json").write_text(json.dumps([asdict(item) for item in outcomes], indent=1))
    return _conclude(outcomes, work)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument(
        "--each",
        type=int,
        metavar="N",
        help="Cases of each kind; by default 500; of those that a framework opens 100 lowered by "
        "few children and 12 through the whole command; 200 hostile models, 50 kills.",
    )
    parser.add_argument(
        "--kinds", metavar="NAME,...", help="Only these; names end in * for several."
    )
    parser.add_argument("--first", type=int, default=0, metavar="N", help="Begin with case N.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="Where cases lie; sound files there are kept.")
    parser.add_argument("--list", action="store_true", help="Print the kinds.")
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(_names()))
        sys.exit(0)
    return given


def run_all(given: argparse.Namespace, work: Path, made: Path, outside: Path) -> Iterator[Outcome]:
    """Kind by kind, so that what was found stands early."""
    has = [name for name, variable in samples.PYTHONS.items() if variable in os.environ]
    for name in _wanted(given.kinds):
        plain = name.removesuffix(LOWERED)
        needs = KINDS[plain].needs if plain in KINDS else None
        if needs is not None and needs not in has:
            print(f"{name}: left out, {samples.PYTHONS[needs]} names no Python", flush=True)
            continue
        begun = time.monotonic()
        with Session(work, outside / "canary") as session:
            if name == HOSTILE:
                outcome = run_hostile(
                    session, made, outside, count=given.each or 200, seed=given.seed, has=has
                )
            elif name == KILLS:
                outcome = run_kills(session, made, count=given.each or 50, seed=given.seed)
            elif name.endswith(LOWERED):
                kind, each = KINDS[name.removesuffix(LOWERED)], given.each or 100
                outcome = run_batches(
                    kind, session, made, each=each, seed=given.seed, first=given.first
                )
            else:
                kind = KINDS[name]
                each = given.each or kind.cases
                outcome = run_kind(
                    kind, session, made, each=each, seed=given.seed, first=given.first
                )
            add_events(outcome, session.close())
        outcome.seconds = time.monotonic() - begun
        yield outcome


def _names() -> list[str]:
    lowered = [f"{kind.name}{LOWERED}" for kind in KINDS.values() if kind.is_lowered]
    return [*KINDS, *lowered, HOSTILE, KILLS]


def _wanted(text: str | None) -> list[str]:
    names = _names()
    if text is None:
        return names
    parts = text.split(",")
    found = [
        name
        for name in names
        if any(
            name == part or (part.endswith("*") and name.startswith(part[:-1])) for part in parts
        )
    ]
    if not found:
        sys.exit(f"No kind is called {text}; known are {', '.join(names)}.")
    return found


def _tell(outcome: Outcome) -> None:
    counted = [finding for finding in outcome.findings if not finding.is_denied]
    print(
        f"{outcome.name:18} {outcome.cases:4} cases, {outcome.accepted:4} accepted, "
        f"{outcome.seconds:6.1f} s ({outcome.cpu_s:.1f} of CPU), {outcome.sound_kb >> 10} MB "
        f"sound, {outcome.most_kb >> 10} MB most, {len(counted)} findings",
        flush=True,
    )
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in outcome.findings:
        groups.setdefault((finding.check, _class(finding), finding.is_denied), []).append(finding)
    for (check, text, is_denied), found in [*groups.items()][:_MOST_LINES]:
        denied = " (denied)" if is_denied else ""
        print(f"    {check}{denied}  {len(found)} x {text[:220]}  [{found[0].case}]", flush=True)
    if len(groups) > _MOST_LINES:
        print(f"    and {len(groups) - _MOST_LINES} other groups, in report.json", flush=True)


def _class(finding: Finding) -> str:
    """Findings that differ in a number or a name alone are told once."""
    import re

    return re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"|edgeq-\w+", "#", finding.text)


def _conclude(outcomes: list[Outcome], work: Path) -> int:
    counted = [item for outcome in outcomes for item in outcome.findings if not item.is_denied]
    kinds = Counter(item.check for item in counted)
    print(
        f"\n{sum(outcome.cases for outcome in outcomes)} cases, {len(counted)} findings "
        f"{dict(kinds)}; in {work}"
    )
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
