"""Names that would steer a terminal, in what the real commands print."""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import flatbuffers
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from edgeq.cli import cli, printing
from edgeq.converters.lowering.framework_process import FrameworkProcess
from edgeq.errors import RecordError
from edgeq.escaping import printable
from edgeq.records import reading
from tests import tiny_models
from tests.nasty import ALL, NASTY, WHOLE, require_harmless, steering
from tests.terminals import at_a_terminal

# What a file system takes as one name.
FILES = {key: text.replace("/", ":") for key, text in NASTY.items() if len(text) < 200}


def run(*arguments: object) -> Any:
    """A command as a terminal would get it, with its colours."""
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False, color=True)


def nasty_model(path: Path) -> Path:
    """Every name of it: tensors, a signature, custom operators, a description, metadata."""
    schema = tiny_models.schema
    names = list(WHOLE.values())
    tensors = [tiny_models.tensor(name, [1, 3]) for name in [*names, "end"]]
    operators = [tiny_models.operator(kind, [kind], [kind + 1]) for kind in range(len(names))]
    main = tiny_models.graph(tensors, [0], [len(names)], operators)
    content = tiny_models.model([main], names, signature=({names[4]: 0}, {names[2]: len(names)}))
    tree = schema.ModelT.InitFromPackedBuf(content, 0)
    tree.description = ALL.encode("utf-8", "replace").decode()
    entry = schema.MetadataT()
    entry.name, entry.buffer = names[3], 0
    tree.metadata = [entry]
    tree.signatureDefs[0].signatureKey = names[1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_inspect_shows_names_of_a_model(tmp_path: Path) -> None:
    path = nasty_model(tmp_path / "model.tflite")
    done = run("inspect", path, "--all", "-o", tmp_path / "inspect.json")
    assert done.exception is None, done.exception
    require_harmless(done.output, *WHOLE.values())
    assert printable(WHOLE["colours"])[:12] in done.output
    shown = run("show", tmp_path / "inspect.json")
    require_harmless(shown.output, *WHOLE.values())
    assert not any(line.startswith(("PASS", "::", "##")) for line in shown.output.split("\n"))
    as_json = run("inspect", path, "--json")
    assert steering(as_json.output) == []
    names = {item["name"] for item in json.loads(as_json.output)["tensors"]}
    assert set(WHOLE.values()) <= names  # nothing was lost


def test_a_real_terminal_gets_no_other_control_character(tmp_path: Path) -> None:
    path = nasty_model(tmp_path / FILES["turned"])
    status, seen = at_a_terminal("inspect", path, "--all")
    assert status == 0
    require_harmless(seen, *WHOLE.values(), path.name)


# ---------------------------------------------------------------- records


def poisoned(path: Path, text: str, target: Path) -> int:
    """A record in which every field that takes any text has this one; how many took it."""
    plain = json.loads(path.read_text())
    taken = 0
    for key in sorted(set(keys_of(plain)) - {"schema", "kind"}):
        changed = replace_all(copy.deepcopy(plain), key, text)
        try:
            reading.parse_record(json.dumps(changed).encode(), "it")
        except RecordError:
            continue
        plain, taken = changed, taken + 1
    target.write_text(json.dumps(plain))
    return taken


def keys_of(plain: Any) -> Iterator[str]:
    if isinstance(plain, dict):
        yield from (key for key, value in plain.items() if is_text(value))
    for item in plain.values() if isinstance(plain, dict) else plain:
        if isinstance(item, (dict, list)):
            yield from keys_of(item)


def is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    )


def replace_all(plain: Any, key: str, text: str) -> Any:
    if isinstance(plain, dict):
        for own, value in plain.items():
            if own == key and is_text(value):
                plain[own] = text if isinstance(value, str) else [text for _ in value]
            else:
                replace_all(value, key, text)
    elif isinstance(plain, list):
        for item in plain:
            replace_all(item, key, text)
    return plain


