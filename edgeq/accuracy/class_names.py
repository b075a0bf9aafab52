"""Whether label names can be matched to the classes of a model, and what to type if not.

Names become indices in alphabetical order, so one class too few or too many shifts the others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeq.converters.samples.open_samples import Samples
from edgeq.errors import DataError
from edgeq.escaping import printable
from edgeq.values import TensorSpec
from edgeq.wording import list_some

Known = tuple[str, Sequence[str]]  # a data set of the model, and its names of the classes

_INDICES = "Give the model's class indices as labels: y in an .npz, (sample, index) pairs."
_NUMBERED = re.compile(r"\d+[\W_]+(\w.*)")
_MOST_TYPED = 8  # folders in one command of a hint


def require_clear_names(
    samples: Samples, outputs: Sequence[TensorSpec], known: Iterable[Known] = ()
) -> None:
    """Refuse label names that cannot be matched to classes.

    Args:
        known: data sets that the model was made with.

    Raises:
        DataError: with the way out.
    """
    found = unclear_names(samples, outputs, known)
    if found is not None:
        reason, hint = found
        raise DataError(reason, hint=hint)


def unclear_names(
    samples: Samples, outputs: Sequence[TensorSpec], known: Iterable[Known] = ()
) -> tuple[str, str] | None:
    """Return why label names cannot be matched to a model's classes, and a hint; None if they can.

    Other names than those of a data set that the model was made with are unclear, too; numbers at
    the beginning, case and punctuation do not count. Names that are numbers are indices.
    """
    names = tuple(map(printable, samples.class_names))
    widths = [max(spec.shape[-1], 2) for spec in outputs if len(spec.shape) == 2]
    if not names or not widths:
        return None
    folder = samples.class_folder
    for source, theirs in known:
        if len(theirs) not in widths or _are_numbers(names) or _are_numbers(theirs):
            continue
        if bare_names(names) == bare_names(theirs):
            return None
        if not set(names) & set(theirs):
            reason = (
                f"{samples.name} has other names of classes ({_quoted(names)}) than {source} "
                f"({_quoted(theirs)}), so they cannot be matched to the model's {len(theirs)} "
                "classes."
            )
            return reason, f"Name them as {source} does, or: {_INDICES}"
        missing = [name for name in theirs if name not in names]
        extra = [name for name in names if name not in theirs]
        parts = [f"has no class {_quoted(missing)}, which {source} has"] if missing else []
        parts += [f"has the class {_quoted(extra)}, which {source} has not"] if extra else []
        parts = parts or [f"has the classes in another order than {source} ({_quoted(theirs)})"]
        reason = (
            f"{samples.name} {' and '.join(parts)}, so its names cannot be matched to the model's "
            f"{len(theirs)} classes."
        )
        return reason, _hint(folder, missing, extra)
    if len(names) in widths:
        return None
    reason = (
        f"The labels are {len(names)} names ({list_some(names)}), but the model has {widths[0]} "
        "classes, so the names cannot be matched to classes."
    )
    unknown = ["NAME"] if len(names) < widths[0] else []
    return reason, _hint(folder, unknown, [] if unknown else ["NAME"])


def _hint(folder: Path | None, missing: Sequence[str], extra: Sequence[str]) -> str:
    """Return what to type: each class of the model needs a folder, and no other folder may be."""
    if folder is None or not (missing or extra):
        return _INDICES
    lacking, other = (
        [(folder / name).as_posix() for name in (names if len(names) <= _MOST_TYPED else ["NAME"])]
        for names in (missing, extra)
    )
    ways = []
    if len(missing) == len(extra) == 1:
        ways.append(f"If both are the same class: {shlex.join(['mv', *other, *lacking])}")
    if missing:
        made = shlex.join(["mkdir", *lacking])
        ways.append(f"A class without samples needs an empty folder: {made}")
    if extra:
        moved = shlex.join(["mv", *other, (folder / "..").as_posix()])
        ways.append(f"Move folders of other classes away: {moved}")
    return "; ".join(ways)


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name.isdecimal() for name in names)


def bare_names(names: Sequence[str]) -> list[str]:
    """Names without case, punctuation, and the number before each, if all have one."""
    matches = [_NUMBERED.fullmatch(text) for text in names]
    bare = [match[1] for match in matches if match is not None]
    chosen = bare if len(set(bare)) == len(names) else names
    return [re.sub(r"[\W_]+", "", text.casefold()) or text for text in chosen]


def _quoted(names: Sequence[str]) -> str:
    return list_some([repr(name) for name in names])
