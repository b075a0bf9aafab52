"""Whether a package names the classes in the order in which they were scored.

A model outputs numbers. Data whose labels are names (class folders, words in a table) give each
name a number, and the figures of a record are valid for these; other names for the same numbers
would show wrong words under right figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from edgeq.errors import UsageError
from edgeq.escaping import printable
from edgeq.packaging.contract.values import Contract
from edgeq.records.parts import split
from edgeq.records.reading import Record

Scored = tuple[str, Sequence[str]]  # who scored, and its names of the classes


def scored_names(records: Sequence[Record], sha256: str) -> Iterator[Scored]:
    """The class names that records state for the scoring of this model."""
    for part in split(records):
        if part.value is None:
            continue
        if part.kind == "eval":
            refs = [item.data for item in part.value if item.model.sha256 == sha256]
        elif part.kind in ("convert", "tune"):
            # If there are held-out samples, those were scored.
            refs = [part.value.test_data or part.value.data]
        else:
            refs = [part.value.data] if part.kind in ("compare", "debug") else []
        for ref in refs:
            if ref is not None and ref.class_names:
                yield part.record.path, ref.class_names


def find_disorder(contract: Contract, scored: Iterable[Scored]) -> list[str]:
    """A sentence for each output and each scoring in another order than that of the labels."""
    problems = []
    for source, names in scored:
        for output in contract.outputs:
            moved = _first_moved(output.labels, names)
            if moved is not None:
                own, other = moved
                problems.append(
                    f"class {own} of output {output.spec.name!r} is called {output.labels[own]!r}, "
                    f"but {source} scored {names[other]!r} as class {other}"
                )
    return list(map(printable, problems))


def require_order(contract: Contract, scored: Sequence[Scored]) -> None:
    """Refuse labels in another order than that of the data.

    Raises:
        UsageError: with the order that was scored.
    """
    problems = find_disorder(contract, scored)
    if not problems:
        return
    names = next(names for source, names in scored if find_disorder(contract, [(source, names)]))
    shown = ", ".join(names)
    raise UsageError(
        f"The labels are in another order than the classes of the data: {problems[0]}.",
        hint=f"Write them in the order {printable(shown)}; if the model was trained in another, "
        "measure it with class indices as labels (y in an .npz).",
    )


def _first_moved(labels: Sequence[str], names: Sequence[str]) -> tuple[int, int] | None:
    """The first label that is the name of another class, and the index of that class.

    Labels may be spelled for people: "Ankle boot" is the folder ankle_boot.
    """
    if len(labels) != len(names):
        return None
    ours, theirs = (
        [re.sub(r"[\W_]+", "", text.casefold()) or text for text in side]
        for side in (labels, names)
    )
    indices = {text: index for index, text in enumerate(theirs)}
    for index, text in enumerate(ours):
        if text != theirs[index] and text in indices:
            return index, indices[text]
    return None
