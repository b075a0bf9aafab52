"""Whether a package names the classes in the order in which they were scored.

A model answers with numbers. Data whose labels are names (class folders, words in a table) give
each name a number, and the figures of a record hold for these; other names for the same numbers
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

_SHOWN = 4

Scored = tuple[str, Sequence[str]]  # who scored, and its names of the classes


def scored_names(records: Sequence[Record], sha256: str) -> Iterator[Scored]:
    """What records say of the classes that this model was scored by."""
    for part in split(records):
        if part.value is None:
            continue
        if part.kind == "eval":
            refs = [item.data for item in part.value if item.model.sha256 == sha256]
        elif part.kind in ("convert", "tune"):
            # Held-out samples are those that were scored, where there are any.
            refs = [part.value.test_data or part.value.data]
        else:
            refs = [part.value.data] if part.kind in ("compare", "debug") else []
        for ref in refs:
            if ref is not None and ref.class_names:
                yield part.record.path, ref.class_names


def find_disorder(contract: Contract, scored: Iterable[Scored]) -> list[str]:
    """A sentence for each output and each who scored in another order than the labels say."""
    return [
        printable(f"class {place} of output {output.spec.name!r} is called {label!r}, but {source} "
                  f"scored {names[other]!r} as class {other}")
        for source, names in scored
        for output in contract.outputs
        if (found := _first_moved(output.labels, names)) is not None
        for place, other in [found]
        for label in [output.labels[place]]
    ]  # fmt: skip


def require_order(contract: Contract, scored: Sequence[Scored]) -> None:
    """Refuse labels in another order than that of the data.

    Raises:
        UsageError: with the order that was scored.
    """
    problems = find_disorder(contract, scored)
    if not problems:
        return
    names = next(names for source, names in scored if find_disorder(contract, [(source, names)]))
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise UsageError(
        f"The labels are in another order than the classes of the data: {problems[0]}.",
        hint=f"Write them in the order {printable(shown)}; if the model was trained in another, "
        "measure it with class indices as labels (y in an .npz).",
    )


def _first_moved(labels: Sequence[str], names: Sequence[str]) -> tuple[int, int] | None:
    """The first label that is the name of another class than its own, and of which.

    Labels may be spelled for people: "Ankle boot" is the folder ankle_boot.
    """
    if len(labels) != len(names):
        return None
    ours, theirs = ([_plain(text) for text in side] for side in (labels, names))
    places = {text: place for place, text in enumerate(theirs)}
    for place, text in enumerate(ours):
        if text != theirs[place] and text in places:
            return place, places[text]
    return None


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold()) or text
