"""Whether the code in a package is what edgeq makes: it is made again, and compared.

Making is deterministic, so the same edgeq has to give the same bytes; where it needs another
program (a JDK, tflite-micro), only that program's same release does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edgeq.errors import EdgeqError
from edgeq.packaging.assembly import build
from edgeq.packaging.assembly.tools import Tools
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.container.manifest import (
    MANIFEST,
    OUTSIDE,
    SIGNATURE,
    Manifest,
    write_manifest,
)
from edgeq.packaging.contract.image_inputs import see_images
from edgeq.packaging.contract.values import Contract, Files, Golden
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.model_card import CARD
from edgeq.packaging.documents.sbom import BOM
from edgeq.packaging.documents.shipping import without_metadata
from edgeq.packaging.evidence.parts import Parts
from edgeq.packaging.evidence.records import Evidence
from edgeq.packaging.verification.checks import Check, outcome, skipped
from edgeq.records.reading import Record
from edgeq.version import VERSION

_NO_RECORDS = "made from records that are not inside"
_ARCHIVES = (".aar", ".jar", ".whl")
# What made a file, as the file says itself, and how to call it.
_MAKERS = (
    (re.compile(rb"^Build-Jdk-Spec: (\S+)", re.MULTILINE), "JDK"),
    (re.compile(rb"\btflite-micro (\d[\w.+-]*)"), "tflite-micro"),
)
_JAR_MANIFEST = "META-INF/MANIFEST.MF"


@dataclass(frozen=True)
class _Difference:
    """A file that is not as it was made again.

    Attributes:
        excuse: why that proves nothing, None when it does.
    """

    path: str
    excuse: str | None


def check_code(
    files: Files,
    manifest: Manifest,
    contract: Contract,
    model: bytes,
    golden: Golden,
    records: Sequence[Record],
    tools: Tools,
    *,
    runs: bool,
) -> Check:
    """Make every file again from model, contract, golden vectors and records.

    Args:
        runs: whether the model may be run, which `c` needs to measure its arena.
    """
    if manifest.edgeq != VERSION:
        told = f"made by edgeq {manifest.edgeq}, and this is {VERSION}: it cannot be made again"
        return skipped("code", told)
    if manifest.target == "c" and not runs:
        return skipped("code", "making it again would run the model, to measure the arena")
    parts = Parts(
        manifest.target,
        contract,
        model,
        manifest.measured_sha256,
        golden,
        Evidence(tuple(records), tuple(files[path] for path in manifest.records), manifest.gate),
        manifest.warnings,
        manifest.description,
        manifest.license,
        has_records=not manifest.records_left_out,
        is_signed=SIGNATURE in files,
    )
    try:
        made = build.collect(parts, tools)
        # Whether an input is an image, the samples told when the metadata were made.
        strange = _find_strange_metadata(model, see_images(contract, golden), manifest)
    except EdgeqError as error:
        return skipped("code", f"it cannot be made again here: {error.message}")
    given = {path: content for path, content in files.items() if path not in OUTSIDE}
    given[MANIFEST], made[MANIFEST] = files[MANIFEST], write_manifest(manifest)
    differences = [*strange, *_compare(given, made)]
    if manifest.records_left_out:
        differences = [
            replace(item, excuse=_NO_RECORDS) if item.path in (CARD, BOM) else item
            for item in differences
        ]
    return _judge(differences, len(given))


def _judge(differences: Sequence[_Difference], count: int) -> Check:
    makes = f"what edgeq {VERSION} makes of this model and its contract"
    problems = [f"{item.path} is not {makes}" for item in differences if item.excuse is None]
    if problems or not differences:
        return outcome("code", problems, f"{count} files are {makes}, byte by byte")
    return skipped(
        "code", f"all is {makes}, but for", *(f"{item.path}: {item.excuse}" for item in differences)
    )


def _find_strange_metadata(
    model: bytes, contract: Contract, manifest: Manifest
) -> list[_Difference]:
    """The shipped model is the measured one, with nothing else than edgeq's metadata."""
    bare = without_metadata(model)
    if contract.model.sha256 == manifest.measured_sha256:
        return []
    made = metadata.add_metadata(
        bare, contract, description=manifest.description, license=manifest.license or ""
    )
    return [] if made == model else [_Difference("the metadata of the model", None)]


def _compare(own: Files, made: Files, inside: str = "") -> Iterator[_Difference]:
    for path in sorted({*own, *made}):
        shown, one, other = f"{inside}{path}", own.get(path), made.get(path)
        if one == other:
            continue
        if one is None or other is None:
            yield _Difference(shown, None)
        elif path.endswith(_ARCHIVES):
            yield from _compare_archives(shown, one, other)
        else:
            yield _Difference(shown, _excuse(one, other))


def _compare_archives(path: str, own: bytes, made: bytes) -> Iterator[_Difference]:
    one, other = read_zip(own, path), read_zip(made, path)
    if path.endswith(".jar") and set(one) == set(other):
        excuse = _excuse(one.get(_JAR_MANIFEST, b""), other.get(_JAR_MANIFEST, b""))
        if excuse is not None:
            yield _Difference(path, excuse)
            return
    found = list(_compare(one, other, f"{path}!"))
    packed = "packed by another program or zlib, with the same files inside"
    yield from found or [_Difference(path, packed)]


def _excuse(own: bytes, made: bytes) -> str | None:
    """That another release of a program made it, by its own words."""
    for pattern, name in _MAKERS:
        then, now = pattern.search(own), pattern.search(made)
        if then and now and then.group(1) != now.group(1):
            before, here = (item.group(1).decode("ascii", "replace") for item in (then, now))
            return f"made with {name} {before}, and here is {name} {here}"
    return None
