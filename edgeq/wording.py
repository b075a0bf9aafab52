"""The text form of names, sizes, times and other figures, in a terminal and in a report."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from edgeq import timing
from edgeq.values import Certificate, MetricLoss, MetricValue, Ratio, Recipe, TensorSpec
from edgeq.values.schemes import Scheme

_SAME_DB = 100  # an error of 1/100,000 of the spread: nobody can use a difference beyond it


def show_bytes(count: int | None) -> str:
    """A size with the unit a reader expects, "-" when not measured."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count} B"
    units = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9))
    unit, size = next((u for u in units if count < 999.5 * u[1]), units[-1])
    return f"{count / size:.1f} {unit}"


def side_of_one(ratio: float) -> int:
    """1 or -1 for a ratio without an interval that is above or below one, 0 within 1 % of it.

    What has an interval is judged by it: `timing.direction`.
    """
    return 0 if 0.99 <= ratio <= 1 / 0.99 else 1 if ratio > 1 else -1


def show_sizes(ratio: float) -> str:
    """How many times smaller a file is; "LARGER" rather than a number below one."""
    side = side_of_one(ratio)
    if side == 0:
        return "no difference"
    more = max(ratio, 1 / ratio)
    # Not "1.0x smaller" for 59.1 MB against 56.8 MB.
    times = f"{more:.1f}x" if more >= 1.1 else f"{(1 - 1 / more if side > 0 else more - 1):.0%}"
    return f"{times.replace('%', ' %')} {'smaller' if side > 0 else 'LARGER'}"


def show_ms(value: float | None) -> str:
    """A latency with three significant digits, "-" when not measured."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f} ms"
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{max(digits, 0)}f} ms"


def show_bare_ms(value: float | None) -> str:
    """A latency for a column whose title has the unit."""
    return "-" if value is None else f"{value:.3g}"


def show_db(value: float) -> str:
    """An SQNR; identical outputs have no noise, and float32 rounds to about 140 dB."""
    if math.isinf(value) and value > 0:
        return "identical"
    return f"the same (over {_SAME_DB} dB)" if value > _SAME_DB else f"{value:.1f} dB"


def show_ratio(ratio: Ratio) -> str:
    """A speed-up with its interval; "SLOWER" rather than a number below one."""
    value, low, high = timing.show_ends(ratio)
    interval = f"(ratio {value}, 95 % interval {low} to {high})"
    if timing.direction(ratio) == 0:
        return f"no difference {interval}"
    word = "faster" if ratio.value >= 1 else "SLOWER"
    times = ratio.value if ratio.value >= 1 else 1 / ratio.value
    return f"{times:.2f}x {word} {interval}"


def show_metric(metric: MetricValue, digits: int = 6) -> str:
    """A metric with its unit."""
    if metric.unit == "percent":
        return f"{metric.value:.2f} %"
    return f"{metric.value:.{digits}g}"


def show_interval(metric: MetricValue) -> str:
    """The 95 % interval of a metric, without its unit; "-" if there is none."""
    if metric.interval is None:
        return "-"
    form = ".2f" if metric.unit == "percent" else ".4g"
    return f"{metric.interval.low:{form}}..{metric.interval.high:{form}}"


def signed(value: float, form: str = ".2f") -> str:
    """A difference with its sign; what rounds to zero is +0, from either side."""
    shown = f"{value:+{form}}"
    return f"+{shown[1:]}" if float(shown) == 0 else shown


def show_loss(found: MetricLoss) -> str:
    """How much worse the candidate is by a metric, with its 95 % interval."""
    form, unit = (".2f", " points") if found.unit == "percent" else (".4g", "")
    loss = found.loss
    word = "lost" if loss.low > 0 else "gained" if loss.high < 0 else "no proven difference:"
    value, low, high = (signed(each, form) for each in (loss.value, loss.low, loss.high))
    return f"{word} {value}{unit} ({low} to {high})"


# How a figure is written in each unit that a history has.
_FIGURES: dict[str, Callable[[float], str]] = {
    "points": lambda value: f"{signed(value)} points",
    "percent": lambda value: f"{value:.2f} %",
    "dB": show_db,
    "bytes": lambda value: show_bytes(round(value)),
    "ms": show_ms,
    "x": lambda value: f"{value:.2f}x",
}


def show_figure(value: float | None, unit: str) -> str:
    """A figure with its unit, "-" when there is none."""
    return "-" if value is None else _FIGURES[unit](value)


def show_change(change: float | None, unit: str) -> str:
    """The difference of two figures, with its sign and unit; "" when it is not known."""
    if change is None:
        return ""
    if change == 0:
        return "same"
    if unit == "dB":
        return f"{signed(change, '.1f')} dB"
    shown = show_figure(abs(change), "points" if unit == "percent" else unit)
    return f"{'+' if change > 0 else '-'}{shown.removeprefix('+')}"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def list_some(names: Sequence[str], most: int = 4) -> str:
    """The first names and the number of the others, which is never one."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def repeat_option(option: str, values: Iterable[str]) -> str:
    """An option for each value, as a shell takes it: names may have blanks and brackets."""
    return " ".join(f"{option} {shlex.quote(value)}" for value in values)


