"""Make the code of a package again, and compare it with the package.

The same edgeq makes the same bytes; where it needs another program (a JDK, tflite-micro), only the
same release of that program does. Another version of edgeq may make other words and other code, so
its packages are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgeq.errors import EdgeqError
from edgeq.packaging.assembly import build
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.container.manifest import MANIFEST, OUTSIDE, Manifest, write_manifest
from edgeq.packaging.contract.image_inputs import confirm_images
from edgeq.packaging.contract.values import Files
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.model_card import CARD
from edgeq.packaging.documents.sbom import BOM
from edgeq.packaging.documents.shipping import without_metadata
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets import find_target
from edgeq.packaging.targets.tools import Tools
from edgeq.packaging.verification.checks import Check, outcome, skipped
from edgeq.version import VERSION

_ARCHIVES = (".aar", ".jar", ".whl")
# The program that made a file, as the file itself states, and a name for it.
_MAKERS = (
    (re.compile(rb"^Build-Jdk-Spec: (\S+)", re.MULTILINE), "JDK"),
    (re.compile(rb"\btflite-micro (\d[\w.+-]*)"), "tflite-micro"),
)
_JAR_MANIFEST = "META-INF/MANIFEST.MF"


@dataclass(frozen=True)
class _Difference:
    """A file that differs from the one made again.

    Attributes:
        excuse: why that proves nothing, None when it does.
    """

    path: str
    excuse: str | None


def check_code(
    files: Files, manifest: Manifest, inputs: PackageInputs, tools: Tools, *, runs: bool
) -> Check:
    """Make every file again from model, contract, golden vectors and records.

    Args:
        runs: whether the model may be run, which some targets need.
    """
    if manifest.edgeq != VERSION:
        return skipped(
            "code", f"made by edgeq {manifest.edgeq}; this is {VERSION}, which may make other code"
        )
    if find_target(manifest.target).runs_model and not runs:
        return skipped("code", "making it again would run the model, to measure the arena")
    model, contract = inputs.model, inputs.contract
    given = {path: content for path, content in files.items() if path not in OUTSIDE}
    given[MANIFEST] = files[MANIFEST]
    differences = []
    try:
        made = build.make_files(manifest.target, inputs, tools)
        made[MANIFEST] = write_manifest(manifest)
        if contract.model.sha256 != manifest.measured_sha256:
            # The samples decided which inputs are images when the metadata were made.
            again = metadata.add_to_model(
                without_metadata(model),
                confirm_images(contract, inputs.golden),
                description=manifest.description,
                license=manifest.license or "",
            )
            if again.content != model.content:
                differences.append(_Difference("the metadata of the model", None))
    except EdgeqError as error:
        return skipped("code", f"it cannot be made again here: {error.message}")
    differences += _compare(given, made)
    if manifest.records_left_out:
        excuse = "made from records that are not inside"
        differences = [
            replace(item, excuse=excuse) if item.path in (CARD, BOM) else item
            for item in differences
        ]
    makes = f"what edgeq {VERSION} makes from this model and its contract"
    problems = [f"{item.path} is not {makes}" for item in differences if item.excuse is None]
    if problems or not differences:
        return outcome("code", problems, f"{len(given)} files are {makes}, byte by byte")
    excuses = (f"{item.path}: {item.excuse}" for item in differences)
    return skipped("code", f"everything is {makes}, except", *excuses)


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
    """Find another release of a program as the maker, as the file itself states."""
    for pattern, name in _MAKERS:
        then, now = pattern.search(own), pattern.search(made)
        if then and now and then.group(1) != now.group(1):
            before, here = (item.group(1).decode("ascii", "replace") for item in (then, now))
            return f"made with {name} {before}, and {name} {here} is here"
    return None
