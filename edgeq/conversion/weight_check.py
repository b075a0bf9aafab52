"""Check that the runtime here reads the weights of a weight-only file as they were stored."""

from __future__ import annotations

from pathlib import Path

from edgeq.accuracy.paired_runs import measure_quality
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.plan import CHECK_SAMPLES
from edgeq.converters.graph import dequantized
from edgeq.converters.lowering import lower
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import CertificateError
from edgeq.values import FloatModel

# Two orders of summation in float agree to 100 dB or more; a misread weight, to 20 dB at most.
_SAME_DB = 60.0


def check_weights(content: bytes, model: FloatModel, seed: int, folder: Path) -> None:
    """Compare a weight-only file with the same model whose weights numpy has dequantized.

    Args:
        seed: of the random inputs.
        folder: for working files.

    Raises:
        CertificateError: their outputs differ.
        DeviceError: the runtime refused the file, or died.
    """
    made, twin = folder / "weight-only.tflite", folder / "widened.tflite"
    made.write_bytes(content)
    twin.write_bytes(dequantized.float_twin(content))
    drawn = lower.random_samples(model.inputs, CHECK_SAMPLES, seed)
    pairs = ((inputs, None) for inputs in drawn)
    found = worst_sqnr_db(measure_quality(twin, made, pairs, resolve_device("local")))
    if found < _SAME_DB:
        raise CertificateError(
            f"The runtime here reads the file's weights wrongly: its outputs agree with those of "
            f"the dequantized weights to {found:.1f} dB only.",
            hint="Use --granularity channel, or another --scheme.",
        )
