"""The bill of materials of a package: CycloneDX 1.7 (ECMA-424)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from packaging.requirements import Requirement

from edgeq.escaping import printable
from edgeq.packaging.contract.values import Files, Golden
from edgeq.packaging.evidence.parts import Parts
from edgeq.records.parts import split
from edgeq.records.reading import Record
from edgeq.values import DataRef, FileRef
from edgeq.version import VERSION

BOM = "sbom.cdx.json"
_APACHE = [{"license": {"id": "Apache-2.0"}}]
_DATA_ROLES = (("data", "calibration"), ("test_data", "test"))


def bill_of_materials(parts: Parts, made: Files) -> bytes:
    """The model, what it was made of and measured on, and what the code around it depends on.

    Args:
        made: the target's files, whose build files name the dependencies.
    """
    contract, records = parts.contract, parts.evidence.records
    needed = list(_DEPENDENCIES[parts.target](made))
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": contract.name,
        "version": contract.version,
        "hashes": _hashes(contract.model.sha256),
    }
    if parts.license is not None:
        model["licenses"] = [{"expression": parts.license}]
    if contract.min_runtime_version is not None and parts.target != "c":
        model["properties"] = [
            {"name": "edgeq:oldest_tensorflow_lite", "value": contract.min_runtime_version}
        ]
    ancestors = list(_sources(records))
    if ancestors:
        model["pedigree"] = {"ancestors": ancestors}
    components = [*needed, *_data(parts.golden, records)]
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


# ---------------------------------------------------------------- what the model comes from


def _sources(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """The float model that a conversion began with."""
    found: dict[str, FileRef] = {}
    for part in split(records):
        if part.value is not None and part.kind in ("convert", "tune"):
            source = part.value.source.source
            found.setdefault(source.sha256, source)
    for sha256, file in found.items():
        yield {
            "type": "machine-learning-model",
            "name": _last(file.path),
            "hashes": _hashes(sha256),
        }


def _last(path: str) -> str:
    return printable(re.split(r"[\\/]", path)[-1])


def _data(golden: Golden, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Data sets by digest, each with all that it served for."""
    roles: dict[str, list[str]] = {golden.data_sha256: ["golden vectors"]}
    names = {golden.data_sha256: golden.data}
    for part in split(records):
        for field, role in _DATA_ROLES:
            ref = getattr(part.value, field, None)
            if isinstance(ref, DataRef):
                is_conversion = part.kind in ("convert", "tune")
                served = roles.setdefault(ref.sha256, [])
                served.append(role if is_conversion else part.kind)
                names.setdefault(ref.sha256, _last(ref.source))
    for number, (sha256, served) in enumerate(roles.items()):
        yield {
            "type": "data",
            "bom-ref": f"data-{number}",
            "name": names[sha256],
            "description": ", ".join(dict.fromkeys(served)),
            "hashes": _hashes(sha256),
            "data": [{"type": "dataset", "name": names[sha256]}],
        }


# ---------------------------------------------------------------- what the code depends on


def _library(name: str, purl: str, **more: Any) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "purl": purl, **more}


def _of_android(made: Files) -> Iterator[dict[str, Any]]:
    """The dependencies in the POM."""
    for path, content in made.items():
        if path.endswith(".pom"):
            found = re.findall(
                r"<dependency>\s*<groupId>(.*?)</groupId>\s*<artifactId>(.*?)</artifactId>\s*"
                r"<version>(.*?)</version>",
                content.decode(),
            )
            for group, artifact, version in found:
                purl = f"pkg:maven/{group}/{artifact}@{version}"
                yield _library(artifact, purl, group=group, version=version, licenses=_APACHE)


def _of_ios(made: Files) -> Iterator[dict[str, Any]]:
    """The packages in Package.swift."""
    found = re.findall(
        r'url:\s*"https://([^"]+?)(?:\.git)?",\s*exact:\s*"([^"]+)"', made["Package.swift"].decode()
    )
    for place, version in found:
        yield _library(place.split("/")[-1], f"pkg:swift/{place}@{version}", version=version)


def _of_c(made: Files) -> Iterator[dict[str, Any]]:
    """The runtime; its sources have no releases, the version is of the one that measured."""
    texts = [content.decode() for path, content in made.items() if path.endswith("README.md")]
    found = re.search(r"tflite-micro (\d[\w.]*\w)", "".join(texts))
    version = {} if found is None else {"version": found[1]}
    purl = "pkg:github/tensorflow/tflite-micro"
    yield _library("tflite-micro", purl, licenses=_APACHE, **version)


def _of_python(made: Files) -> Iterator[dict[str, Any]]:
    """The distributions in requirements.txt; of two for one, the first is of newer Pythons."""
    seen = set()
    for line in made["requirements.txt"].decode().splitlines():
        requirement = Requirement(line)
        if requirement.name in seen:
            continue
        seen.add(requirement.name)
        versions = "|".join(sorted(map(str, requirement.specifier)))
        more = {"versionRange": f"vers:pypi/{versions}", "isExternal": True} if versions else {}
        yield _library(requirement.name, f"pkg:pypi/{requirement.name}", **more)


_DEPENDENCIES: Mapping[str, Callable[[Files], Iterator[dict[str, Any]]]] = {
    "android": _of_android,
    "ios": _of_ios,
    "c": _of_c,
    "python": _of_python,
}
