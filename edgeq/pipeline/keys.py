"""The keys of `[model]`, `[data]`, `[tune]`, `[run]` and `[package]`: how each value is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeq.converters.calibration.statistics import check_statistic
from edgeq.converters.corrections.correct import parse_corrections
from edgeq.converters.quantization.resolve_scheme import GRANULARITIES, check_engine
from edgeq.converters.quantization.selectors import read_selector
from edgeq.converters.samples.preprocessing import check_preprocessing
from edgeq.gating.policy import read_number
from edgeq.metrics.catalogue import check_metric
from edgeq.metrics.decoding import parse_decoding
from edgeq.packaging.targets import NAMES as TARGETS
from edgeq.packaging.targets.c.forms import FORMS
from edgeq.values import (
    CALIBRATORS,
    EFFORTS,
    LAYOUTS,
    LSTM_FORMS,
    OBJECTIVES,
    RECURRENT_DTYPES,
    WEIGHTS,
)
from edgeq.values.schemes import IO_DTYPES, SCHEMES

# From a value of the file to one of Python; ValueError says what was expected, UsageError all.
Reader = Callable[[Any], Any]


class NotOneOfError(ValueError):
    """Raised for a value that is not one of those that a key can have."""

    def __init__(self, known: Sequence[str]):
        super().__init__(f"one of {', '.join(known)}")
        self.known = known


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        example: as it is written in the file.
        field: of `ConvertOptions`, `TuneOptions` or `BenchOptions`; None for other keys.
    """

    read: Reader
    example: str
    field: str | None = None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("a list of texts")
    return tuple(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _integer(low: float, high: float, expected: str) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(expected)
        return value

    return read


_whole = _integer(-math.inf, math.inf, "a whole number")
_count = _integer(1, math.inf, "a whole number above 0")
_rounds = _integer(3, math.inf, "a whole number of 3 or more")
_threads = _integer(1, 256, "a whole number from 1 to 256")
_size = _integer(1, math.inf, 'a whole number above 0, or "dynamic"')


def _one_of(names: Iterable[str]) -> Reader:
    known = tuple(names)

    def read(value: Any) -> str:
        if value not in known:
            raise NotOneOfError(known)
        return str(value)

    return read


def _some_of(names: Iterable[str]) -> Reader:
    known = tuple(names)

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not set(map(str, value)) <= set(known):
            raise ValueError(f"a list of some of {', '.join(known)}")
        return tuple(dict.fromkeys(value))

    return read


def _checked(read: Reader, check: Callable[[str], object]) -> Reader:
    """A text, or several, that a function checks; it raises UsageError."""

    def read_checked(value: Any) -> Any:
        found = read(value)
        for text in (found,) if isinstance(found, str) else found:
            check(text)
        return found

    return read_checked


def _selectors(name: str) -> Reader:
    return _checked(_texts, lambda text: read_selector(text, name))


def _shapes(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    def is_shape(sizes: Any) -> bool:
        return isinstance(sizes, list) and all(
            isinstance(size, int) and not isinstance(size, bool) and (size == -1 or size > 0)
            for size in sizes
        )

    if not isinstance(value, dict) or not all(map(is_shape, value.values())):
        raise ValueError("a table from an input's name to its sizes, -1 for a dynamic one")
    return tuple((name, tuple(sizes)) for name, sizes in value.items())


def _numbers(value: Any) -> tuple[tuple[str, float], ...]:
    def is_number(item: Any) -> bool:
        return isinstance(item, (int, float)) and not isinstance(item, bool)

    if not isinstance(value, dict) or not all(map(is_number, value.values())):
        raise ValueError("a table from an input's name to its value")
    return tuple((name, float(number)) for name, number in value.items())


# Keys of [model] and [data] that `edgeq convert` has too have the same names.
KEYS: dict[str, dict[str, Key]] = {
    "model": {
        "source": Key(_text, '"model.keras"'),
        "output": Key(_text, '"build/model.tflite"'),
        "baseline": Key(_text, '"original.keras"'),
        "scheme": Key(_one_of(SCHEMES), '"int8"', "scheme"),
        "io": Key(_one_of(IO_DTYPES), '"float32"', "io"),
        "engine": Key(_checked(_text, check_engine), '"edgeq"', "engine"),
        "split_outputs": Key(_switch, "true", "split_outputs"),
        "granularity": Key(_one_of(GRANULARITIES), '"tensor"', "granularity"),
        "effort": Key(_one_of(EFFORTS), '"fast"', "effort"),
        "calibrator": Key(_one_of(CALIBRATORS), '"tflite"', "calibrator"),
        "statistic": Key(_checked(_text, check_statistic), '"percentile:99.99"', "statistic"),
        "corrections": Key(_checked(_text, parse_corrections), '"bias,rounding"', "corrections"),
        "keep_float": Key(_selectors("keep_float"), '["type:SOFTMAX"]', "keep_float"),
        "int16": Key(_selectors("int16"), '["logits"]', "int16"),
        "weights": Key(_one_of(WEIGHTS), '"int4"', "weights"),
        "int4": Key(_selectors("int4"), '["type:FULLY_CONNECTED"]', "int4"),
        "lstm": Key(_one_of(LSTM_FORMS), '"unrolled"', "lstm"),
        "recurrent": Key(_one_of(RECURRENT_DTYPES), '"int8"', "recurrent"),
        "allow_float": Key(_switch, "true", "allow_float"),
        "batch": Key(lambda value: 0 if value == "dynamic" else _size(value), '"dynamic"', "batch"),
        "input_shape": Key(_shapes, "{ image = [1, 224, 224, 3] }", "input_shapes"),
        "fix_input": Key(_numbers, "{ sr = 16000 }", "fixed_inputs"),
        "outputs": Key(_texts, '["boxes", "scores"]', "outputs"),
        "signature": Key(_text, '"serving_default"', "signature"),
        "custom_objects": Key(_texts, '["layers:Scale"]', "custom_objects"),
        "unsafe_deserialization": Key(_switch, "true", "trusted"),
        "layout": Key(_one_of(LAYOUTS), '"nhwc"', "layout"),
        "torch_python": Key(_text, '"torch-env/bin/python"', "torch_python"),
        "onnx_python": Key(_text, '"onnx-env/bin/python"', "onnx_python"),
    },
    "data": {
        "calibration": Key(_text, '"samples.npz"'),
        "test": Key(_text, '"test.npz"'),
        "preprocess": Key(_checked(_texts, check_preprocessing), '["scale=1/255"]'),
        "labels": Key(_text, '"test_labels.json"'),
        "metrics": Key(_checked(_texts, check_metric), '["f1"]', "metrics"),
        "decode": Key(_checked(_text, parse_decoding), '"boxes=cxcywh,unit=pixels"', "decode"),
        "samples": Key(_count, "200", "samples"),
        "test_samples": Key(_count, "1000"),
        "seed": Key(_whole, "0", "seed"),
    },
    "tune": {
        "max_drop": Key(read_number, "0.5", "max_drop_points"),
        "min_sqnr": Key(read_number, "25", "min_sqnr_db"),
        "objective": Key(_one_of(OBJECTIVES), '"size"', "objective"),
        "device": Key(_text, '"pi4"'),
        "jobs": Key(_threads, "2", "jobs"),
        "cluster": Key(_text, '"tcp://host:8786"', "cluster"),
        "max_trials": Key(_count, "100", "max_trials"),
    },
    "run": {
        "devices": Key(_texts, '["local", "pi4"]'),
        "latency": Key(_switch, "false"),
        "threads": Key(_threads, "4", "threads"),
        "runtime": Key(
            _one_of(("ai-edge-litert", "tflite-runtime", "tensorflow")),
            '"tflite-runtime"',
            "runtime",
        ),
        "rounds": Key(_rounds, "30", "rounds"),
        "runs": Key(_count, "100", "runs"),
        "min_time": Key(read_number, "1", "min_time_s"),
        "max_time": Key(read_number, "10", "max_time_s"),
        "cores": Key(_text, '"big"', "cores"),
        "workers": Key(_threads, "4"),
        "baseline_records": Key(_texts, '["release/compare.json"]'),
    },
    "package": {
        "targets": Key(_some_of(TARGETS), f'["{TARGETS[0]}", "{TARGETS[-1]}"]'),
        "name": Key(_text, '"my_model"'),
        "release": Key(_text, '"1.4.0"'),
        "form": Key(_one_of(FORMS), '"esp-idf"'),
        "labels": Key(_text, '"labels.txt"'),
        "license": Key(_text, '"Apache-2.0"'),
        "description": Key(_text, '"Tells clothes apart."'),
        "vectors": Key(_count, "4"),
        "sign_with": Key(_text, '"key.pem"'),
    },
}

# Options that a search chooses itself, so that they are not allowed together with [tune].
TUNED = (
    "scheme", "engine", "granularity", "effort", "calibrator", "statistic", "corrections",
    "keep_float", "int16", "weights", "int4", "allow_float",
)  # fmt: skip
