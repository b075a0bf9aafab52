"""The keys that a user set, in `edgeq.toml` or by a flag that overrides it; each value is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeq.errors import UsageError, did_you_mean
from edgeq.pipeline.keys import KEYS, TUNED, Key, NotOneOfError
from edgeq.project import ProjectFile, unknown_key

Name = tuple[str, str]  # section and key


@dataclass(frozen=True)
class Override:
    """A value from the command line.

    Attributes:
        value: as it is written in the file.
        flag: e.g. "--scheme".
    """

    value: Any
    flag: str


@dataclass(frozen=True)
class Setting:
    """A value.

    Attributes:
        value: as its key's reader returns it.
        where: for messages, e.g. "edgeq.toml, line 3" or "--scheme".
        folder: that a path in it starts from.
        is_flag: whether it is from the command line, so that it is the user's own.
    """

    value: Any
    where: str
    folder: Path
    is_flag: bool = False


def read_settings(project: ProjectFile, overrides: Mapping[Name, Override]) -> dict[Name, Setting]:
    """All keys that are set.

    Raises:
        UsageError: a key is unknown or in a wrong section, or its value is not allowed.
    """
    found: dict[Name, Setting] = {}
    folder = Path(project.file.path).parent
    for section, known in KEYS.items():
        for name, value in project.sections.get(section, {}).items():
            if name not in known:
                raise _misplaced(project, section, name) or unknown_key(
                    project, "key", (section, name), known
                )
            where = project.at(section, name)
            found[section, name] = Setting(_read(known[name], name, value, where), where, folder)
    for (section, name), given in overrides.items():
        value = _read(KEYS[section][name], name, given.value, given.flag)
        found[section, name] = Setting(value, given.flag, Path(), is_flag=True)
    if "tune" in project.sections:
        for key in TUNED:
            if (setting := found.get(("model", key))) is not None:
                raise UsageError(
                    f"{setting.where}: {key} is not allowed together with [tune], which chooses "
                    "it.",
                    hint=f"Remove {key}, or [tune].",
                )
    elif wrong := [setting for (section, _), setting in found.items() if section == "tune"]:
        raise UsageError(
            f"{wrong[0].where} is the budget of a search, and {project.file.path} has no [tune].",
            hint="Add [tune] to search, or max_drop_points to [policy] to judge the result.",
        )
    return found


def _misplaced(project: ProjectFile, section: str, key: str) -> UsageError | None:
    """The error for a key in a wrong section, None for any other name."""
    places = [f"[{name}]" for name, known in KEYS.items() if key in known]
    if not places:
        return None
    hint = f"It belongs in {' or '.join(places)}."
    if key in ("max_drop", "min_sqnr"):
        hint += " To judge the result instead of searching, set max_drop_points in [policy]."
    return UsageError(
        f"{project.at(section, key)}: {key} is not allowed in [{section}].", hint=hint
    )


def _read(key: Key, name: str, value: Any, where: str) -> Any:
    try:
        return key.read(value)
    except ValueError as error:
        known = error.known if isinstance(error, NotOneOfError) else ()
        guess = did_you_mean(str(value), known)
        raise UsageError(
            f"{where}: {name} must be {error}, not {value!r}.",
            hint=f"{guess}For example: {name} = {key.example}",
        ) from error
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error
