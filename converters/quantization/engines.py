"""Who quantizes: edgeq itself, or litert-quantizer; and which options each can follow."""

from __future__ import annotations

from edgeq.converters.quantization import litert_engine
from edgeq.converters.quantization.schemes import Scheme
from edgeq.errors import UsageError
from edgeq.values import ConvertOptions

ENGINES = ("edgeq", "litert")


def check_engine(options: ConvertOptions, scheme: Scheme, io: str) -> None:
    """Refuse options that contradict the engine, and an engine that is not there.

    Raises:
        UsageError: the engine cannot make the scheme or follow an option.
        MissingExtraError: litert-quantizer is wanted and nowhere to be found.
    """
    engine = options.engine
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}; known are {', '.join(ENGINES)}.")
    if engine not in scheme.engines:
        raise UsageError(
            f"--scheme {scheme.name} does not go with --engine {engine}.",
            hint=f"Use --engine {' or '.join(scheme.engines)}.",
        )
    _check_blocks(options, scheme)
    if engine == "litert":
        _check_litert(options, io)
        litert_engine.find()


def _check_blocks(options: ConvertOptions, scheme: Scheme) -> None:
    is_blocked = options.granularity.startswith("block:")
    if is_blocked and options.engine == "edgeq":
        raise UsageError(
            f"--granularity {options.granularity} does not go with --engine edgeq.",
            hint="Use --engine litert with --scheme weight-only-int8 or weight-only-int4.",
        )
    if is_blocked and not scheme.name.startswith("weight-only-"):
        raise UsageError(
            f"--granularity {options.granularity} does not go with --scheme {scheme.name}: no "
            "kernel computes with INT8 weights in blocks.",
            hint="Use --scheme weight-only-int8 or weight-only-int4, or --granularity channel.",
        )


def _check_litert(options: ConvertOptions, io: str) -> None:
    """Options that only edgeq's own quantizer follows."""
    for option, value, unset in (
        ("--statistic", options.statistic, "auto"),
        ("--corrections", options.corrections, "auto"),
        ("--effort", options.effort, "balanced"),
        ("--calibrator", options.calibrator, "edgeq"),
        ("--keep-float", " ".join(options.keep_float), ""),
        ("--int16", " ".join(options.int16), ""),
    ):
        if value != unset:
            raise UsageError(
                f"{option} {value} does not go with --engine litert: only edgeq's own quantizer "
                "follows it.",
                hint=f"Leave out {option} or --engine.",
            )
    if io == "uint8":
        raise UsageError(
            "--io uint8 does not go with --engine litert.", hint="Use --io int8 or float32."
        )
