"""The JSON Schema of records, made from the classes they are read into.

python -m edgeq.records.schema > edgeq/record.schema.json
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from edgeq.devices.fleet import Fleet
from edgeq.files import storage
from edgeq.records.reading import FLEET_KINDS, KINDS
from edgeq.values import Provenance

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# JSON has no infinity: the SQNR of identical outputs is "inf".
_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}
_ATTRIBUTE = re.compile(r"^    (?=\S)", re.MULTILINE)


def make_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) that every record of the newest form fulfils."""
    classes = (*KINDS.values(), Fleet, Provenance)
    (_, definitions) = msgspec.json.schema_components(classes, ref_template="#/$defs/{name}")
    found = {name: _describe(name, item) for name, item in sorted(definitions.items())}
    return {
        "$schema": _DIALECT,
        "$id": storage.RECORD_SCHEMA,
        "title": "An edgeq record",
        "type": "object",
        "required": ["schema", "kind", "provenance", "validity", "reason_codes"],
        "properties": {
            "schema": {"const": storage.RECORD_SCHEMA},
            "kind": {"enum": [*KINDS, *FLEET_KINDS]},
            "provenance": {"$ref": "#/$defs/Provenance"},
            "validity": {"enum": ["valid", "degraded", "invalid"]},
            "reason_codes": {"type": "array", "items": {"type": "string"}},
        },
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{KINDS.get(kind, Fleet).__name__}"},
            }
            for kind in (*KINDS, *FLEET_KINDS)
        ],
        "$defs": found,
    }


def _describe(name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """A class with its docstring's sentences at the fields they describe."""
    text = inspect.cleandoc(str(definition.get("description", "")))
    summary, _, attributes = text.partition("Attributes:\n")
    made = {**definition, "title": name, "description": " ".join(summary.split())}
    meanings = {}
    for part in _ATTRIBUTE.split(attributes)[1:]:
        names, _, meaning = part.partition(":")
        for field in names.split(","):
            meanings[field.strip()] = " ".join(meaning.split())
    properties = {}
    for field, schema in definition.get("properties", {}).items():
        described = _with_infinity(schema)
        if field in meanings:
            described = {**described, "description": meanings[field]}
        properties[field] = described
    return {**made, "properties": properties}


def _with_infinity(schema: Any) -> Any:
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            rest = {key: value for key, value in schema.items() if key != "type"}
            return {**_NUMBER, **rest}
        return {key: _with_infinity(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_with_infinity(item) for item in schema]
    return schema


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
