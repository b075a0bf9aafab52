"""The model that the records are about; all must be about the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from edgeq.errors import RecordError
from edgeq.records.parts import Part, candidate_of, float_files_of, models_of
from edgeq.values import FileRef, Issue

# Where no record gives the models roles, the candidate is taken from the first of these kinds.
_ALONE = ("inspect", "fit", "parity", "profile", "bench", "eval", "convert", "doctor")


@dataclass(frozen=True)
class Subject:
    """The model of a report.

    Attributes:
        candidate: None when records name no model, as `doctor` does not.
        baseline: the float model as a record names it, None when none does.
        baseline_digests: of all files that are known to be that float model.
        notes: what a reader has to know about their relation.
    """

    candidate: FileRef | None
    baseline: FileRef | None
    baseline_digests: frozenset[str]
    notes: tuple[Issue, ...] = ()


def find_subject(parts: Sequence[Part]) -> Subject:
    """The model that all parts are about.

    Raises:
        RecordError: they are about different models.
    """
    known = [part for part in parts if part.value is not None]
    made = ("convert", "tune", "compare", "debug", "gate")
    pairs = [part for part in known if part.kind in made and not part.is_float_copy]
    if not pairs:
        return _find_alone(known)
    first, candidate = pairs[0], models_of(pairs[0])[0]
    for part in pairs:
        other = models_of(part)[0]
        if other.sha256 != candidate.sha256:
            raise _different((first, candidate), (part, other))
    groups = _float_models([*pairs, *(part for part in known if part.is_float_copy)])
    digests = frozenset(digest for group in groups for digest in group.digests)
    for part in known:
        models = models_of(part)
        if models and not {model.sha256 for model in models} & {candidate.sha256, *digests}:
            raise _different((first, candidate), (part, models[0]))
    notes: tuple[Issue, ...] = ()
    if len(groups) > 1:
        names = " and ".join(
            f"{group.shown.path} ({group.shown.sha256[:12]}, in {group.part.record.path})"
            for group in groups
        )
        text = f"{names} are both named as the float model; no record proves them the same."
        notes = (Issue("", "note", text),)
    return Subject(candidate, groups[0].shown if groups else None, digests, notes)


def _find_alone(known: Sequence[Part]) -> Subject:
    """The subject of records without roles: each must share a model with those before it."""
    named = [(part, models) for part in known if (models := models_of(part))]
    if not named:
        return Subject(None, None, frozenset())
    named.sort(key=lambda item: _ALONE.index(item[0].kind))
    first, models = named[0]
    digests = {model.sha256 for model in models}
    for part, others in named[1:]:
        own = {model.sha256 for model in others}
        if not own & digests:
            raise _different((first, models[0]), (part, others[0]))
        digests |= own
    return Subject(models[0], None, frozenset(digests - {models[0].sha256}))


@dataclass
class _FloatModel:
    """Files that records call one float model, and the formats of those that a user named."""

    shown: FileRef
    part: Part
    digests: set[str]
    formats: set[str]


def _float_models(parts: Sequence[Part]) -> list[_FloatModel]:
    """Files of the float model, joined where a record names two of them together.

    Raises:
        RecordError: two files of one format, so that they cannot be the same model.
    """
    groups: list[_FloatModel] = []
    for part in parts:
        files = float_files_of(part)
        made = candidate_of(part)
        if not files or made is None:
            continue
        visible = [files[0], *([made] if part.is_float_copy else [])]
        own = _FloatModel(
            files[0],
            part,
            {file.sha256 for file in (*files, *visible)},
            {PurePath(file.path).suffix.lower() for file in visible},
        )
        for group in [group for group in groups if group.digests & own.digests]:
            groups.remove(group)
            group.digests |= own.digests
            group.formats |= own.formats
            own = group
        groups.append(own)
    for number, group in enumerate(groups):
        for other in groups[:number]:
            if group.formats & other.formats:
                raise _different((other.part, other.shown), (group.part, group.shown))
    return groups


def _different(one: tuple[Part, FileRef], other: tuple[Part, FileRef]) -> RecordError:
    names = [
        f"{part.record.path} is about {file.path} (sha256 {file.sha256[:12]})"
        for part, file in (one, other)
    ]
    return RecordError(
        f"The records are about different models: {names[0]}, and {names[1]}.",
        hint="Make one report for each model, from the records of that file.",
    )
