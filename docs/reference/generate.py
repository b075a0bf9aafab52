"""Make pages from the code and the notebook, as a hook of MkDocs."""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from edgeq.cli import WORDS, cli
from edgeq.issues import ISSUE_KINDS
from edgeq.records.schema import make_schema

NOTEBOOK = Path(__file__).parents[1] / "notebook.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """MkDocs' hook: add the pages."""
    for name, lines in (("codes", _codes()), ("fields", _fields())):
        page = "\n".join(lines) + "\n"
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    notebook = "\n".join(_notebook()) + "\n"
    files.append(File.generated(config, "notebook.md", content=notebook))
    return files


def _notebook() -> Iterator[str]:
    """The cells with what they show."""
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from ("", source)
            continue
        yield from ("", "```python", source, "```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if page := "".join(data.get("text/html", [])):
                yield from ("", f'<div class="output">{page}</div>')
            elif text := "".join(data.get("text/plain", output.get("text", []))):
                yield from ("", "```text", text, "```")


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """MkDocs' hook: add the commands to their page."""
    if page.file.src_uri != "reference/commands.md":
        return markdown
    lines = _command(cli, click.Context(cli, info_name="edgeq", **cli.context_settings))
    return "\n".join([markdown, *lines]) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """The words of `--help`, and the same for each subcommand."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ("", f"## {context.command_path}", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from (_paragraph(paragraph), "")
    yield from ("```text", usage, "```", "")
    for line in (command.epilog or "").removeprefix("\b\nExample:\n").splitlines():
        yield from (_paragraph(line.strip()), "")
    yield from ("| option | meaning |", "|---|---|")
    for parameter in command.get_params(context):
        # Arguments have a record without words: they are explained above.
        names, meaning = parameter.get_help_record(context) or ("", "")
        if meaning:
            # A bar ends the cell, in code also after a backslash; a line may be broken behind it.
            shown = html.escape(names).replace("|", "&#124;<wbr>")
            yield f"| <code>{shown}</code> | {_cell(meaning)} |"
    if command is cli:
        yield from ("", "| word | meaning |", "|---|---|")
        yield from (f"| {word} | {_cell(meaning)} |" for word, meaning in WORDS.items())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, parent=context, info_name=name))


def _paragraph(text: str) -> str:
    """A paragraph of a help text; an example of a command is a block of code."""
    name, _, rest = text.partition(" ")
    if name == "edgeq" and rest.partition(" ")[0] in cli.list_commands(click.Context(cli)):
        return f"```console\n$ {text}\n```"
    return _escaped(text)


def on_page_content(html: str, page: Page, config: Any, files: Files) -> str:
    """MkDocs' hook: no line ends between the hyphens of an option and its first word."""
    options = partial(re.sub, r"--\w+", r'<span class="option">\g<0></span>')
    return re.sub(r"(?<=>)[^<]+", lambda found: options(found.group()), html)


def _codes() -> Iterator[str]:
    yield "# Codes"
    yield ""
    yield "A result lists these codes as its doubts. A warning makes a result degraded, an error"
    yield "makes it invalid. A note changes neither."
    yield ""
    yield "| code | severity | what it means |"
    yield "|---|---|---|"
    for code, kind in sorted(ISSUE_KINDS.items()):
        yield f"| `{code}` | {kind.severity} | {_cell(kind.title)} |"


def _fields() -> Iterator[str]:
    schema = make_schema()
    yield "# Fields of records"
    yield ""
    yield "This page is made from `record.schema.json`, which is installed with edgeq. The page"
    yield "[Records](../records.md) describes the fields around a result."
    yield ""
    yield "| kind | its result |"
    yield "|---|---|"
    for rule in schema["allOf"]:
        kind = rule["if"]["properties"]["kind"]["const"]
        yield f"| `{kind}` | {_link(rule['then'])} |"
    for name, definition in schema["$defs"].items():
        yield from ("", f"## {name}", "", str(definition["description"]), "")
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        for field, item in definition["properties"].items():
            yield f"| `{field}` | {_type(item)} | {_cell(str(item.get('description', '')))} |"


def _type(item: dict[str, Any]) -> str:
    if "$ref" in item:
        return _link(item)
    if "anyOf" in item:
        kinds = dict.fromkeys(_type(part) for part in item["anyOf"])
        return " or ".join(kind for kind in kinds if kind != "inf")
    if "enum" in item:
        return "inf"
    if item.get("type") == "array":
        inner = item.get("items") or {}
        parts = item.get("prefixItems", [inner] if inner else [])
        return f"list of {', '.join(_type(part) for part in parts)}" if parts else "list"
    return str(item.get("type", "any"))


def _link(item: dict[str, Any]) -> str:
    name = item["$ref"].rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; what is in backticks is code."""
    parts = re.split("(`[^`]+`)", text)
    parts[::2] = [
        re.sub(r"([\\*_\[\]#`])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]
    ]
    return "".join(parts)
