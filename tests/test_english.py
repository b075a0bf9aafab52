"""The texts of the repository are plain technical English, and the lint finds what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.english import Text, _search, lint

ROOT = Path(__file__).resolve().parents[1]
# The sweep of the code adds its folders: edgeq, converters, device_runners.
COVERED = ("README.md", "CONTRIBUTING.md", "docs", "benchmarks", "models", "scripts",
           "edgeq", "converters", "device_runners")  # fmt: skip
# Phrases of CONTRIBUTING's table and others: the lint finds the first ones, and not the others.
HARD = (
    "X is no record: it is no text.",
    "X has the schema 9, which is none.",
    "--max-drop -1 is no number to hold a result to.",
    "one model at a time, so that the heat is its own; 2 were given, all the same",
    "Leave out X, or what stands in its way.",
    "calibrates on some hundred samples",
    "Mend the model; or --force packages it all the same",
    "a command which all but bench needs",
    "Of a SavedModel that has several.",
    "Run one model for so long",
    "the records are held against each other",
    "X goes with --scheme int8 only.",
    "Is the answer at hand, be it late?",
    "What was tried is kept.",
    "Who adds a file adds a row.",
    "X is not there.",
    "it was told by its sha256",
    "an environment of its own",
    "Unknown scheme 'x'; known are int8, fp16.".replace("int8", "{X}"),
    "the file is damaged or cut short",
)
PLAIN = (
    "X is not an edgeq record: it is not text.",
    "X has the unknown schema 9.",
    "--max-drop must be 0 or more, not -1.",
    "--sustained takes one model (2 given): a second one would start on a hot processor.",
    "Remove X: this model needs the stock calibrator.",
    "needs a representative dataset; none was given",
    "Fix the model, or pass --force; the package will record it.",
    "every command except bench needs it",
    "Seed for choosing samples.",
    "Run one model for this many minutes",
    "There is no device 'x'; it is no longer attached. The link is no faster than USB.",
    "What does it do?",
    "The board holds the model in RAM as long as it runs.",
)


def find(text: str) -> list[str]:
    return [hit.found for hit in _search(Path("x"), Text(1, text))]


@pytest.mark.parametrize("text", HARD)
def test_a_hard_phrase_is_found(text: str) -> None:
    assert find(text)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_passes(text: str) -> None:
    assert find(text) == []


def test_a_hit_has_the_line_and_the_kinds_of_text_are_read(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        '"""See other."""\n'
        "import re\n\n"
        "# The file is cut\n"
        "# short here.\n"
        "PATTERN = re.compile('is no x')\n"
        "NAME = 'mend'\n"
        "KEPT = 'mend it'  # english: quoted\n"
        "def f(x):\n"
        '    """First.\n\n    Then mend it.\n    """\n'
        "    return f'{x} is no {x}'\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\nIt is `all the same` to\nmend it.\n\n```text\nmend\n```\n\n"
        "```python\n# mend it\n```\n\n"
        "<!-- english: off -->\nmend\n<!-- english: on -->\n\n- mend\n"
    )
    program = tmp_path / "Program.java.jinja"
    program.write_text('// It is cut\n// short.\nint wanted = 1;\nthrow("mend it");\n')
    found = [(hit.path.name, hit.line, hit.found) for hit in lint(tmp_path)]
    assert found == [
        ("Program.java.jinja", 1, "cut short"),
        ("Program.java.jinja", 4, "mend"),
        ("code.py", 1, "See"),
        ("code.py", 4, "cut short"),
        ("code.py", 12, "mend"),
        ("code.py", 14, "is no"),
        ("page.md", 4, "mend"),
        ("page.md", 11, "mend"),
        ("page.md", 18, "mend"),
    ]


@pytest.mark.parametrize("name", COVERED)
def test_texts_are_plain_english(name: str) -> None:
    hits = [str(hit) for hit in lint(ROOT / name)]
    assert not hits, "\n".join(hits)
