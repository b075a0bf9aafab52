"""The choice of cores on a device, from the text of `--cores`."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.errors import UsageError
from edgeq.values import DeviceFacts


def choose_cores(facts: DeviceFacts, text: str | None, threads: int) -> tuple[int, ...]:
    """The cores to bind a model's threads to; empty to leave them to the scheduler.

    Args:
        text: "big" (the fastest kind), "little" (the slowest), "all", or numbers such as "0-3" or
            "0,2"; None leaves it to the scheduler.
        threads: number of threads that will run there.

    Raises:
        UsageError: unreadable, names a missing core or kind, or has fewer cores than threads.
    """
    if text is None:
        return ()
    kinds = facts.core_kinds
    existing = tuple(sorted(number for kind in kinds for number in kind.numbers))
    if text == "all":
        chosen = existing
    elif text not in ("big", "little"):
        chosen = _read_numbers(text)
    elif len(kinds) > 1:
        chosen = kinds[-1 if text == "big" else 0].numbers
    else:
        raise UsageError(
            f"The {_count(existing)} of {facts.device} ({show_cores(existing)}) are all of the "
            f"same kind, so --cores {text} cannot choose among them.",
            hint=f"Pass --cores all, or numbers such as --cores {existing[0] if existing else 0}.",
        )
    missing = [number for number in chosen if number not in existing]
    if missing:
        raise UsageError(
            f"{facts.device} has no core {missing[0]} for --cores {text}; it has "
            f"{show_cores(existing)}."
        )
    if threads > len(chosen):
        raise UsageError(
            f"--threads {threads} are more than the {_count(chosen)} that --cores {text} names on "
            f"{facts.device} ({show_cores(chosen)}).",
            hint=f"Pass --threads {len(chosen)} at most, or name more cores.",
        )
    return chosen


def _read_numbers(text: str) -> tuple[int, ...]:
    """Numbers and ranges with commas, in order and once each."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        is_number = first.isdecimal() and (last.isdecimal() or not dash)
        low, high = (int(first), int(last or first)) if is_number else (1, 0)
        if low > high or high > 4095:
            raise UsageError(
                f"--cores {text!r} cannot be read.",
                hint="Write big, little, all, or numbers such as 0-3 or 0,2.",
            )
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


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
