"""Keep the ends of a model in float where INT8 alone would ruin a part of its outputs.

Behind the last layers with weights, boxes in pixels and scores from 0 to 1 may be joined in one
tensor, or an offset may be added. In front of the first layer, a normalization may bring features
with different units to the same range. One INT8 step for all these values is too large for some of
them. The rule (docs/decisions/0022) measures the operators at the ends alone: a float model that
has only these operators in INT8 runs on calibration samples. If a part of its outputs is below
`RUINED_DB`, the fewest operators that help stay in float. Layers with weights never do.

States of a recurrent layer that an application passes on are float32 in and out: the layer computes
them in INT16, and an INT8 step would round them again in every call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from edgeq.conversion.calibration_pass import run_again, why_stock
from edgeq.conversion.end_losses import EndLosses, FineInputs, Front, Loss, Tail
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.channel_scales import Units, split_units
from edgeq.converters.lowering import lower
from edgeq.converters.quantization.selectors import NOT_WIDE, WideEnds
from edgeq.converters.training.learned_ranges import is_learned
from edgeq.files import storage
from edgeq.issues import make_issue
from edgeq.values import FloatModel, Issue
from edgeq.wording import plural

_SPLIT = "scales and offsets of output channels moved behind their layer"


def keep_ends_wide(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, issues: list[Issue]
) -> tuple[Job, FloatModel, FloatRun]:
    """Decide what stays in float at the ends of an INT8 model.

    Args:
        run: the calibration pass over the float model.
        issues: receives a note for each end that stays in float, or a warning where `--io` keeps
            it from that.

    Returns:
        The job with the decision; the model, whose last layers may be split (see
        `channel_scales`); and its calibration pass.
    """
    job = replace(job, wide=NOT_WIDE)
    is_static = all(-1 not in spec.shape for spec in model.inputs)
    is_int8 = job.scheme.activations == "int8" and job.scheme.needs_data
    if not is_static or not is_int8 or not plan.chosen or is_learned(job.scheme, model):
        return job, model, run
    if why_stock(job, model) is not None:
        return job, model, run
    measured = EndLosses(job, model, plan, run)
    tail = measured.find_tail()
    losses = tail.losses
    is_free = job.options.io in (None, "float32")
    if tail.left and is_free and (units := measured.find_units(tail.left)):
        changed, again = _split_layers(job, model, plan, run, units)
        other = EndLosses(job, changed, plan, again)
        found = other.find_tail()
        if len(found.left) < len(tail.left):
            model, run, measured = changed, again, other
            tail = replace(found, losses=losses)
    front = measured.find_front()
    fine = FineInputs() if front.places else measured.find_fine_inputs()
    wide = _decide(measured, tail, front, fine, issues)
    return replace(job, wide=wide), model, run


def _split_layers(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, units: dict[int, Units]
) -> tuple[FloatModel, FloatRun]:
    path = job.folder / "split.tflite"
    path.write_bytes(split_units(Path(model.file.path).read_bytes(), units))
    rewrites = (*model.rewrites, f"{_SPLIT} ({len(units)})")
    changed = replace(model, file=storage.refer(path), rewrites=rewrites)
    again = run_again(job, changed, plan)
    return lower.check(changed, run.outputs, again.outputs), again


def _decide(
    own: EndLosses, tail: Tail, front: Front, fine: FineInputs, issues: list[Issue]
) -> WideEnds:
    """Return what stays in float, and report it."""
    io = own.job.options.io
    states_in, states_out = own.passed_states()
    if io not in (None, "float32"):
        issues += _refuse(own, tail, front, fine, io)
        if states_in:
            message = (
                f"states ({', '.join(map(repr, states_in))}) are {io}, as --io {io} requests, and "
                "are rounded in every call; without --io, they are float32"
            )
            issues.append(make_issue("convert.narrow_inputs", message))
        return NOT_WIDE
    if states_in:
        message = (
            f"states ({', '.join(map(repr, states_in))}) are float32 in and out, because INT8 "
            "would round them in every call; their layers compute them in INT16"
        )
        issues.append(make_issue("convert.wide_inputs", message))
    inputs, outputs = _names_of_inputs(own, front), []
    for number, index in own.outputs.items():
        if own.ends.makers.get(index) not in tail.places:
            continue
        outputs.append(own.model.outputs[number].name)
        message = (
            f"output {outputs[-1]!r} is float32, because INT8 would leave "
            f"{_shown(tail.losses[number])}: "
            f"{_stay(own, tail.places, 'behind the last layers with weights')}"
        )
        issues.append(make_issue("convert.wide_outputs", message))
    if front.places:
        message = (
            f"input {', '.join(map(repr, inputs))} is float32, because its features have "
            f"unlike ranges, and INT8 would leave {_shown(front.loss)}: "
            f"{_stay(own, front.places, 'in front of the first layers with weights')}"
        )
        issues.append(make_issue("convert.wide_inputs", message))
    if fine.names:
        message = (
            f"input {', '.join(map(repr, fine.names))} is float32, because its features have "
            f"unlike ranges, and INT8 would leave {_shown(fine.loss)}: the first layers get it in "
            "INT16"
        )
        issues.append(make_issue("convert.wide_inputs", message))
    operators = tuple(own.names[place] for place in sorted(tail.places | front.places))
    int16 = tuple(own.names[place] for place in sorted(fine.places))
    names = dict.fromkeys((*inputs, *fine.names, *states_in))
    return WideEnds(operators, (*names,), (*dict.fromkeys((*outputs, *states_out)),), int16)


def _refuse(own: EndLosses, tail: Tail, front: Front, fine: FineInputs, io: str) -> Iterator[Issue]:
    """Yield warnings about what is lost because `--io` was given."""
    for number in sorted(tail.ruined):
        message = (
            f"output {own.model.outputs[number].name!r} is {io}, as --io {io} requests, and "
            f"its step alone leaves {_shown(tail.losses[number])}; without --io, it is float32"
        )
        behind = own.ends.tail([own.outputs[number]], "all")
        if "CONCATENATION" in {own.ends.kinds[place] for place in behind}:
            message += "; with --split-outputs, its parts are outputs with their own steps"
        yield make_issue("convert.narrow_outputs", message)
    if front.places or fine.names:
        names = ", ".join(map(repr, (*_names_of_inputs(own, front), *fine.names)))
        message = (
            f"input {names} is {io}, as --io {io} requests, and its step alone leaves "
            f"{_shown(min(front.loss, fine.loss))}, because its features have unlike ranges; "
            "without --io, it is float32"
        )
        yield make_issue("convert.narrow_inputs", message)


def _names_of_inputs(own: EndLosses, front: Front) -> list[str]:
    return [
        spec.name
        for spec, index in zip(own.model.inputs, own.inputs, strict=True)
        if front.places & {*own.ends.readers[index]}
    ]


def _stay(own: EndLosses, places: Collection[int], where: str) -> str:
    kinds = ", ".join(dict.fromkeys(own.ends.kinds[place] for place in sorted(places)))
    verb = "stays" if len(places) == 1 else "stay"
    return f"{plural(len(places), 'operator')} {where} ({kinds}) {verb} in float"


def _shown(loss: Loss) -> str:
    return f"{loss[1]} at {loss[0]:.1f} dB"
