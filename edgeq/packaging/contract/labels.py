"""Names of classes: read from a text file, and refused or doubted where they would mislead."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeq.errors import UsageError, nearest_path
from edgeq.files.reading import read_file

_MOST_BYTES = 16 << 20
_NUMBERED = re.compile(r"(\d+)\s*[\s,;:]\s*\S")


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of classes, one in each line; empty lines at the end are ignored.

    Raises:
        UsageError: not a text file in UTF-8, or its lines are not names.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The labels {path} cannot be read: {getattr(error, 'strerror', error)}.",
            hint=f"{nearest_path(path)}Give a text file in UTF-8 with one class name in each line.",
        ) from error
    # Not splitlines(): it also ends a line at U+2028, form feeds and others.
    labels = tuple(line.strip() for line in text.rstrip().replace("\r\n", "\n").split("\n"))
    if labels == ("",):
        raise UsageError(
            f"The labels file {path} is empty.", hint="Write one class name in each line."
        )
    numbers = [int(match[1]) for label in labels if (match := _NUMBERED.match(label))]
    if numbers[:1] in ([0], [1]) and numbers == [numbers[0] + i for i in range(len(labels))]:
        raise UsageError(
            f"Every line of {path} begins with its number, as in {labels[0]!r}: it would become "
            "part of the name.",
            hint="Remove the numbers: sed -E 's/^[0-9]+[[:space:],;:]+//' "
            f"{shlex.quote(path.name)} > names.txt",
        )
    require_names(labels)
    return labels


def require_names(labels: Sequence[str]) -> None:
    """Refuse what no program could show as a name.

    Raises:
        UsageError: one is empty, or has a control character.
    """
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise UsageError(
                f"Label {number} of {len(labels)} is empty.",
                hint="Give each class a name; a number will do.",
            )
        if any(unicodedata.category(character) == "Cc" for character in label):
            raise UsageError(f"Label {number}, {label!r}, has a control character.")


def find_repeated(labels: Sequence[str]) -> list[str]:
    """Names that several classes have, in order."""
    return [label for label, count in Counter(labels).items() if count > 1]
