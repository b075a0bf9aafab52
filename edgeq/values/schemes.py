"""The table of quantization schemes: what each needs, and what its files contain.

Everything that edgeq does for a scheme depends on these fields. The table is in this room because
records name schemes.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.showing import bounded


@bounded
@dataclass(frozen=True)
class Scheme:
    """One way to quantize.

    Attributes:
        name: as typed after `--scheme`.
        summary: half a sentence for `--help` and the terminal.
        weights: dtype of the stored weights.
        activations: dtype of the computed tensors; integers need a representative dataset.
        precision: of its operators with weights, see `OperatorReport.precision`.
        io: dtypes that inputs and outputs may have, the default first.
        needs_data: whether it calibrates activations on a representative dataset.
        takes_blocks: whether weights can have a scale per block.
        more_bits: schemes to try if this one loses too much, the cheapest first.
    """

    name: str
    summary: str
    weights: str
    activations: str
    precision: str
    io: tuple[str, ...] = ("float32",)
    needs_data: bool = False
    takes_blocks: bool = False
    more_bits: tuple[str, ...] = ("fp16",)

    @property
    def precisions(self) -> frozenset[str]:
        """Precisions that its operators may have."""
        kept = {"float32"} if self.activations == "float32" else set()
        return frozenset({"integer", "convert", self.precision, *kept})


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "int8",
            "INT8 weights and activations",
            weights="int8",
            activations="int8",
            precision="int8",
            io=("int8", "uint8", "float32"),
            needs_data=True,
            more_bits=("int16x8", "dynamic", "fp16"),
        ),
        Scheme(
            "dynamic",
            "INT8 weights, float activations",
            weights="int8",
            activations="float32",
            precision="dynamic",
        ),
        Scheme(
            "fp16",
            "FP16 weights, float activations",
            weights="float16",
            activations="float32",
            precision="fp16",
        ),
        Scheme(
            "int16x8",
            "INT8 weights, INT16 activations",
            weights="int8",
            activations="int16",
            precision="int16x8",
            io=("int16", "float32"),
            needs_data=True,
            more_bits=("dynamic", "fp16"),
        ),
        *(
            Scheme(
                f"weight-only-{dtype}",
                f"{dtype.upper()} weights in the file, computed in float",
                weights=dtype,
                activations="float32",
                precision="weight-only",
                takes_blocks=True,
            )
            for dtype in ("int8", "int4")
        ),
        Scheme(
            "fp32",
            "no quantization",
            weights="float32",
            activations="float32",
            precision="float32",
        ),
    )
}

# Values of `--io`, in the order of its help.
IO_DTYPES = ("int8", "uint8", "int16", "float32")
