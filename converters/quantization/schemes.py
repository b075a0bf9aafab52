"""The quantization schemes, as a table: what each needs, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.errors import UsageError


@dataclass(frozen=True)
class Scheme:
    """One way to quantize.

    Attributes:
        name: as typed after `--scheme`.
        needs_data: whether it calibrates activations on a representative dataset.
        io: dtypes that inputs and outputs may have, the default first.
        precisions: what a compute operator may be (see `OperatorReport.precision`).
        summary: half a sentence for `--help` and the terminal.
        oldest_runtime: TensorFlow Lite release whose kernels it needs, where the quantizer
            leaves the float model's figure in the file. The releases are those of TensorFlow's
            table of operator versions (runtime_version.cc): DEQUANTIZE 3 for FP16 weights,
            ADD 4 for the youngest common INT16 kernel.
        engines: which can make it, the default first; see `converters.engines`.
    """

    name: str
    needs_data: bool
    io: tuple[str, ...]
    precisions: frozenset[str]
    summary: str
    oldest_runtime: str | None = None
    engines: tuple[str, ...] = ("edgeq",)


_ALWAYS = frozenset({"integer", "convert"})

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "int8",
            True,
            ("int8", "uint8", "float32"),
            _ALWAYS | {"int8"},
            "full integer, INT8 weights and activations",
            engines=("edgeq", "litert"),
        ),
        Scheme(
            "dynamic",
            False,
            ("float32",),
            _ALWAYS | {"dynamic", "float32"},
            "INT8 weights, float activations",
            engines=("edgeq", "litert"),
        ),
        Scheme(
            "fp16",
            False,
            ("float32",),
            _ALWAYS | {"fp16", "float32"},
            "FP16 weights, float activations",
            "1.15.0",
        ),
        Scheme(
            "int16x8",
            True,
            ("int16", "float32"),
            _ALWAYS | {"int16x8"},
            "INT8 weights, INT16 activations",
            "2.6.0",
        ),
        *(
            Scheme(
                f"weight-only-{dtype}",
                False,
                ("float32",),
                _ALWAYS | {"weight-only", "float32"},
                f"{dtype.upper()} weights in the file, computed in float",
                engines=("litert",),
            )
            for dtype in ("int8", "int4")
        ),
        Scheme("fp32", False, ("float32",), _ALWAYS | {"float32"}, "no quantization"),
    )
}

BLOCK_SIZES = (32, 64, 128, 256)
GRANULARITIES = ("channel", "tensor", *(f"block:{size}" for size in BLOCK_SIZES))


def resolve(scheme: str, io: str | None, granularity: str) -> tuple[Scheme, str]:
    """The scheme and its input/output dtype.

    Raises:
        UsageError: unknown names, or a dtype the scheme cannot have.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"Unknown scheme {scheme!r}; known are {', '.join(SCHEMES)}.")
    if granularity not in GRANULARITIES:
        raise UsageError(
            f"Unknown granularity {granularity!r}; known are {', '.join(GRANULARITIES)}."
        )
    chosen = SCHEMES[scheme]
    if io is not None and io not in chosen.io:
        raise UsageError(
            f"--io {io} does not go with --scheme {scheme}.", hint=f"Use {' or '.join(chosen.io)}."
        )
    return chosen, io or chosen.io[0]
