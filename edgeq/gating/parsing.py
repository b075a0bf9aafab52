"""Read the `[policy]` of an `edgeq.toml`; everything in it is checked before use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeq.errors import UsageError, did_you_mean, nearest_path
from edgeq.gating.policy import NOT_DISPROVEN, PROOFS, PROVEN, Limit, Policy
from edgeq.gating.rules import RULES, Rule, rules_in
from edgeq.issues import ISSUE_KINDS
from edgeq.metrics.catalogue import edgeq_name
from edgeq.project import Keys, ProjectFile, read_project, unknown_key

SETTINGS = ("drop_must_be", "speed_must_be", "accept")
_TABLES = ("devices", "metrics", "regression")
_NAMED = ("devices", "metrics")  # tables of tables


def read_policy(path: Path) -> Policy:
    """The policy of a file.

    Raises:
        UsageError: there is no policy, it has no rule, or a name or value in it is wrong.
    """
    if not path.exists():
        raise UsageError(
            f"{path} does not exist.",
            hint=f"{nearest_path(path)}`edgeq init MODEL` writes one; or write two lines into it: "
            "[policy] and below it max_drop_points = 0.5",
        )
    project = read_project(path)
    table = project.sections.get("policy")
    if table is None:
        raise UsageError(
            f"{path} has no [policy].", hint="Add one, such as: [policy] and max_drop_points = 0.5"
        )
    limits = tuple(_limits(project, table))
    if not limits:
        known = ", ".join(rules_in(""))
        raise UsageError(
            f"The [policy] of {path} has no rule, so every model would pass.",
            hint=f"Rules are {known}, and tables [policy.metrics.NAME], [policy.devices.NAME] and "
            "[policy.regression].",
        )
    return Policy(
        file=project.file,
        drop_must_be=_proof(project, table, "drop_must_be", PROVEN),
        speed_must_be=_proof(project, table, "speed_must_be", NOT_DISPROVEN),
        accept=_accept(project, table),
        limits=limits,
    )


def _limits(project: ProjectFile, table: Mapping[str, Any]) -> Iterator[Limit]:
    for key, value in table.items():
        keys = ("policy", key)
        if key in SETTINGS:
            continue
        if key in _NAMED:
            for name, rules in _table(project, keys, value).items():
                own = _table(project, (*keys, name), rules)
                about = edgeq_name(name) if key == "metrics" else name
                yield from _own_limits(project, (*keys, name), own, key, about)
        elif key == "regression":
            own = _table(project, keys, value)
            yield from _own_limits(project, keys, own, "regression", None)
        else:
            known = rules_in("")
            if key not in known:
                names = [*known, *SETTINGS, *(f"[{name}]" for name in _TABLES)]
                raise _elsewhere(project, keys) or unknown_key(project, "rule", keys, names)
            yield _limit(project, keys, value, known[key], None, key)


def _table(project: ProjectFile, keys: Keys, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        example = ".".join(keys if keys[-1] not in _NAMED else (*keys, "NAME"))
        raise UsageError(
            f"{project.at(*keys)}: {keys[-1]} must be a table, not {value!r}.",
            hint=f"Write [{example}], with its rules below.",
        )
    return value


def _own_limits(
    project: ProjectFile, keys: Keys, table: Mapping[str, Any], place: str, device: str | None
) -> Iterator[Limit]:
    known = rules_in(place)
    if not table:
        raise UsageError(
            f"{project.at(*keys)}: [{'.'.join(keys)}] has no rule.",
            hint=f"Rules there are {', '.join(known)}.",
        )
    for key, value in table.items():
        if key not in known:
            raise _elsewhere(project, (*keys, key)) or unknown_key(
                project, "rule", (*keys, key), known
            )
        name = ".".join((*keys[1:], key))
        yield _limit(project, (*keys, key), value, known[key], device, name)


_TABLE_NAMES = {
    "": "[policy]",
    "any": "[policy] or [policy.devices.NAME]",
    "devices": "[policy.devices.NAME]",
    "metrics": "[policy.metrics.NAME]",
    "regression": "[policy.regression]",
}


def _elsewhere(project: ProjectFile, keys: Keys) -> UsageError | None:
    """The error for a rule or setting in a wrong table, None for any other name."""
    key = keys[-1]
    places = [_TABLE_NAMES[rule.place] for rule in RULES.values() if rule.key == key]
    if key in SETTINGS:
        places = ["[policy]"]
    if not places:
        return None
    return UsageError(
        f"{project.at(*keys)}: {key} is not allowed in [{'.'.join(keys[:-1])}].",
        hint=f"It belongs in {' or '.join(places)}.",
    )


def _limit(
    project: ProjectFile, keys: Keys, value: Any, rule: Rule, device: str | None, name: str
) -> Limit:
    try:
        found = rule.read(value)
    except ValueError as error:
        raise UsageError(
            f"{project.at(*keys)}: {name} must be {error}, not {value!r}.",
            hint=f"For example: {rule.key} = {rule.example}",
        ) from error
    side = rule.words or ("at least" if rule.key.startswith("min_") else "at most")
    unit = rule.unit.removesuffix("s") if value == 1 and rule.unit == " points" else rule.unit
    shown = f"{side} {value}{unit}"
    line = project.lines.get(keys)
    number, text = (math.nan, found) if isinstance(found, str) else (found, "")
    return Limit((rule.place, rule.key), device, name, number, text, shown, line)


def _proof(project: ProjectFile, table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if value not in PROOFS:
        raise UsageError(
            f"{project.at('policy', key)}: {key} must be {PROVEN!r} or {NOT_DISPROVEN!r}, not "
            f"{value!r}.",
            hint=did_you_mean(str(value), PROOFS).strip() or None,
        )
    return str(value)


def _accept(project: ProjectFile, table: Mapping[str, Any]) -> tuple[str, ...]:
    value = table.get("accept", [])
    where = project.at("policy", "accept")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(
            f"{where}: accept must be a list of codes, not {value!r}.",
            hint='For example: accept = ["bench.load"]',
        )
    warnings = [code for code, kind in ISSUE_KINDS.items() if kind.severity == "warning"]
    for code in value:
        kind = ISSUE_KINDS.get(code)
        if kind is None:
            raise unknown_key(project, "code", ("policy", "accept", code), warnings)
        if kind.severity != "warning":
            raise UsageError(
                f"{where}: {code} is {'an' if kind.severity == 'error' else 'a'} {kind.severity}, "
                "and only warnings can be accepted."
            )
    return tuple(value)