@pytest.mark.parametrize("kind", [*reading.KINDS, *reading.FLEET_KINDS])
def test_records_are_shown_harmlessly(
    record_files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "record.json"
    assert poisoned(record_files[kind], ALL, target) >= 3
    done = run("show", target)
    assert done.exception is None, done.exception
    require_harmless(done.output, *WHOLE.values())
    lines = [line.lstrip() for line in done.output.split("\n")]
    assert not any(
        line.startswith(("::error::", "## heading", "PASS  everything")) for line in lines
    )
    database = "--database", tmp_path / "h.sqlite"
    for command in (("add", target), ("list",), ("show", 1), ("show", 1, "--json"), ("check",),
                    ("list", "--json")):  # fmt: skip
        done = run("history", *command, *database)
        assert done.exception is None, (command, done.exception)
        if command != ("show", 1, "--json"):  # whose bytes a program gets as they are
            require_harmless(done.output)


def test_reports_and_gates_hold_no_markup_of_others(
    record_files: dict[str, Path], tmp_path: Path
) -> None:
    kinds = ("compare", "debug", "gate")
    paths = [tmp_path / f"{kind}.json" for kind in kinds]
    for kind, path in zip(kinds, paths, strict=True):
        assert poisoned(record_files[kind], ALL, path) >= 3
    (tmp_path / "edgeq.toml").write_text("[policy]\nmin_sqnr_db = 10\nmax_size = '1 B'\n")
    made = tmp_path / "gate.md"
    done = run("gate", paths[0], "--policy", tmp_path / "edgeq.toml", "--markdown", made,
               "--junit", tmp_path / "gate.xml")  # fmt: skip
    assert done.return_value in (3, 4), done.exception
    require_harmless(done.output)
    ElementTree.parse(tmp_path / "gate.xml")
    assert steering((tmp_path / "gate.xml").read_text()) == []
    report = run("report", *paths[:2], "--format", "md")
    assert report.exception is None
    page = run("report", *paths, "-o", tmp_path / "report.html")
    assert page.exception is None
    require_harmless(page.output + (tmp_path / "report.html").read_text())
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for text in (made.read_text(), report.stdout):
        require_harmless(text)
        for token in reader.parse(text):
            assert token.type not in ("html_block", "fence", "code_block"), token
            for inner in token.children or ():
                assert inner.type in (
                    "text", "softbreak", "code_inline", "strong_open", "strong_close", "html_inline"
                ), inner  # fmt: skip
                assert inner.type != "html_inline" or inner.content in ("<sub>", "</sub>")
                # GitHub makes links of these, except in code.
                links = [part for part in ("://", "@everyone", "#123") if part in inner.content]
                assert inner.type == "code_inline" or not links, inner


# ---------------------------------------------------------------- errors, usage, progress


ERRORS = {
    "no such model": ("inspect", "{}"),
    "no such record": ("show", "{}"),
    "no such policy": ("gate", "--policy", "{}", "x"),
    "no such file": ("run", "--file", "{}"),
    "an unknown device": ("bench", "model.tflite", "--device", "{}"),
    "a device's name": ("devices", "add", "{}", "pi@host"),
    "a choice": ("report", "x.json", "--format", "{}"),
    "an option": ("inspect", "--{}"),
    "a verb": ("{}",),
    "too many": ("inspect", "a", "{}"),
    "a number": ("bench", "m.tflite", "--threads", "{}"),
    "no such folder": ("bench", "m.tflite", "-o", "{}/x.json"),
}


@pytest.mark.parametrize("arguments", ERRORS.values(), ids=ERRORS)
def test_errors_quote_harmlessly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [FILES[key] for key in ("colours", "a title", "C1", "turned", "lines")]
    names.append("no UTF-8: \udcff")
    name = "".join(names)
    _, seen = at_a_terminal(*(word.format(name) for word in arguments))
    assert "Traceback" not in seen
    require_harmless(seen, *names)
    assert r"\x9b31mred" in seen
    lines = seen.split("\n")
    assert not any(line.startswith(("PASS", "::")) for line in lines)


def test_what_a_device_says_is_no_markup_of_the_progress_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeq.cli import options

    monkeypatch.setattr("edgeq.progress.LINES_S", -1.0)
    with options.progress_display() as tell:
        for name in NASTY.values():
            tell(f"pi: {name}", 1, None)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == len(NASTY)
    require_harmless(said, *NASTY.values())


def test_commands_print_in_one_place_only() -> None:
    """A new command fails here that prints by itself: see edgeq.cli.printing."""
    folder = Path(printing.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "printing.py":
            text = path.read_text()
            assert re.findall(r"click\.s?echo\(|\bprint\(|sys\.std\w+\.write", text) == [], path


def test_a_log_gives_no_command_to_the_ci_service(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(40):
        printing.show(textwrap.fill("n" * number + "::add-mask::x ##[error]y ##vso[task.z]w", 40))
        printing.say(f"  ::set-output name={number}::x")
        printing.show_json(json.dumps({"name": "##[error]x##vso[y]"}) + "\n")
    done = capsys.readouterr().out
    assert not any(line.lstrip().startswith("::") for line in done.split("\n"))
    assert "##[" not in done and "##vso[" not in done
    assert json.loads(done.rstrip().split("\n")[-1]) == {"name": "##[error]x##vso[y]"}
    printing.show("std::vector")
    assert capsys.readouterr().out == "std::vector\n"


def test_what_a_library_says_steers_neither_terminal_nor_ci_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -v its own lines are shown, in which there are names from the file."""
    script = tmp_path / "library.py"
    script.write_text(
        "import os, sys\n"
        "os.write(2, b'layer \\x1b]0;evil\\x07 \\xff\\n::error::x\\n')\n"
        "print('half a line', end='', flush=True)\n"
        "sys.stdin.readline()\n"
        "os.write(int(sys.argv[1]), b'{\"ok\": 1}\\n')\n"
    )
    with FrameworkProcess("a library", [str(script)], {}, verbose=True) as child:
        assert child.call("load") == 1
    assert capsys.readouterr().err == "layer \\x1b]0;evil\\x07 \\xff\n\\::error::x\nhalf a line\n"
