"""Make reference pages from the code, as a hook of MkDocs: codes, and fields of records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files

from edgeq.issues import ISSUE_KINDS
from edgeq.records.schema import make_schema


def on_files(files: Files, config: Any) -> Files:
    """MkDocs' hook: add the pages."""
    for name, lines in (("codes", _codes()), ("fields", _fields())):
        page = "\n".join(lines) + "\n"
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    return files


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
    return text.replace("|", "\\|").replace("<", "&lt;")
