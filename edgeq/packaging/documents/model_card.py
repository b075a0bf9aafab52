"""The papers of a package: a model card, and what its README says of checking it. Nothing in them
depends on when or where they are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.escaping import markdown
from edgeq.issues import ISSUE_KINDS
from edgeq.packaging.container.manifest import KEY, SIGNATURE, SUMS, GateVerdict
from edgeq.packaging.evidence.parts import Parts
from edgeq.records.reading import Record
from edgeq.values import TensorSpec
from edgeq.version import VERSION
from edgeq.wording import show_bytes, show_db

CARD = "MODEL_CARD.md"


def model_card(parts: Parts, places: Sequence[str]) -> bytes:
    """Markdown that says what the model is, how good it is, and how that is known.

    Args:
        places: where the package has the model, e.g. "m.aar!assets/m.tflite".
    """
    contract = parts.contract
    lines = [f"# {contract.name} {contract.version}", ""]
    if parts.description:
        lines += [markdown(parts.description), ""]
    lines += [f"> **Warning:** {markdown(warning)}\n" for warning in parts.warnings]
    lines += ["| | |", "|---|---|", *_summary(parts, places), "", "## Inputs and outputs", ""]
    lines += [
        "| | tensor | dtype | shape | scale, zero point | from a raw sample |",
        "|---|---|---|---|---|---|",
    ]
    for item in contract.inputs:
        how = "as it is" if item.preprocessing is None else format_preprocessing(item.preprocessing)
        lines.append(f"| input | {_tensor(item.spec)} | {markdown(how)} |")
    for output in contract.outputs:
        count = f"{len(output.labels)} labels" if output.labels else ""
        lines.append(f"| output | {_tensor(output.spec)} | {count} |")
    lines += ["", *_measured(parts.evidence.records), *_judged(parts.evidence.records)]
    where = "in this package" if parts.has_records else "whose digests manifest.json has"
    lines += ["", f"Made by edgeq {VERSION} from the records {where}."]
    return ("\n".join(lines) + "\n").encode()


def _summary(parts: Parts, places: Sequence[str]) -> Iterator[str]:
    contract = parts.contract
    shown = ", ".join(f"`{place}`" for place in places)
    yield f"| file | {shown}, {show_bytes(contract.model.size_bytes)} |"
    yield f"| SHA-256 | `{contract.model.sha256}` |"
    if parts.measured_sha256 == contract.model.sha256:
        yield "| measured | this very file |"
    else:
        yield (
            f"| measured | SHA-256 `{parts.measured_sha256}`: this file before TensorFlow Lite "
            "metadata were added to it, which change no result |"
        )
    yield f"| runtime | {_runtime(parts)} |"
    yield f"| licence | {markdown(parts.license) if parts.license else 'not stated'} |"
    yield f"| gate | {_gate(parts.evidence.verdict)} |"
    yield f"| golden vectors | {len(parts.golden.vectors)} of {markdown(parts.golden.data)} |"


def _runtime(parts: Parts) -> str:
    if parts.target == "c":  # whose sources have no releases
        return "TensorFlow Lite for Microcontrollers"
    oldest = parts.contract.min_runtime_version
    return "TensorFlow Lite" if oldest is None else f"TensorFlow Lite {oldest} or newer"


def _tensor(spec: TensorSpec) -> str:
    scale = f"{spec.scales[0]:.9g}, {spec.zero_points[0]}" if spec.scales else "-"
    shape = "x".join(map(str, spec.shape))
    return f"{markdown(spec.name)} | {spec.dtype} | {shape} | {scale}"


def _gate(verdict: GateVerdict) -> str:
    if verdict.word == "none":
        return "not judged"
    forced = " - **packaged all the same**" if verdict.is_forced else ""
    why = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    return f"{verdict.word} by {markdown(verdict.policy)}{markdown(why)}{forced}"


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
        sqnr = show_db(worst_sqnr_db(quality))
        yield (
            f"| {record.kind} | {quality.sample_count} | {before} | {after} | {shown} | {sqnr} |"
        )


def _judged(records: Sequence[Record]) -> Iterator[str]:
    """What comparisons concluded, and what every record doubts about its own figures."""
    lines = []
    for record in records:
        verdict = getattr(record.value, "verdict", None)
        if record.kind == "compare" and verdict is not None:
            reasons = "; ".join(markdown(reason) for reason in record.value.reasons)
            lines.append(f"- compare says **{verdict.upper()}**: {reasons}")
        if record.validity != "valid":
            doubts = ", ".join(
                f"{code} ({ISSUE_KINDS[code].title})"
                for code in record.reason_codes
                if ISSUE_KINDS[code].severity != "note"
            )
            lines.append(f"- {record.kind} is **{record.validity}**: {doubts}")
    if lines:
        yield from ("", "## Verdicts and doubts", "", *lines)


# ---------------------------------------------------------------- README


def complete_readme(
    made: Mapping[str, bytes], warnings: Sequence[str], *, is_signed: bool
) -> dict[str, bytes]:
    """The target's files, whose README says besides what to doubt and how to check the package."""
    (path,) = [path for path in made if path.split("/")[-1] == "README.md"]
    lines = []
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {markdown(warning)}" for warning in warnings)]
    lines += [
        "",
        "## Check this package",
        "",
        "`edgeq verify FOLDER` checks all of it. Without edgeq, where `manifest.json` is:",
        "",
        "```sh",
        f"sha256sum -c {SUMS}",
    ]
    if is_signed:
        lines += [
            f"openssl pkeyutl -verify -pubin -inkey {KEY} -rawin -in {SUMS} -sigfile {SIGNATURE}"
        ]
    lines += ["```"]
    if is_signed:
        lines += [
            "",
            "The signature proves who made it only with a key that you have from them: name that "
            f"one instead of `{KEY}`.",
        ]
    content = made[path].rstrip(b"\n") + ("\n" + "\n".join(lines) + "\n").encode()
    return {**made, path: content}
