"""The callback that reports the progress of long work."""

from collections.abc import Callable

# Called with the step's name, the number of items done, and their total (None: not known).
OnProgress = Callable[[str, int, int | None], None]


def quiet(step: str, done: int, total: int | None) -> None:
    """Report nothing."""
