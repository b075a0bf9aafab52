"""A conversion as terminal text."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType

from edgeq.render.parts import (
    float_counts,
    grid,
    harmless,
    heading,
    issue_parts,
    operator_counts,
    quality_rows,
    render,
    runtime_row,
    tensor_rows,
    way_out_parts,
)
from edgeq.values import Certificate, Conversion, Issue, TfliteModel
from edgeq.values.schemes import SCHEMES
from edgeq.wording import describe_precision, plural, show_bytes, show_db, show_sizes


@harmless
def show_conversion(result: Conversion) -> str:
    """Summary of `edgeq convert`."""
    source, path = result.source, result.model.file.path
    scheme = SCHEMES[result.model.scheme]
    parts: list[RenderableType] = [
        heading(f"{source.source.path} ({source.framework}) -> {path}"),
        "",
        heading(f"Read back from the file: {describe_precision(result.certificate, scheme)}"),
        grid(_certificate_rows(result)),
    ]
    if result.model.candidates:
        count = plural(len(result.model.candidates), "candidate")
        title = f"The best of {count} on calibration samples kept apart"
        parts += ["", heading(title), grid(_choice_rows(result.model))]
    quality = result.quality
    if quality is not None:
        samples = plural(quality.sample_count, "held-out sample")
        if not quality.is_held_out and result.test_data is not None:
            samples = f"{plural(quality.sample_count, 'sample')}, those that calibrated among them"
        elif not quality.is_held_out:
            count = plural(quality.sample_count, "calibration sample")
            samples = f"{count}, as none are left to hold out"
        title = f"Against the float model on {samples}"
        parts += ["", heading(title), grid(quality_rows(quality))]
    notes = [Issue("", "note", note) for note in source.notes]
    if source.unrolled_layers:
        names = ", ".join(source.unrolled_layers)
        notes.append(Issue("", "note", f"recurrent layers unrolled into single steps: {names}"))
    if source.rewrites:
        text = f"rewritten before quantization: {', '.join(source.rewrites)}"
        notes.append(Issue("", "note", text))
    parts += issue_parts([*notes, *result.issues])
    parts += way_out_parts(result.ways_out)
    return render(*parts)


def _certificate_rows(result: Conversion) -> list[tuple[str, str]]:
    proof = result.certificate
    before, after = result.source.file.size_bytes, proof.size_bytes
    # A file that computes in float throughout has no float islands.
    has_integers = any(op.precision in ("int8", "int16x8") for op in proof.operators)
    islands = f"; {float_counts(proof)}" if has_integers else ""
    return [
        *tensor_rows(proof),
        ("operators", f"{operator_counts(proof)}{islands}"),
        ("conversions", f"{proof.quantize_ops} QUANTIZE, {proof.dequantize_ops} DEQUANTIZE"),
        *quantization_rows(proof),
        *([("flex ops", ", ".join(proof.flex_ops))] if proof.flex_ops else []),
        *([("custom ops", ", ".join(proof.custom_ops))] if proof.custom_ops else []),
        runtime_row(proof),
        ("size", f"{show_bytes(before)} -> {show_bytes(after)}, {show_sizes(before / after)}"),
    ]


def quantization_rows(proof: Certificate) -> list[tuple[str, str]]:
    """How weights and activations are quantized, by their scales and zero points."""

    def symmetry(is_symmetric: bool | None) -> str:
        return "symmetric" if is_symmetric else "asymmetric"

    rows = []
    kinds = Counter(
        (
            op.weight_dtype,
            # Records of edgeq 0.1 have one answer for all weights.
            symmetry(proof.weights_symmetric if op.is_symmetric is None else op.is_symmetric),
            op.granularity,
        )
        for op in proof.operators
        if op.granularity is not None
    )
    if kinds:
        shown = [
            f"{str(dtype).upper()} {symmetric} per {str(granularity).replace(':', ' of ')}"
            + (f" ({plural(count, 'operator')})" if len(kinds) > 1 else "")
            for (dtype, symmetric, granularity), count in kinds.most_common()
        ]
        rows.append(("weights", ", ".join(shown)))
    if proof.activation_dtypes:
        shown = [
            f"{dtype.upper()} {symmetry(dtype in proof.symmetric_activation_dtypes)}"
            for dtype in proof.activation_dtypes
        ]
        rows.append(("activations", f"{', '.join(shown)} per tensor"))
    elif kinds:
        rows.append(("activations", "float"))
    return rows


def _choice_rows(model: TfliteModel) -> list[tuple[str, str]]:
    """How the integers were chosen: ranges, corrections, and what they gained."""
    chosen = model.candidates[0]
    plain = next((c for c in model.candidates if not (c.is_equalized or c.is_corrected)), chosen)
    equalized = ", channels equalized" if chosen.is_equalized else ""
    rows = [("ranges", f"{chosen.statistic}{equalized}")]
    counts = Counter(item.chosen for item in model.corrections)
    untouched = counts.pop("plain", 0)
    if counts:
        kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        samples = f"on {model.correction_samples} samples"
        rows.append(("layers", f"{kinds}; {untouched} as rounded; {samples}"))
    alone = f"{plain.statistic} alone {show_db(plain.sqnr_db)}"
    return [*rows, ("SQNR there", f"{show_db(chosen.sqnr_db)}; {alone}")]
