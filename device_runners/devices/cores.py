"""Which cores a user's text names on a device."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.errors import UsageError
from edgeq.values import CoreKind, DeviceFacts


def choose_cores(facts: DeviceFacts, text: str | None, threads: int) -> tuple[int, ...]:
    """The cores to bind a model's threads to; empty to leave them to the scheduler.

    Args:
        text: "big" (the fastest kind), "little" (the slowest), "all", or numbers such as "0-3" or
            "0,2"; None for none.
        threads: that are to run there.

    Raises:
        UsageError: unreadable, names a core or a kind that is not there, or has fewer cores than
            threads.
    """
    if text is None:
        return ()
    chosen = _named(facts, text)
    if threads > len(chosen):
        raise UsageError(
            f"--threads {threads} are more than the {_count(chosen)} that --cores {text} names on "
            f"{facts.device} ({show_cores(chosen)}).",
            hint=f"Pass --threads {len(chosen)} at most, or name more cores.",
        )
    return chosen


def _named(facts: DeviceFacts, text: str) -> tuple[int, ...]:
    there = tuple(sorted(number for kind in facts.core_kinds for number in kind.numbers))
    if text == "all":
        return there
    if text in ("big", "little"):
        return _of_kind(facts, text, there)
    chosen = _read_numbers(text)
    missing = [number for number in chosen if number not in there]
    if missing:
        raise UsageError(
            f"{facts.device} has no core {missing[0]} for --cores {text}; it has "
            f"{show_cores(there)}."
        )
    return chosen


def _of_kind(facts: DeviceFacts, text: str, there: Sequence[int]) -> tuple[int, ...]:
    kinds: Sequence[CoreKind] = facts.core_kinds
    if len(kinds) < 2:
        raise UsageError(
            f"The {_count(there)} of {facts.device} ({show_cores(there)}) are of one kind, so "
            f"--cores {text} names none of them.",
            hint=f"Pass --cores all, or numbers such as --cores {there[0] if there else 0}.",
        )
    return kinds[-1 if text == "big" else 0].numbers


def _read_numbers(text: str) -> tuple[int, ...]:
    """Numbers and ranges with commas, in order and once each."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise _unreadable(text)
        ends = int(first), int(last or first)
        if ends[0] > ends[1] or ends[1] > 4095:
            raise _unreadable(text)
        chosen.update(range(ends[0], ends[1] + 1))
    return tuple(sorted(chosen))


def _unreadable(text: str) -> UsageError:
    return UsageError(
        f"--cores {text!r} cannot be read.",
        hint="Write big, little, all, or numbers such as 0-3 or 0,2.",
    )


def _count(cores: Sequence[int]) -> str:
    return f"{len(cores)} core{'' if len(cores) == 1 else 's'}"


def show_cores(cores: Sequence[int]) -> str:
    """Core numbers with runs of three and more as ranges, e.g. "0-3, 6"."""
    parts: list[list[int]] = []
    for number in cores:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in parts]
    return ", ".join(shown) or "none"
