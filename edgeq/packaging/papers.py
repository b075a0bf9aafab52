"""The papers of a package: a model card, and a bill of materials. Nothing in them depends on when
or where they are made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from edgeq import __version__
from edgeq.converters.preprocessing import format_preprocessing
from edgeq.packaging.manifest import GateVerdict
from edgeq.packaging.values import Contract, Golden
from edgeq.records import Record
from edgeq.render.gate import markdown_cell
from edgeq.render.parts import show_bytes, show_db
from edgeq.values import TensorSpec

CARD = "MODEL_CARD.md"
BOM = "sbom.cdx.json"


def model_card(
    contract: Contract,
    golden: Golden,
    records: Sequence[Record],
    verdict: GateVerdict,
    *,
    description: str,
    license: str | None,
) -> bytes:
    """Markdown that says what the model is, how good it is, and how that is known."""
    lines = [f"# {contract.name} {contract.version}", ""]
    if description:
        lines += [markdown_cell(description), ""]
    lines += ["| | |", "|---|---|"]
    lines += [
        f"| file | {markdown_cell(contract.model.path)}, {show_bytes(contract.model.size_bytes)} |",
        f"| SHA-256 | `{contract.model.sha256}` |",
        f"| runtime | TensorFlow Lite {contract.min_runtime_version or 'not stated'} or newer |",
        f"| licence | {markdown_cell(license) if license else 'not stated'} |",
        f"| gate | {_gate(verdict)} |",
        f"| golden vectors | {len(golden.vectors)} of {markdown_cell(golden.data)} |",
        "",
        "## Inputs and outputs",
        "",
        "| | tensor | dtype | shape | scale, zero point | from a raw sample |",
        "|---|---|---|---|---|---|",
    ]
    for item in contract.inputs:
        how = "as it is" if item.preprocessing is None else format_preprocessing(item.preprocessing)
        lines.append(f"| input | {_tensor(item.spec)} | {markdown_cell(how)} |")
    for output in contract.outputs:
        count = f"{len(output.labels)} labels" if output.labels else ""
        lines.append(f"| output | {_tensor(output.spec)} | {count} |")
    lines += ["", *_measured(records)]
    lines += ["", f"Made by edgeq {__version__} from the records in this package."]
    return ("\n".join(lines) + "\n").encode()


def _tensor(spec: TensorSpec) -> str:
    scale = f"{spec.scales[0]:.9g}, {spec.zero_points[0]}" if spec.scales else "-"
    shape = "x".join(map(str, spec.shape))
    return f"{markdown_cell(spec.name)} | {spec.dtype} | {shape} | {scale}"


def _gate(verdict: GateVerdict) -> str:
    if verdict.word == "none":
        return "not judged"
    forced = " - **packaged all the same**" if verdict.is_forced else ""
    why = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    return f"{verdict.word} by {markdown_cell(verdict.policy)}{markdown_cell(why)}{forced}"


def _measured(records: Sequence[Record]) -> Iterator[str]:
    """What the records say of the model's quality."""
    yield "## What was measured"
    yield ""
    found = [
        (record, quality)
        for record in records
        if (quality := getattr(record.value, "quality", None)) is not None
    ]
    if not found:
        yield "No record in this package measured the model's quality."
        return
    yield "| record | samples | FP32 | this model | drop, points (95 % interval) | SQNR |"
    yield "|---|---:|---:|---:|---|---:|"
    for record, quality in found:
        drop = quality.drop_points
        before = after = shown = "-"
        if drop is not None:
            before = f"{quality.baseline_accuracy_percent:.2f} %"
            after = f"{quality.candidate_accuracy_percent:.2f} %"
            shown = f"{drop.value:+.2f} ({drop.low:+.2f} to {drop.high:+.2f})"
        sqnr = show_db(min(output.sqnr_db for output in quality.outputs))
        yield (
            f"| {record.kind} | {quality.sample_count} | {before} | {after} | {shown} | {sqnr} |"
        )


# ---------------------------------------------------------------- bill of materials


def bill_of_materials(contract: Contract, target: str, license: str | None) -> bytes:
    """CycloneDX 1.7 (ECMA-424): the model, what it came from, and the runtime that it needs."""
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": contract.name,
        "version": contract.version,
        "hashes": [{"alg": "SHA-256", "content": contract.model.sha256}],
    }
    if license is not None:
        model["licenses"] = [{"expression": license}]
    runtime: dict[str, Any] = {
        "type": "library",
        "bom-ref": "runtime",
        "name": "TensorFlow Lite" if target != "c" else "TensorFlow Lite for Microcontrollers",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    if contract.min_runtime_version is not None and target != "c":
        runtime["versionRange"] = f"vers:generic/>={contract.min_runtime_version}"
        runtime["isExternal"] = True
    plain = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {
            "component": model,
            "tools": {
                "components": [{"type": "application", "name": "edgeq", "version": __version__}]
            },
        },
        "components": [runtime],
        "dependencies": [{"ref": "model", "dependsOn": ["runtime"]}, {"ref": "runtime"}],
    }
    return (json.dumps(plain, indent=1) + "\n").encode()
