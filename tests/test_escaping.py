"""Each escape, read back by a reader of that format."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import tomlkit
from markdown_it import MarkdownIt

from edgeq.escaping import (
    clean,
    json_printable,
    json_text,
    markdown,
    markdown_code,
    printable,
    printable_lines,
    toml_string,
)
from tests.nasty import ALL, NASTY, WHOLE, steering

each = pytest.mark.parametrize("name", NASTY.values(), ids=NASTY)


@each
def test_a_terminal_sees_one_line_of_printable_characters(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable() and printable(shown) == shown
    assert steering(shown) == []


def test_what_is_printable_stays() -> None:
    assert printable(NASTY["letters"]) == NASTY["letters"]
    assert printable("a\nb\x1b[2J\x9b\u202e\ud800") == r"a\nb\x1b[2J\x9b\u202e\ud800"
    assert printable_lines("a\tb\x1b\n\r\n") == "a       b\\x1b\n\\r\n"


def test_values_are_cleaned_whatever_they_are_made_of() -> None:
    @dataclass(frozen=True)
    class Inner:
        name: str
        numbers: tuple[float, ...]

    class Named(NamedTuple):
        name: str

    value = (Inner("\x07", (1.0, 2.0)), Named("\n"), {"\x1b": ["\x9b"]}, Path("a\x1b"), None, 3)
    assert clean(value) == (
        Inner(r"\x07", (1.0, 2.0)), Named(r"\n"), {r"\x1b": [r"\x9b"]}, Path(r"a\x1b"), None, 3,
    )  # fmt: skip
    assert isinstance(clean(value)[1], Named)


@each
def test_json_says_the_same_in_printable_characters(name: str) -> None:
    text = json_text({name: [name]})
    assert steering(text) == []
    assert json.loads(text) == {name: [name]}
    assert json.loads(json_printable(json.dumps(name, ensure_ascii=False))) == name
    text.encode()  # lone surrogates are escapes


@pytest.mark.parametrize("name", WHOLE.values(), ids=WHOLE)
def test_toml_reads_the_same(name: str) -> None:
    text = f"[model]\nsource = {toml_string(name)}\n"
    assert tomlkit.parse(text).unwrap() == {"model": {"source": name}}
    assert steering(text) == []


def test_toml_has_no_lone_surrogates() -> None:
    with pytest.raises(ValueError, match="lone surrogates"):
        toml_string(NASTY["half"])


# Where names stand in Markdown; and what beside their text the place itself makes.
PLACES = {
    "line": ("{}", "<p>{}</p>"),
    "item": ("- {}", "<ul>\n<li>{}</li>\n</ul>"),
    "heading": ("### {}", "<h3>{}</h3>"),
    "below": ("a\n{}", "<p>a\n{}</p>"),
    "cell": ("| h |\n|---|\n| {} |", "<table>\n<thead>\n<tr>\n<th>h</th>\n</tr>\n</thead>\n<tbody>"
             "\n<tr>\n<td>{}</td>\n</tr>\n</tbody>\n</table>"),
}  # fmt: skip
# What GitHub and GitLab look for in the text of the page that Markdown became.
FOUND_LATER = re.compile(
    r"[@#!%~&^$](?=\w)|://|\bwww\.|\bgh-\d|:[\w+-]+:|\$[^\s\u200b]", re.IGNORECASE
)


@pytest.mark.parametrize("place", PLACES)
@each
def test_markdown_makes_nothing_of_it(name: str, place: str) -> None:
    source, made = PLACES[place]
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = reader.render(source.format(markdown(name))).strip()
    head, tail = made.split("{}")
    assert page.startswith(head) and page.endswith(tail)
    inside = page[len(head) : len(page) - len(tail)]
    assert "<" not in inside
    text = html.unescape(inside)
    assert text.replace("\u200b", "") == printable(" ".join(name.split()))
    assert FOUND_LATER.findall(text) == []


@each
def test_code_in_markdown_can_be_copied_as_it_is(name: str) -> None:
    page = MarkdownIt("commonmark", {"html": True}).render(f"1. Try: {markdown_code(name)}")
    shown = re.fullmatch(r"<ol>\n<li>Try: <code>(.*)</code></li>\n</ol>\n", page)
    assert shown is not None
    assert html.unescape(shown[1]) == printable(" ".join(name.split()))


def test_plain_figures_are_left_as_they_are() -> None:
    for text in ("-0.50 points (-1.2 to +0.3)", "98.3 %, 3x faster", "1.5 MB", "a/b-c.tflite"):
        assert markdown(text) == text


def test_all_at_once() -> None:
    assert steering(printable(ALL) + markdown(ALL)) == []
