"""Make names from files harmless in a terminal and in the formats that edgeq writes.

Names in a model, a record or a board's answer can hold escape sequences, marks that change the
direction of writing, markup, or line breaks. There is one function for each output format; those
for source code are the `literals` of each packaging target.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

# ---------------------------------------------------------------- terminals


def printable(text: str) -> str:
    """Text on one line that cannot steer a terminal: unprintable characters become escapes.

    These are control characters (line breaks, too), marks that change the direction of writing or
    have no width, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_lines(text: str) -> str:
    """Printable text of several lines."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


# Commands that GitHub's and Azure's runners execute when they are in a log: "::" at the beginning
# of a line, also of a folded one; "##[" and "##vso[" anywhere.
_COMMAND = re.compile(r"(^(?:\s|\x1b\[[0-9;]*m)*)(?=::)|(?<=##)(?=\[)|(?<=##vso)(?=\[)", re.M)


def no_command(text: str) -> str:
    """Text whose lines no CI service executes as a command."""
    return _COMMAND.sub(lambda found: f"{found[1] or ''}\\", text)


def clean(value: Any, escape: Callable[[str], str] = printable) -> Any:
    """A value with `escape` applied to all texts in it."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, PurePath):
        return type(value)(escape(str(value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: clean(getattr(value, field.name), escape)
            for field in dataclasses.fields(value)
            if field.init
        }
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {clean(key, escape): clean(item, escape) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and not (value and isinstance(value[0], (int, float))):
        items = [clean(item, escape) for item in value]
        is_named = hasattr(value, "_fields")
        value = type(value)(*items) if is_named else type(value)(items)
    return value


def whole(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, as in invalid names, become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


# ---------------------------------------------------------------- JSON, TOML, Markdown


def json_text(plain: Any, indent: int | None = 2) -> str:
    """JSON with the letters of all languages, and escapes for unprintable characters.

    Raises:
        ValueError: a number is not finite.
    """
    return json_printable(json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False))


def json_printable(text: str) -> str:
    """JSON text with escapes for unprintable characters, which are all in strings."""
    return "\n".join(
        line if line.isprintable() else "".join(map(_json_char, line)) for line in text.split("\n")
    )


def _json_char(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


def toml_string(text: str) -> str:
    """A TOML string.

    Raises:
        ValueError: it contains lone surrogates, which TOML cannot contain.
    """
    return f'"{"".join(map(_toml_char, text))}"'


def _toml_char(char: str) -> str:
    if "\ud800" <= char <= "\udfff":
        raise ValueError("lone surrogates")
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


_NOTHING = "\N{ZERO WIDTH SPACE}"
# GitHub and GitLab turn these into links, mentions, pictures or formulas after they parse Markdown,
# so a backslash has no effect: a zero-width space inside breaks them.
_PARTED = (
    (re.compile(r"([@#!$%&~^])(?=\w)|(\$)"), rf"\1\2{_NOTHING}"),
    (re.compile(r"://"), f":{_NOTHING}//"),
    (re.compile(r"\b(www)\.", re.I), rf"\1{_NOTHING}."),
    (re.compile(r"\b(GH)-(?=\d)", re.I), rf"\1{_NOTHING}-"),
    (re.compile(r":(?=[\w+-]+:)"), f":{_NOTHING}"),
)
_MARKS = re.compile(r"([\\`*_\[\]|~#$])")
# At the beginning of a line, these start a list, a heading or a rule.
_FIRST = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+=](?:[-+=\s]|$)))")


def markdown(text: str) -> str:
    """Text without effect in Markdown: it ends no cell and makes no markup, link or mention."""
    flat = printable(" ".join(text.split()))
    for pattern, parted in _PARTED:
        flat = pattern.sub(parted, flat)
    escaped = _MARKS.sub(r"\\\1", flat)
    escaped = _FIRST.sub(r"\1\\", escaped)
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace(_NOTHING, "&#8203;")


def markdown_code(text: str) -> str:
    """Text as a span of code in Markdown, to be copied; not for the cell of a table."""
    flat = printable(" ".join(text.split()))
    fence = "`" * (max(map(len, re.findall("`+", flat)), default=0) + 1)
    # The spaces are not shown. Without them, a dollar beside the fence is a formula on GitHub.
    return f"{fence} {flat} {fence}"
