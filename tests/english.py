"""The lint of English: patterns that a reader has to read twice, and what to write instead.

`scripts/english [PATH...]` prints every hit as file:line. It reads the strings, docstrings and
comments of Python files, Markdown without its blocks of output, and other text files as a whole.
A comment with "english: quoted" exempts a line of Python; <!-- english: off --> and
<!-- english: on --> exempt a part of a Markdown page.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIXES = {".py", ".md", ".jinja", ".j2", ".html", ".css", ".js", ".sh", ".toml", ".yml",
            ".swift", ".java", ".kt", ".h", ".cc", ".pro", ".kts"}  # fmt: skip
QUOTED = "english: quoted"
BLOCK = re.compile(r"<!-- english: off -->.*?<!-- english: on -->", re.S)
# Output of commands is linted in the code that prints it.
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
OUTPUT = {"", "text", "console", "json", "mermaid"}
CODE = re.compile(r"``.+?``|`[^`\n]+(?:\n[^`\n]+)?`")
# In other code: comments, and strings of several words.
PROGRAMS = {".css", ".java", ".js", ".sh", ".swift", ".kt", ".kts", ".h", ".cc"}
PROSE = re.compile(
    r"(?:^[ \t]*(?://|#(?! *(?:if|end|include|define|pragma)))[^\n]*\n)+"
    r'|/\*.*?\*/|//[^\n]*|"[^"\n]* [^"\n]*"',
    re.M | re.S,
)
MARKER = re.compile(r"^[ \t]*(?://+|#|\*+)", re.M)
REGULAR = {"compile", "match", "search", "sub", "fullmatch", "findall", "finditer", "split"}
WHOLE = ("README.md", "CONTRIBUTING.md", "docs", "benchmarks", "models", "scripts", "edgeq",
         "converters", "device_runners")  # fmt: skip


class Rule(NamedTuple):
    pattern: re.Pattern[str]
    write: str


class Text(NamedTuple):
    line: int
    content: str
    is_docstring: bool = False


class Hit(NamedTuple):
    path: Path
    line: int
    found: str
    write: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: {self.write}"


def _read_rules() -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Rules for all texts, and those for docstrings."""
    sections: list[list[Rule]] = [[]]
    for line in Path(__file__).with_name("english_rules.txt").read_text().splitlines():
        if line == "[docstrings]":
            sections.append([])
        elif line and not line.startswith("#"):
            pattern, write = line.split(" ~ ")
            sections[-1].append(Rule(re.compile(pattern), write))
    everywhere, docstrings = map(tuple, sections)
    return everywhere, docstrings


RULES, DOCSTRINGS = _read_rules()


def lint(path: Path) -> list[Hit]:
    """All hits of a file, or of the files of a folder."""
    if path.is_dir():
        inside = [
            item for item in sorted(path.rglob("*")) if item.suffix in SUFFIXES or _is_script(item)
        ]
        return [hit for item in inside if not item.is_symlink() for hit in lint(item)]
    if path.suffix == ".py":
        texts = _python(path)
    else:
        texts = _program(path) if PROGRAMS & set(path.suffixes) else _plain(path)
    return sorted({hit for text in texts for hit in _search(path, text)})


def _is_script(path: Path) -> bool:
    return not path.suffix and path.is_file() and path.read_bytes()[:2] == b"#!"


def _search(path: Path, text: Text) -> Iterator[Hit]:
    """Rules on the text with single spaces; a hit's line is counted in the text as it was."""
    words = [(match.start(), match[0]) for match in re.finditer(r"\S+", text.content)]
    joined = " ".join(word for _, word in words)
    starts = [0]
    for _, word in words:
        starts.append(starts[-1] + len(word) + 1)
    seen = set()
    for rule in (*(DOCSTRINGS if text.is_docstring else ()), *RULES):
        for match in rule.pattern.finditer(joined):
            found = match[0].lstrip(".,;:!? ")
            position = match.end() - len(found)
            if position not in seen:
                at = words[bisect_right(starts, position) - 1][0]
                line = text.line + text.content.count("\n", 0, at)
                yield Hit(path, line, found[:60].strip(), rule.write)
            seen.add(position)


def _python(path: Path) -> Iterator[Text]:
    source = path.read_text()
    lines = source.splitlines()
    tree = ast.parse(source)
    skipped, docstrings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in REGULAR and node.args:
            skipped |= {id(part) for part in ast.walk(node.args[0])}
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add(id(first.value))
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, (ast.Constant, ast.JoinedStr)):
            continue
        value = _value(node)
        if " " in value and QUOTED not in "".join(lines[node.lineno - 1 : node.end_lineno]):
            yield Text(node.lineno, CODE.sub("X", value), id(node) in docstrings)
    yield from _comments(source)


def _value(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "{X}" for part in node.values
    )


def _comments(source: str) -> Iterator[Text]:
    """Comments; those on lines that follow each other are one text."""
    block: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or QUOTED in token.string:
            continue
        alone = token.line.strip().startswith("#")
        if block and not (alone and token.start[0] == last + 1):
            yield Text(last - len(block) + 1, CODE.sub("X", "\n".join(block)))
            block = []
        block.append(token.string.lstrip("#: "))
        last = token.start[0]
    if block:
        yield Text(last - len(block) + 1, CODE.sub("X", "\n".join(block)))


def _program(path: Path) -> Iterator[Text]:
    source = path.read_text()
    for match in PROSE.finditer(source):
        yield Text(source.count("\n", 0, match.start()) + 1, MARKER.sub("", match[0]))


def _plain(path: Path) -> Iterator[Text]:
    """Paragraphs, and items of lists and cells of tables each for itself."""
    source = path.read_text()
    if path.suffix == ".md":
        source = FENCE.sub(_open, source)
        source = CODE.sub(_blank, BLOCK.sub(_blank, source))
    line = 1
    for part in re.split(r"(\n\s*\n|\n *(?=[-*|#] )|\n *(?=\d+\. )|(?<=\n)#+ | \| )", source):
        if part.strip():
            yield Text(line, part)
        line += part.count("\n")


def _blank(match: re.Match[str]) -> str:
    return "X" + "\n" * match[0].count("\n")


def _open(fence: re.Match[str]) -> str:
    """Blank a block of output, and take the fences from other blocks."""
    return _blank(fence) if fence[1] in OUTPUT else f"\n{fence[2]}"


def main() -> None:
    hits = [hit for name in sys.argv[1:] or WHOLE for hit in lint(Path(name))]
    print(*hits, sep="\n", end="\n" if hits else "")
    sys.exit(1 if hits else 0)


if __name__ == "__main__":
    main()
