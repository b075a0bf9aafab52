"""The keys of `[model]`, `[data]`, `[tune]`, `[run]` and `[package]`: how each value is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edgeq.converters.calibration.statistics import check_statistic
from edgeq.converters.corrections.correct import parse_corrections
from edgeq.converters.quantization.engines import ENGINES
from edgeq.converters.quantization.schemes import GRANULARITIES
from edgeq.converters.quantization.selectors import read_selector
from edgeq.converters.samples.preprocessing import check_preprocessing
from edgeq.packaging.targets import NAMES as TARGETS
from edgeq.values import CALIBRATORS, EFFORTS, LAYOUTS, OBJECTIVES
from edgeq.values.schemes import IO_DTYPES, SCHEMES

# From what stands in the file to a value; ValueError says what was expected, UsageError all.
Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        example: as it would stand in the file.
        field: of `ConvertOptions`, `TuneOptions` or `BenchOptions`, where it is one.
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


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number above 0")
    return value


def _rounds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 3:
        raise ValueError("a whole number of 3 or more")
    return value


def _number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ValueError("a number that is 0 or more")
    return float(value)


def _threads(value: Any) -> int:
    if _count(value) > 256:
        raise ValueError("a whole number from 1 to 256")
    return int(value)


def _one_of(names: Iterable[str]) -> Reader:
    known = tuple(names)

    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return str(value)

    return read


def _some_of(names: Iterable[str]) -> Reader:
    known = tuple(names)

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not set(map(str, value)) <= set(known):
            raise ValueError(f"a list of some of {', '.join(known)}")
        return tuple(dict.fromkeys(value))

    return read


def _checked(check: Callable[[str], object]) -> Reader:
    """A text that is checked where its meaning is known, by what raises UsageError."""

    def read(value: Any) -> str:
        text = _text(value)
        check(text)
        return text

    return read


def _checked_texts(check: Callable[[str], object]) -> Reader:
    """Texts that are checked one by one, likewise."""

    def read(value: Any) -> tuple[str, ...]:
        texts = _texts(value)
        for text in texts:
            check(text)
        return texts

    return read


def _selectors(name: str) -> Reader:
    return _checked_texts(lambda text: read_selector(text, name))


def _batch(value: Any) -> int:
    if value == "dynamic":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError('a whole number above 0, or "dynamic"')
    return value


def _shapes(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if not isinstance(value, dict) or not all(map(_is_shape, value.values())):
        raise ValueError("a table from an input's name to its sizes, -1 for a dynamic one")
    return tuple((name, tuple(sizes)) for name, sizes in value.items())


def _is_shape(sizes: Any) -> bool:
    return isinstance(sizes, list) and all(
        isinstance(size, int) and not isinstance(size, bool) and (size == -1 or size > 0)
        for size in sizes
    )


# Those of [model] and [data] that `edgeq convert` has too are called as there.
KEYS: dict[str, dict[str, Key]] = {
    "model": {
        "source": Key(_text, '"model.keras"'),
        "output": Key(_text, '"build/model.tflite"'),
        "baseline": Key(_text, '"original.keras"'),
        "scheme": Key(_one_of(SCHEMES), '"int8"', "scheme"),
        "io": Key(_one_of(IO_DTYPES), '"float32"', "io"),
        "engine": Key(_one_of(ENGINES), '"litert"', "engine"),
        "granularity": Key(_one_of(GRANULARITIES), '"tensor"', "granularity"),
        "effort": Key(_one_of(EFFORTS), '"fast"', "effort"),
        "calibrator": Key(_one_of(CALIBRATORS), '"tflite"', "calibrator"),
        "statistic": Key(_checked(check_statistic), '"percentile:99.99"', "statistic"),
        "corrections": Key(_checked(parse_corrections), '"bias,rounding"', "corrections"),
        "keep_float": Key(_selectors("keep_float"), '["type:SOFTMAX"]', "keep_float"),
        "int16": Key(_selectors("int16"), '["logits"]', "int16"),
        "allow_float": Key(_switch, "true", "allow_float"),
        "batch": Key(_batch, '"dynamic"', "batch"),
        "input_shape": Key(_shapes, "{ image = [1, 224, 224, 3] }", "input_shapes"),
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
        "preprocess": Key(_checked_texts(check_preprocessing), '["scale=1/255"]'),
        "samples": Key(_count, "200", "samples"),
        "test_samples": Key(_count, "1000"),
        "seed": Key(_whole, "0", "seed"),
    },
    "tune": {
        "max_drop": Key(_number, "0.5", "max_drop_points"),
        "min_sqnr": Key(_number, "25", "min_sqnr_db"),
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
        "min_time": Key(_number, "1", "min_time_s"),
        "max_time": Key(_number, "10", "max_time_s"),
        "cores": Key(_text, '"big"', "cores"),
        "workers": Key(_threads, "4"),
        "baseline_records": Key(_texts, '["release/compare.json"]'),
    },
    "package": {
        "targets": Key(_some_of(TARGETS), '["android", "python"]'),
        "name": Key(_text, '"my_model"'),
        "release": Key(_text, '"1.4.0"'),
        "labels": Key(_text, '"labels.txt"'),
        "license": Key(_text, '"Apache-2.0"'),
        "description": Key(_text, '"Tells clothes apart."'),
        "vectors": Key(_count, "4"),
        "sign_with": Key(_text, '"key.pem"'),
    },
}

# What a search decides itself, so that it cannot be asked for beside [tune].
TUNED = (
    "scheme", "engine", "granularity", "effort", "calibrator", "statistic", "corrections",
    "keep_float", "int16", "allow_float",
)  # fmt: skip
