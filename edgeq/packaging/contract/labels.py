"""Names of classes: read from a text file, and refused or doubted where they would mislead."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeq.errors import UsageError
from edgeq.files.reading import read_file

_MOST_BYTES = 16 << 20
_NUMBERED = re.compile(r"(\d+)\s*[\s,;:]\s*\S")


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of classes, one in each line; empty lines at the end are none.

    Raises:
        UsageError: no text file in UTF-8, or one whose lines are no names.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The labels {path} cannot be read: {getattr(error, 'strerror', error)}.",
            hint="A text file in UTF-8 with one class name in each line.",
        ) from error
    # Not splitlines(): to that, U+2028, form feeds and others end a line too.
    labels = tuple(line.strip() for line in text.rstrip().replace("\r\n", "\n").split("\n"))
    if labels == ("",):
        raise UsageError(f"The labels {path} hold no name.", hint="One class name in each line.")
    _refuse_numbered(labels, path)
    require_names(labels)
    return labels


def _refuse_numbered(labels: Sequence[str], path: Path) -> None:
    found = [_NUMBERED.match(label) for label in labels]
    numbers = [int(match[1]) for match in found if match is not None]
    first = numbers[0] if numbers else 0
    if first in (0, 1) and numbers == list(range(first, first + len(labels))):
        raise UsageError(
            f"Every line of {path} begins with its number, as in {labels[0]!r}: it would become "
            "part of the name.",
            hint="Take the numbers off: sed -E 's/^[0-9]+[ ,;:]+//' labels.txt > names.txt",
        )


def require_names(labels: Sequence[str]) -> None:
    """Refuse what no program could show as a name.

    Raises:
        UsageError: one is empty, or has a control character.
    """
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise UsageError(
                f"Label {number} of {len(labels)} is empty.",
                hint="Each class needs a name, if only a number.",
            )
        if any(unicodedata.category(character) == "Cc" for character in label):
            raise UsageError(f"Label {number}, {label!r}, has a control character.")


def find_repeated(labels: Sequence[str]) -> list[str]:
    """Names that several classes have, in order."""
    return [label for label, count in Counter(labels).items() if count > 1]