def file_name(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def shorten(names: Sequence[str], room: int) -> list[str]:
    """Names of at most this many letters, cut at the place where most of them stay different."""
    places = (room // 2, room // 4, 3 * room // 4, 0, room - 1)
    return max(
        ([_cut(name, room, place) for name in names] for place in places),
        key=lambda cut: len(set(cut)),
    )


def _cut(name: str, room: int, head: int) -> str:
    tail = room - 1 - head
    return name if len(name) <= room else f"{name[:head]}…{name[len(name) - tail :]}"


def first_name(name: str, prefix: str = "") -> str:
    """The first of the names that TensorFlow joins for a fused operator, without a prefix."""
    return name.split(";", maxsplit=1)[0].removeprefix(prefix)


def common_prefix(names: Sequence[str]) -> str:
    """The parts, up to a slash, that begin most first names: the model, and folders in it."""
    if len(names) < 2:
        return ""
    parts = [first_name(name).split("/")[:-1] for name in names]
    prefix = ""
    for depth in range(1, max(map(len, parts)) + 1):
        begins = Counter("/".join(own[:depth]) + "/" for own in parts if len(own) >= depth)
        longer, count = begins.most_common(1)[0]
        if count <= len(names) // 2 or not longer.startswith(prefix):
            break
        prefix = longer
    return prefix


def left_out(prefix: str) -> str:
    """A sentence about the common prefix that a table leaves out; "" without one."""
    return f"Names begin with {prefix}, which is left out." if prefix else ""


def describe_tensor(spec: TensorSpec) -> str:
    """A tensor's dtype, shape and quantization."""
    shape = "x".join("?" if size == -1 else str(size) for size in spec.shape)
    quantized = ""
    if spec.scales:
        quantized = f", scale {spec.scales[0]:.6g}, zero point {spec.zero_points[0]}"
    return f"{spec.dtype} {shape}{quantized}"


def describe_recipe(recipe: Recipe) -> str:
    """A recipe of `edgeq tune` in one line."""
    parts = [
        "INT8" if recipe.granularity == "channel" else "INT8 per tensor",
        recipe.statistic,
        "equalized" if recipe.is_equalized else "",
        "+".join(recipe.corrections),
        f"{len(recipe.keep_float)} in float" if recipe.keep_float else "",
        f"{len(recipe.int16)} in INT16" if recipe.int16 else "",
        f"{len(recipe.int4)} with INT4 weights" if recipe.int4 else "",
    ]
    return ", ".join(filter(None, parts))


_PRECISIONS = {
    "int8": "in INT8",
    "int16x8": "with INT16 activations",
    "float32": "kept in float",
}


def describe_precision(proof: Certificate, scheme: Scheme) -> str:
    """Return what a file computes in, and which of its ends are float.

    "full integer" means that nothing is float: no operator, no input and no output.

    Args:
        proof: of the file.
        scheme: that was requested.
    """
    if scheme.activations == "float32":
        return scheme.summary
    wide = {*proof.wide_inputs, *proof.wide_outputs}
    at_ends = [op for op in proof.operators if op.output in wide and op.precision == "float32"]
    inner = [op for op in proof.operators if op not in at_ends]
    counts = Counter(op.precision for op in inner)
    narrow = sum(op.precision == "int8" and op.weight_dtype == "int4" for op in inner)
    found = [precision for precision in _PRECISIONS if counts[precision]]
    parts = [
        f"{plural(counts[precision], 'operator')} {_PRECISIONS[precision]}" for precision in found
    ]
    if narrow:
        parts[0] += f", {narrow} of them with INT4 weights"
    is_plain = not narrow and found in ([], [scheme.precision])
    text = scheme.summary if is_plain else ", ".join(parts)
    text = f"mixed: {text}" if len(found) > 1 else text
    ends = [
        f"{side} {spec.name!r}"
        for side, specs in (("input", proof.inputs), ("output", proof.outputs))
        for spec in specs
        if spec.dtype == "float32"
    ]
    if at_ends:
        kinds = ", ".join(dict.fromkeys(op.name for op in at_ends))
        ends.append(f"{plural(len(at_ends), 'operator')} ({kinds})")
    if ends:
        return f"{text}; float at the ends: {', '.join(ends)}"
    return f"full integer, {text}" if is_plain else text


def ask_for_sizes(spec: TensorSpec) -> str:
    """Return what to type for an input with dynamic sizes.

    Args:
        spec: the input; -1 is a dynamic size.
    """
    usual = 224 if len(spec.shape) == 4 else 128
    example = (1, *[usual] * (len(spec.shape) - 1))
    sizes = (own if own > 0 else new for own, new in zip(spec.shape, example, strict=True))
    shape = f"{spec.name}={','.join(map(str, sizes))}"
    return f"Set the sizes, e.g. {repeat_option('--input-shape', [shape])}"
