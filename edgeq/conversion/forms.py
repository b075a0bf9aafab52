"""Choose the form of LSTM layers: one operator each, or the operators of every step.

The fused operator has INT8 weights and an INT16 cell state. On a microcontroller it needs a tenth
of the flash and a thirtieth of the memory of the unrolled steps, so it is kept unless these are
clearly nearer to the float model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeq.conversion.adapting import adapt
from edgeq.conversion.calibration_pass import run_again
from edgeq.conversion.input_ranges import find_mask_limits
from edgeq.conversion.plan import Job, SamplePlan, select_options
from edgeq.conversion.range_candidates import CalibratedModel, choose_judges, make_candidates
from edgeq.conversion.scoring import Scorer
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.lowering import lower
from edgeq.converters.lowering.lower import Reader
from edgeq.converters.writer.precisions import recurrent_names
from edgeq.errors import UsageError
from edgeq.issues import make_issue
from edgeq.tflite.model_file import read_model
from edgeq.values import ConvertOptions, FloatModel, Issue
from edgeq.values.schemes import Scheme

FUSED, UNROLLED = "fused", "unrolled"
_CLEARLY_DB = 3.0


def lower_forms(
    reader: Reader, scheme: Scheme, options: ConvertOptions, folder: Path
) -> tuple[FloatModel, ...]:
    """Lower a source in the forms of its LSTM layers that come into question.

    Args:
        folder: receives the float models.

    Returns:
        One model, or the fused and the unrolled one for `choose_form`; rewritten for the scheme.

    Raises:
        UsageError: `--lstm fused` is not possible.
        EdgeqError: other kinds, if the model cannot be converted.
    """
    wanted = wanted_form(scheme, options)
    unrolled = replace(options, lstm=UNROLLED)
    if wanted == UNROLLED:
        return (adapt(reader.lower(unrolled, folder), scheme, options, folder),)
    lowered = reader.lower(replace(options, lstm=FUSED), folder)
    if wanted == FUSED and not lowered.fused_layers:
        raise UsageError(
            "--lstm fused is not possible: the model has no LSTM layer that can be one operator.",
            hint="That takes tanh and sigmoid, zero initial states, fixed shapes and no mask.",
        )
    if wanted == FUSED or not lowered.fused_layers:
        return (adapt(lowered, scheme, options, folder),)
    fused = _adapt_if_named(lowered, scheme, options, folder)
    if fused is None:
        return (adapt(reader.lower(unrolled, folder), scheme, options, folder),)
    if options.effort == "fast":
        return (fused,)
    other = folder / UNROLLED
    other.mkdir()
    plain = _adapt_if_named(reader.lower(unrolled, other), scheme, options, other)
    return (fused,) if plain is None else (fused, plain)


def _adapt_if_named(
    model: FloatModel, scheme: Scheme, options: ConvertOptions, folder: Path
) -> FloatModel | None:
    """Return the model rewritten for the scheme; None if it lacks operators that options name."""
    try:
        adapted = adapt(model, scheme, options, folder)
        select_options(Path(adapted.file.path).read_bytes(), options)
    except UsageError:
        return None
    return adapted


def wanted_form(scheme: Scheme, options: ConvertOptions) -> str:
    """Return the form that the options ask for, "auto" to measure both.

    Raises:
        UsageError: `--lstm fused` is not possible.
    """
    is_elsewhere = options.calibrator == "tflite" or options.engine != "edgeq"
    is_elsewhere = is_elsewhere or (scheme.activations == "int8" and not scheme.needs_data)
    if options.lstm == FUSED and is_elsewhere:
        raise UsageError(
            "--lstm fused needs edgeq's own calibrator.",
            hint="Remove --lstm: other calibrators and trained ranges do not know the operator.",
        )
    if options.lstm == "auto" and (is_elsewhere or scheme.activations != "int8"):
        return UNROLLED
    return options.lstm


def require_recurrent(forms: Sequence[FloatModel], options: ConvertOptions) -> None:
    """Refuse `--recurrent` for a model without the operators of a recurrent layer's steps.

    Raises:
        UsageError: it has none.
    """
    trees = (read_model(Path(form.file.path)).tree for form in forms)
    if options.recurrent != ConvertOptions.recurrent and not any(map(recurrent_names, trees)):
        is_fused = any(form.fused_layers for form in forms)
        layers = "its LSTM layers are one operator each" if is_fused else "it has none"
        raise UsageError(
            f"--recurrent {options.recurrent} is for unrolled recurrent layers, and has no effect "
            f"on this model: {layers}.",
            hint="Pass --lstm unrolled, too." if is_fused else "Leave the option out.",
        )


def choose_form(
    job: Job,
    plan: SamplePlan,
    run: FloatRun,
    forms: Sequence[FloatModel],
    issues: list[Issue],
) -> tuple[FloatRun, FloatModel]:
    """Quantize both forms with their plain ranges and keep the one with the better outputs.

    Args:
        run: the calibration pass over the first, the fused one.
        forms: as `lower_forms` returns them.
        issues: receives a note about the choice.

    Raises:
        LoweringError: the two forms compute different functions.
    """
    fused, unrolled = forms
    other = run_again(job, unrolled, plan, "extremes")
    unrolled = lower.check(unrolled, run.outputs, other.outputs)
    scores = []
    for model, own in ((fused, run), (unrolled, other)):
        calibrated = CalibratedModel(model, own, False, find_mask_limits(model, plan))
        (file,) = make_candidates(job, [calibrated], ("minmax",), (), [])
        judges = choose_judges(job, model, plan)
        scores += Scorer(job, model, plan, own, judges).score([file.content])
    is_fused = scores[0] >= scores[1] - _CLEARLY_DB
    names = ", ".join(fused.fused_layers)
    kept = "one operator each" if is_fused else "unrolled"
    message = (
        f"LSTM layers ({names}) are {kept}: with plain ranges, one operator each gives "
        f"{scores[0]:.1f} dB on calibration samples, unrolled {scores[1]:.1f} dB (larger, faster "
        "with XNNPACK)"
    )
    issues.append(make_issue("convert.lstm_form", message))
    return (run, fused) if is_fused else (run_again(job, unrolled, plan), unrolled)
