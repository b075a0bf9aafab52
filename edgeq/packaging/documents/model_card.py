"""The model card of a package, and what its README says about checking it.

Nothing in them depends on when or where they are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.escaping import markdown
from edgeq.issues import ISSUE_KINDS
from edgeq.packaging.container.manifest import KEY, SIGNATURE, SUMS
from edgeq.packaging.contract.values import Files
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.target import Target
from edgeq.records.reading import Record
from edgeq.values import TensorSpec
from edgeq.version import VERSION
from edgeq.wording import show_bytes, show_db

CARD = "MODEL_CARD.md"


def model_card(target: Target, inputs: PackageInputs, places: Sequence[str]) -> bytes:
    """Markdown that states what the model is, how good it is, and how that is known.

    Args:
        places: where the package has the model, e.g. "m.aar!assets/m.tflite".
    """
    contract = inputs.contract
    lines = [f"# {contract.name} {contract.version}", ""]
    if inputs.description:
        lines += [markdown(inputs.description), ""]
    lines += [f"> **Warning:** {markdown(warning)}\n" for warning in inputs.warnings]
    lines += [
        "| | |",
        "|---|---|",
        *_summary(target, inputs, places),
        "",
        "## Inputs and outputs",
        "",
        "| | tensor | dtype | shape | scale, zero point | from a raw sample |",
        "|---|---|---|---|---|---|",
    ]
    for item in contract.inputs:
        how = "unchanged"
        if item.declared is not None:
            how = format_preprocessing(item.declared)
        lines.append(f"| input | {_tensor(item.spec)} | {markdown(how)} |")
    for output in contract.outputs:
        count = f"{len(output.labels)} labels" if output.labels else ""
        lines.append(f"| output | {_tensor(output.spec)} | {count} |")
    lines += ["", *_measured(inputs.evidence.records), *_judged(inputs.evidence.records)]
    where = "in this package" if inputs.has_records else "whose digests manifest.json has"
    lines += ["", f"Made by edgeq {VERSION} from the records {where}."]
    return ("\n".join(lines) + "\n").encode()


def _summary(target: Target, inputs: PackageInputs, places: Sequence[str]) -> Iterator[str]:
    contract, gate = inputs.contract, inputs.evidence.verdict
    shown = ", ".join(f"`{place}`" for place in places)
    yield f"| file | {shown}, {show_bytes(contract.model.size_bytes)} |"
    yield f"| SHA-256 | `{contract.model.sha256}` |"
    measured = "this file"
    if inputs.measured_sha256 != contract.model.sha256:
        measured = (
            f"SHA-256 `{inputs.measured_sha256}`: this file before TensorFlow Lite metadata were "
            "added to it, which change no result"
        )
    yield f"| measured | {measured} |"
    oldest = contract.min_runtime_version
    runtime = "TensorFlow Lite" if oldest is None else f"TensorFlow Lite {oldest} or newer"
    yield f"| runtime | {target.unversioned_runtime or runtime} |"
    yield f"| licence | {markdown(inputs.license) if inputs.license else 'not stated'} |"
    judged = "not judged"
    if gate.word != "none":
        why = f": {'; '.join(gate.reasons)}" if gate.reasons else ""
        forced = " - **packaged with --force**" if gate.is_forced else ""
        judged = f"{gate.word} by {markdown(gate.policy)}{markdown(why)}{forced}"
    yield f"| gate | {judged} |"
    yield f"| golden vectors | {len(inputs.golden.vectors)} of {markdown(inputs.golden.data)} |"


def _tensor(spec: TensorSpec) -> str:
    scale = f"{spec.scales[0]:.9g}, {spec.zero_points[0]}" if spec.scales else "-"
    shape = "x".join(map(str, spec.shape))
    return f"{markdown(spec.name)} | {spec.dtype} | {shape} | {scale}"


def _measured(records: Sequence[Record]) -> Iterator[str]:
    """The model's quality in the records."""
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
    """The verdicts of comparisons, and what every record doubts about its own figures."""
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


def complete_readme(made: Files, warnings: Sequence[str], *, is_signed: bool) -> dict[str, bytes]:
    """The target's files; warnings and how to check the package are added to their README."""
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
            f"openssl pkeyutl -verify -pubin -inkey {KEY} -rawin -in {SUMS} -sigfile {SIGNATURE}",
            "```",
            "",
            "The signature proves who made it only with a key that you have from them: name that "
            f"one instead of `{KEY}`.",
        ]
    else:
        lines += ["```"]
    content = made[path].rstrip(b"\n") + ("\n" + "\n".join(lines) + "\n").encode()
    return {**made, path: content}
