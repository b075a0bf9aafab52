"""The session of the child process in which TensorFlow runs; `serving.py` calls it.

Arrays and models travel as files in a working folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.children.framing import read_sample, write_sample
from edgeq.converters.lowering import frameworks, tensorflow_lowering, tflite_quantizer
from edgeq.converters.tracing import wrapping
from edgeq.converters.tracing.lstm_layers import refuse_states
from edgeq.values import TensorSpec


class Session:
    """The model of this process and the calls on it; each call takes and returns plain JSON.

    Args:
        gaps: what the sandbox of this process lacks.
    """

    def __init__(self, gaps: Sequence[str]) -> None:
        self.gaps = gaps
        self.loaded: wrapping.Loaded | None = None
        self.traced: tensorflow_lowering.Traced | None = None

    def load(self, path: str, kind: str, **options: Any) -> dict[str, Any]:
        """Read a model file with `frameworks.load`."""
        if options.get("custom_objects"):
            sys.path.append(str(Path.cwd()))  # they live in the user's folder
        self.loaded = frameworks.load(Path(path), kind, **options)
        refuse_states(self.loaded.layers, Path(path))
        return {
            "framework": self.loaded.framework,
            "inputs": [[s.name, s.shape, s.dtype] for s in self.loaded.inputs],
            "notes": self.loaded.notes,
            "gaps": self.gaps,
            "rescaling": frameworks.first_rescaling(self.loaded),
            "is_declared": self.loaded.complete is None,
        }

    def declare(self, inputs: list[tuple[str, list[int], str]]) -> None:
        """Give a model that declares no inputs these ones: name, shape, dtype."""
        complete = self._model().complete
        assert complete is not None, "the model declares inputs"
        self.loaded = complete([TensorSpec(name, tuple(s), dtype) for name, s, dtype in inputs])

    def lower(
        self, out: str, batch: int | None, shapes: dict[str, list[int]], fuses: bool = False
    ) -> dict[str, Any]:
        """Trace and lower the loaded model into `out`; see `tensorflow_lowering.trace`."""
        model = self._model()
        inputs = tensorflow_lowering.fix_shapes(model.inputs, batch, shapes)
        traced = tensorflow_lowering.trace(model, inputs, fuses=fuses)
        self.traced = traced
        tensorflow_lowering.write(Path(out), tensorflow_lowering.lower(traced))
        return {
            "unrolled": traced.unrolled,
            "fused": traced.fused,
            "other_dtypes": traced.other_dtypes,
            "input_names": [spec.name for spec in inputs],
            "output_names": model.output_names,
        }

    def predict(self, arrays: str, out: str) -> None:
        """Outputs of the source model for one framed sample, as another framed sample."""
        outputs = tensorflow_lowering.predict(
            self._model(),
            self._named_inputs(arrays),
            in_float32=bool(self._traced().other_dtypes),
        )
        with Path(out).open("wb") as stream:
            write_sample(stream, list(outputs.values()))

    def batch_statistics(self, arrays: str) -> tuple[float, float] | None:
        """Compare inputs with training data, see `frameworks.batch_statistics`."""
        return frameworks.batch_statistics(self._model(), self._named_inputs(arrays))

    def quantize(self, path: str, out: str, activations: str, io: str, **options: Any) -> None:
        """Quantize a calibrated flatbuffer file with the options of `tflite_quantizer`."""
        content = Path(path).read_bytes()
        if activations == "int16":
            made = tflite_quantizer.quantize_int16x8(content, io, **options)
        else:
            made = tflite_quantizer.quantize_int8(content, io, **options)
        tensorflow_lowering.write(Path(out), made)

    def stock_calibrate(self, path: str, samples: str, out: str) -> None:
        """Calibrate a float flatbuffer file with TFLite's own calibrator."""
        source = _read_samples(Path(samples))
        content = tflite_quantizer.stock_calibrate(Path(path).read_bytes(), source)
        tensorflow_lowering.write(Path(out), content)

    def stock_convert(
        self, samples: str, out: str, activations: str, io: str, per_channel: bool
    ) -> None:
        """Convert the lowered function with the stock TFLiteConverter path."""
        content = tflite_quantizer.stock_convert(
            self._traced().concrete,
            lambda: _read_samples(Path(samples)),
            activations,
            io,
            per_channel=per_channel,
        )
        tensorflow_lowering.write(Path(out), content)

    def versions(self) -> dict[str, str]:
        """Versions of TensorFlow and Keras."""
        return tensorflow_lowering.versions()

    def _named_inputs(self, path: str) -> dict[str, NDArray[Any]]:
        sample = next(_read_samples(Path(path)))
        return {s.name: array for s, array in zip(self._model().inputs, sample, strict=True)}

    def _model(self) -> wrapping.Loaded:
        assert self.loaded is not None, "load comes first"
        return self.loaded

    def _traced(self) -> tensorflow_lowering.Traced:
        assert self.traced is not None, "lower comes first"
        return self.traced


def _read_samples(path: Path) -> Iterator[list[NDArray[Any]]]:
    with path.open("rb") as stream:
        while (sample := read_sample(stream)) is not None:
            yield sample
