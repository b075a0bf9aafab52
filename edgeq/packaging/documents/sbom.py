"""The bill of materials of a package: CycloneDX 1.7 (ECMA-424)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from edgeq.escaping import printable
from edgeq.packaging.contract.values import Files, Golden
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.target import Target
from edgeq.records.parts import split
from edgeq.records.reading import Record
from edgeq.values import DataRef
from edgeq.version import VERSION

BOM = "sbom.cdx.json"


def bill_of_materials(target: Target, inputs: PackageInputs, made: Files) -> bytes:
    """The model, what it was made from and measured on, and what its code depends on.

    Args:
        made: the target's files, whose build files name the libraries.
    """
    contract, records = inputs.contract, inputs.evidence.records
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": contract.name,
        "version": contract.version,
        "hashes": _hashes(contract.model.sha256),
    }
    if inputs.license is not None:
        model["licenses"] = [{"expression": inputs.license}]
    if contract.min_runtime_version is not None and target.unversioned_runtime is None:
        model["properties"] = [
            {"name": "edgeq:oldest_tensorflow_lite", "value": contract.min_runtime_version}
        ]
    ancestors: dict[str, dict[str, Any]] = {}  # the float models, by digest
    for part in split(records):
        if part.value is not None and part.kind in ("convert", "tune"):
            source = part.value.source.source
            ancestors.setdefault(
                source.sha256,
                {
                    "type": "machine-learning-model",
                    "name": _last(source.path),
                    "hashes": _hashes(source.sha256),
                },
            )
    if ancestors:
        model["pedigree"] = {"ancestors": list(ancestors.values())}
    components = [*target.find_libraries(made), *_data(inputs.golden, records)]
    plain = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {
            "component": model,
            "tools": {"components": [{"type": "application", "name": "edgeq", "version": VERSION}]},
        },
        "components": components,
        "dependencies": [
            {"ref": "model", "dependsOn": [item["bom-ref"] for item in components]},
            *({"ref": item["bom-ref"]} for item in components),
        ],
    }
    return (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode()


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _last(path: str) -> str:
    return printable(re.split(r"[\\/]", path)[-1])


def _data(golden: Golden, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Datasets by digest, each with everything that it was used for."""
    roles: dict[str, list[str]] = {golden.data_sha256: ["golden vectors"]}
    names = {golden.data_sha256: golden.data}
    for part in split(records):
        for field, role in (("data", "calibration"), ("test_data", "test")):
            ref = getattr(part.value, field, None)
            if isinstance(ref, DataRef):
                is_conversion = part.kind in ("convert", "tune")
                roles.setdefault(ref.sha256, []).append(role if is_conversion else part.kind)
                names.setdefault(ref.sha256, _last(ref.source))
    for number, (sha256, own) in enumerate(roles.items()):
        yield {
            "type": "data",
            "bom-ref": f"data-{number}",
            "name": names[sha256],
            "description": ", ".join(dict.fromkeys(own)),
            "hashes": _hashes(sha256),
            "data": [{"type": "dataset", "name": names[sha256]}],
        }
