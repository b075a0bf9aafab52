"""A model in the caller's process: `edgeq.convert(keras_model)`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.converters.lowering import frameworks, tensorflow_lowering
from edgeq.converters.lowering.lower import (
    Arrays,
    FindInputs,
    check_shapes,
    declare,
    finish,
    traced_batch,
)
from edgeq.converters.lowering.model_kinds import shown
from edgeq.converters.tracing import wrapping
from edgeq.values import ConvertOptions, FileRef, FloatModel


class LiveReader:
    """A `keras.Model`, a tf_keras model or a concrete function.

    Args:
        model: the live object; it is not changed.
        find_inputs: see `lower.declare`.

    Raises:
        LoweringError: it is something else.
    """

    kind = "python"

    def __init__(self, model: Any, find_inputs: FindInputs | None = None):
        self._find_inputs = find_inputs
        self._loaded = wrapping.wrap_live(model)
        self._other_dtypes: tuple[str, ...] = ()
        self._name = shown(model)

    def lower(self, options: ConvertOptions, folder: Path) -> FloatModel:
        """Trace and lower in this process."""
        if self._loaded.complete is not None:
            found = declare(self._loaded.inputs, options, self._find_inputs)
            self._loaded = self._loaded.complete(found)
        declared = {spec.name: spec.shape for spec in self._loaded.inputs}
        shapes = check_shapes(options, declared)
        inputs = tensorflow_lowering.fix_shapes(self._loaded.inputs, traced_batch(options), shapes)
        fuses = options.lstm == "fused"
        traced = tensorflow_lowering.trace(self._loaded, inputs, fuses=fuses)
        self._other_dtypes = traced.other_dtypes
        content = tensorflow_lowering.lower(traced)
        # A live object has no file; the digest is that of the lowered model.
        digest = hashlib.sha256(content).hexdigest()
        return finish(
            content,
            folder,
            source=FileRef(self._name, digest, len(content)),
            source_kind=self.kind,
            framework=self._loaded.framework,
            input_names=list(declared),
            output_names=self._loaded.output_names,
            unrolled=traced.unrolled,
            fused=traced.fused,
            other_dtypes=traced.other_dtypes,
            notes=self._loaded.notes,
        )

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of the model, name to [batch, ...]."""
        in_float32 = bool(self._other_dtypes)
        return tensorflow_lowering.predict(self._loaded, inputs, in_float32=in_float32)

    def rescaling(self) -> tuple[float, float] | None:
        """Scale and offset of the first layer, from `frameworks.first_rescaling`."""
        return frameworks.first_rescaling(self._loaded)

    def batch_statistics(self, inputs: Arrays) -> tuple[float, float] | None:
        """The comparison of `frameworks.batch_statistics`."""
        return frameworks.batch_statistics(self._loaded, inputs)
