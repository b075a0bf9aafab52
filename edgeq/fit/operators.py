"""Operators that TensorFlow Lite for Microcontrollers has, and how each is added to a resolver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeq.converters.proof.certificate import certify
from edgeq.errors import PackageError
from edgeq.tflite import kernels
from edgeq.tflite.model_file import ModelFile
from edgeq.tflite.operators import OPERATORS, having
from edgeq.values import MicroOperator, OperatorReport
from edgeq.wording import repeat_option

_PARTS = {"2D": "2D", "ND": "Nd"}


def _method(operator: str) -> str:
    """DEPTHWISE_CONV_2D is added by AddDepthwiseConv2D()."""
    pascal = "".join(_PARTS.get(part, part.capitalize()) for part in operator.split("_"))
    return f"Add{OPERATORS[operator].micro_name or pascal}"


# Operator to method in the newest tflite-micro; a test calls every one there.
METHODS = {operator: _method(operator) for operator in sorted(having("micro"))}

# Replacements for operators without a kernel.
_REMEDIES = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": "use two one-directional LSTMs, one of them on reversed input",
    "CONV_3D": "use Conv2D with time in the channels",
    "GELU": "use ReLU6 or hard swish, and train again",
    "NON_MAX_SUPPRESSION_V4": "end the model before it and do it in the application",
    "NON_MAX_SUPPRESSION_V5": "end the model before it and do it in the application",
    "ONE_HOT": "feed the one-hot vector instead of the index",
    "POW": "write a square as x * x",
    "RFFT2D": "feed the spectrum instead of the signal",
    "SELECT": "convert the model again with a newer TensorFlow, which makes SELECT_V2 of it",
    "TILE": "use broadcasting instead of a repeated tensor",
    "TOPK_V2": "end the model before it and do it in the application",
}  # fmt: skip


# The remedy for an operator whose kernel there rejects this form.
_OTHER_FORMS = {
    "int8": "convert the model again with {}",
    "int16": "convert the model again with --scheme int8",
    "int4": "convert the model again with --granularity tensor, or without INT4 weights there",
}
_FORMS = {"int8": "int8", "int16x8": "int16"}  # by the certificate's precision
# Its integer kernel is right if input and result have one scale; the run shows whether they do.
_ONE_SCALE = {"RELU6"}


def require_supported(model: ModelFile) -> None:
    """Refuse a model with operators that microcontrollers have no kernel for.

    Raises:
        PackageError: with the name of each, and what to do instead.
    """
    missing = [item for item in list_operators(certify(model).operators) if item.lacks is not None]
    if missing:
        # A kernel that does not exist goes before one that rejects the model's integers.
        what = min((item.lacks or "" for item in missing), key=_order)
        _refuse([item for item in missing if item.lacks == what], what)


def list_operators(reports: Iterable[OperatorReport]) -> tuple[MicroOperator, ...]:
    """The kinds of operators of a model's certificate, and which kernel each lacks there."""
    found: dict[tuple[str, int, str, str | None], int] = {}
    for operator in reports:
        lacks = _lacks(operator)
        kind = (operator.name, operator.version, operator.precision, lacks)
        found[kind] = found.get(kind, 0) + 1
    return tuple(
        MicroOperator(name, version, precision, count, lacks, lacks and _advise([name], lacks))
        for (name, version, precision, lacks), count in sorted(found.items(), key=str)
    )


def _lacks(operator: OperatorReport) -> str | None:
    """The kernel that an operator lacks: "kernel", "INT8 kernel"...; None if none is known."""
    if operator.name not in METHODS:
        return "kernel"
    form = _form(operator)
    return f"{form.upper()} kernel" if form is not None and _rejects(operator, form) else None


def _form(operator: OperatorReport) -> str | None:
    """The operator's form in the table of measured kernels; None for those that it has not."""
    form = _FORMS.get(operator.precision)
    return "int4" if form == "int8" and operator.weight_dtype == "int4" else form


def _rejects(operator: OperatorReport, form: str) -> bool:
    """Whether the operator was measured in this form, and has no right kernel."""
    is_narrow_tensor = form == "int4" and operator.granularity == "tensor"
    name = f"{operator.name}/tensor" if is_narrow_tensor else operator.name
    if (name, form) not in kernels.measured() or name in _ONE_SCALE:
        return False
    return kernels.missing(name, form, "micro")


def _order(lacks: str) -> int:
    return ["kernel", *(f"{form.upper()} kernel" for form in _OTHER_FORMS)].index(lacks)


def _refuse(missing: Sequence[MicroOperator], what: str) -> None:
    listed = list(dict.fromkeys(item.name for item in missing))
    names = ", ".join(listed[:-1]) + " and " if listed[1:] else ""
    hint = _advise(listed, what)
    raise PackageError(
        f"TensorFlow Lite for Microcontrollers has no {what} for "
        f"{names}{listed[-1]}, which the model uses.",
        hint=f"{hint[0].upper()}{hint[1:]}. edgeq inspect lists them.",
    )


def _advise(names: Sequence[str], lacks: str) -> str:
    if lacks == "kernel":
        known = [f"for {name}, {_REMEDIES[name]}" for name in names if name in _REMEDIES]
        return "; ".join(known) or "change the layers that make them"
    keep_float = repeat_option("--keep-float", [f"type:{name}" for name in names])
    return _OTHER_FORMS[lacks.split(maxsplit=1)[0].lower()].format(keep_float)
