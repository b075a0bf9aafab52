"""Whether a package names the classes in the order in which they were scored.

A model outputs numbers. Data whose labels are names (class folders, words in a table) give each
name a number, and the figures of a record are valid for these; other names for the same numbers
would show wrong words under right figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgeq.accuracy.class_names import bare_names
from edgeq.errors import UsageError
from edgeq.escaping import printable
from edgeq.packaging.contract.results import label_boxes, plan_boxes
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


def named_classes(contract: Contract) -> list[tuple[str, tuple[str, ...]]]:
    """Names of the classes of each output and of the boxes, with words for whose they are."""
    outputs = [(f"output {item.spec.name!r}", item.labels) for item in contract.outputs]
    return [*outputs, ("the boxes", contract.box_labels)]


def name_boxes(contract: Contract, scored: Iterable[Scored]) -> Contract:
    """The contract with names of its boxes' classes, unless it has some or none fit.

    Labels of the output with the scores come first, then names that were scored.

    Raises:
        UsageError: one is not a name.
    """
    plan = plan_boxes(contract)
    if plan is None or contract.box_labels:
        return contract
    own = [item.labels for item in contract.outputs if item.spec.name == plan.scores.output]
    known = (names for names in (*own, *(names for _, names in scored)))
    fitting = next((names for names in known if plan.has_classes(len(names))), None)
    return contract if fitting is None else label_boxes(contract, fitting)


def find_misfits(contract: Contract, scored: Iterable[Scored]) -> list[str]:
    """Why names that were scored cannot be those of the boxes' classes, a phrase each."""
    plan = plan_boxes(contract)
    if plan is None:
        return []
    return [
        printable(f"the boxes have {plan.classes} classes, but {source} names {len(names)}")
        for source, names in scored
        if names and not plan.has_classes(len(names))
    ]


def find_disorder(contract: Contract, scored: Iterable[Scored]) -> list[str]:
    """A sentence for labels of an output or of boxes, and each scoring in another order."""
    problems = []
    for source, names in scored:
        for whose, labels in named_classes(contract):
            moved = _first_moved(labels, names)
            if moved is not None:
                own, other = moved
                problems.append(
                    f"class {own} of {whose} is called {labels[own]!r}, but {source} scored "
                    f"{names[other]!r} as class {other}"
                )
    return list(map(printable, problems))


def find_unproven(contract: Contract, scored: Iterable[Scored]) -> list[str]:
    """A sentence for labels that have no name in common with the scored classes."""
    return [
        printable(
            "the order of the labels is not proven: the data has other names, so "
            f"check that class 0 of {whose}, {labels[0]!r}, is its {names[0]!r}"
        )
        for names in dict.fromkeys(tuple(names) for _, names in scored)
        for whose, labels in named_classes(contract)
        if len(labels) == len(names)
        and list(names) != [str(index) for index in range(len(names))]
        and set(bare_names(labels)).isdisjoint(bare_names(names))
    ]


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

    Labels may be spelled for people: "Ankle boot" is the folder ankle_boot or 9-ankle-boot.
    """
    if len(labels) != len(names):
        return None
    ours, theirs = bare_names(labels), bare_names(names)
    indices = {text: index for index, text in enumerate(theirs)}
    for index, text in enumerate(ours):
        if text != theirs[index] and text in indices:
            return index, indices[text]
    return None
