"""The needs of a model on a microcontroller: the arena, measured, and its code, estimated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import PackageError
from edgeq.fit import tflite_micro
from edgeq.fit.arena import arena_with_margin
from edgeq.fit.kernel_code import estimate
from edgeq.tflite.model_file import ModelFile
from edgeq.values import MicroNeeds, MicroOperator, TensorSpec

_SEED = 0


def measure_needs(model: ModelFile, operators: Iterable[MicroOperator]) -> MicroNeeds:
    """Run a model in tflite-micro as `edgeq package --target c` does, with inputs that are made up.

    The size of the arena does not depend on the values; those of an arena that is too small do.

    Raises:
        MissingExtraError: tflite-micro is not installed.
        RefusedModelError: it refuses the model, or crashes on it.
        PackageError: it takes too long, or is broken; or NumPy has no values for an input.
    """
    inputs, outputs = model.interface
    for spec in inputs:
        if not _is_numeric(spec.dtype):
            raise PackageError(
                f"Input {spec.name!r} of {model.path} has the dtype {spec.dtype}: edgeq has no "
                "such values to run tflite-micro with.",
                hint="Convert the model again with --io int8 or --io float32.",
            )
    sample = [_example(spec, number) for number, spec in enumerate(inputs)]
    measured = tflite_micro.run(model.content, [sample], len(outputs), shown_as=str(model.path))
    code, unknown = estimate(item.name for item in operators)
    return MicroNeeds(
        runtime=measured.version,
        arena_bytes=measured.arena_bytes,
        reserved_bytes=arena_with_margin(measured.arena_bytes),
        recorded_bytes=measured.recorded_bytes,
        persistent_bytes=measured.persistent_bytes,
        code_bytes=code,
        unknown_code=unknown,
    )


def _is_numeric(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "biufc"
    except TypeError:  # e.g. string, int4
        return False


def _example(spec: TensorSpec, number: int) -> NDArray[Any]:
    """Values of an input: of the whole range of 8 and 16 bits; wider integers may be indices: 0."""
    shape = [max(side, 1) for side in spec.shape]
    dtype = np.dtype(spec.dtype)
    drawn = np.random.default_rng([_SEED, number])
    if dtype.kind == "f":
        return drawn.uniform(-1, 1, shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        bounds = np.iinfo(dtype)
        return drawn.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return np.zeros(shape, dtype)
