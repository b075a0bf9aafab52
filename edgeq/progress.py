"""The callbacks that report the progress of long work."""

from collections.abc import Callable

# Called with the step's name, the number of items done, and their total (None: not known).
OnProgress = Callable[[str, int, int | None], None]
# Called with a sentence that the user should read before the work, not after it.
OnNote = Callable[[str], None]


def quiet(step: str, done: int, total: int | None) -> None:
    """Report nothing."""


def no_note(text: str) -> None:
    """Show nothing."""
