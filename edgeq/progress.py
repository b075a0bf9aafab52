"""The callbacks that report the progress of long work, and progress as text."""

import math
from collections.abc import Callable
from time import monotonic

# Called with the step's name, the number of items done, and their total (None: not known).
OnProgress = Callable[[str, int, int | None], None]
# Called with a sentence that the user should read before the work, not after it.
OnNote = Callable[[str], None]


LINES_S = 10.0  # between two lines in a log


def show_step(step: str, done: int, total: int | None) -> str:
    """A step with what is done: "calibrate: 3 of 60", "measure: 8905 done" or "lower ..."."""
    if total is not None:
        return f"{step}: {done} of {total}"
    return f"{step}: {done} done" if done else f"{step} ..."


def now_and_then(
    put: Callable[[str], None], pause_s: float, *, begins_at_once: bool = False
) -> OnProgress:
    """Return a callback that shows a step as text, at most one in a time.

    Args:
        put: shows it; makes it printable, because names in it may be hostile.
        pause_s: seconds between two, and before the first one.
        begins_at_once: without a pause before the first one.
    """
    last = -math.inf if begins_at_once else monotonic()

    def tell(step: str, done: int, total: int | None) -> None:
        nonlocal last
        if monotonic() - last >= pause_s:
            last = monotonic()
            put(show_step(step, done, total))

    return tell


def quiet(step: str, done: int, total: int | None) -> None:
    """Report nothing."""


def no_note(text: str) -> None:
    """Show nothing."""
