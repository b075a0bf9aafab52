"""The two engines, edgeq's own quantizer and litert-quantizer, and the options that each has."""

from __future__ import annotations

from edgeq.converters.quantization import litert_engine
from edgeq.errors import UsageError
from edgeq.values import ConvertOptions
from edgeq.values.schemes import Scheme

ENGINES = ("edgeq", "litert")


def check_engine(options: ConvertOptions, scheme: Scheme, io: str) -> None:
    """Refuse options that contradict the engine, and an engine that is not installed.

    Raises:
        UsageError: the engine cannot make the scheme or follow an option.
        MissingExtraError: litert-quantizer is required and not installed.
    """
    engine = options.engine
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}; use {' or '.join(ENGINES)}.")
    if engine not in scheme.engines:
        raise UsageError(
            f"--scheme {scheme.name} cannot be combined with --engine {engine}.",
            hint=f"Use --engine {' or '.join(scheme.engines)}.",
        )
    is_blocked = options.granularity.startswith("block:")
    if is_blocked and engine == "edgeq":
        raise UsageError(
            f"--granularity {options.granularity} cannot be combined with --engine edgeq.",
            hint="Use --engine litert with --scheme weight-only-int8 or weight-only-int4.",
        )
    if is_blocked and not scheme.takes_blocks:
        raise UsageError(
            f"--granularity {options.granularity} cannot be combined with --scheme {scheme.name}: "
            "no kernel computes with INT8 weights in blocks.",
            hint="Use --scheme weight-only-int8 or weight-only-int4, or --granularity channel.",
        )
    if engine == "edgeq":
        return
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
                f"{option} {value} cannot be combined with --engine litert: only edgeq's own "
                "quantizer has it.",
                hint=f"Remove {option} or --engine.",
            )
    if io == "uint8":
        raise UsageError(
            "--io uint8 cannot be combined with --engine litert.", hint="Use --io int8 or float32."
        )
    litert_engine.find()
