"""The oracle of edgeq's writer: its files against those of TensorFlow's own quantizer.

    python benchmarks/writer.py [--int16x8] [--per-tensor] [--io DTYPE] [--only NAME]
                                [--cache DIR] [--shared DIR] [--self-check]

Over the models of `edgeq.models`, those of `../shared/data`, and the smallest of each family of
`keras.applications`. Each is lowered and calibrated once; then `mlir_quantize` (with --int16x8: the
stock `Calibrator`) and edgeq's writer, without rewrites, quantize it with the same ranges. Every
constant, scale, zero point, dtype, operator, version and option must be equal, and the outputs
value for value. In each file one bias is changed by 1 to prove that the comparison sees it;
--self-check does only that. A model for which TensorFlow's file is not full integer is named, not
compared.

--cache DIR keeps all that TensorFlow made, so the next run does not need it; remove the folder
after a change of lowering or calibration. It exits with 1 if something differs.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import stock
from ai_edge_litert.interpreter import Interpreter
from bias_scales import layers_alone
from calibrated import squeeze_by_reshape, write_ranges
from cases import SHARED, Case, other_cases, shared_cases, shipped_cases, unlabelled_cases
from differences import change_one_bias, differences, float_operators
from families import family_cases

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.statistics import choose_ranges, make_ranges
from edgeq.converters.calibration.zero_ranges import estimate_ranges
from edgeq.converters.graph.rewriting import drop_stablehlo_flag
from edgeq.converters.quantization.quantize import quantize
from edgeq.converters.quantization.selectors import Mix
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import EdgeqError
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import Ranges, TensorRange
from edgeq.values.schemes import SCHEMES

CALIBRATED = 32  # samples
COMPARED = 4  # samples whose outputs are compared
_SHOWN = 12  # differences of one model
_JUDGED = 1000  # samples that judge a deliberate difference

# Patterns of the sentences that may differ on purpose, where edgeq's file is nearer to float. The
# Calibrator stores a bias that several layers share once, in the scale of the first layer.
DELIBERATE = (r": bias\[\d+\] ", r": scale(\[\d+\])? .* \(bias\)$")


@dataclass(frozen=True)
class Variant:
    """The options of both files: scheme, dtype of inputs and outputs, granularity of weights."""

    scheme: str
    io: str
    granularity: str

    @property
    def name(self) -> str:
        """The part of a cached file's name."""
        return f"{self.scheme}-{self.io}-{self.granularity}"


@dataclass(frozen=True)
class Prepared:
    """A lowered and calibrated model; `samples` are [COMPARED, ...] by input name, real units."""

    content: bytes
    ranges: Ranges
    samples: dict[str, np.ndarray]


# ---------------------------------------------------------------- what TensorFlow makes, once


def prepare(case: Case, folder: Path) -> Prepared:
    """Lower and calibrate a model, or read what an earlier run kept in `folder`.

    Raises:
        EdgeqError: it cannot be lowered or calibrated.
    """
    lowered, measured = folder / "float.tflite", folder / "ranges.npz"
    if not measured.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _measure(case, folder, lowered, measured)
    with np.load(measured) as stored:
        tensors = tuple(
            TensorRange(int(index), str(name), float(low), float(high))
            for index, name, (low, high) in zip(
                stored["indices"], stored["names"], stored["limits"], strict=True
            )
        )
        samples = {
            name.removeprefix("sample/"): stored[name]
            for name in stored.files
            if name.startswith("sample/")
        }
    return Prepared(lowered.read_bytes(), make_ranges("minmax", CALIBRATED, tensors), samples)


def _measure(case: Case, folder: Path, lowered: Path, measured: Path) -> None:
    model = stock.lower_case(case, folder)
    content = Path(model.file.path).read_bytes()
    lowered.write_bytes(content)
    if (reason := calibrate.why_stock(content)) is not None:
        raise EdgeqError(f"edgeq does not calibrate it: {reason}.")
    raw = folder / "samples.npz"
    np.savez(raw, **{name: array[:CALIBRATED] for name, array in case.calibration().items()})
    declared = parse_preprocessing(case.preprocess, model.inputs)
    fed = [item.inputs for item in open_samples(raw, model.inputs, declared).iterate()]
    run = calibrate.run_float_model(model, iter(fed), folder, COMPARED, "extremes")
    ranges, _ = estimate_ranges(content, choose_ranges(run.statistics, "minmax"))
    for name, values in run.outputs.items():
        if np.ptp(values, axis=0).max() == 0:
            raise EdgeqError(f"Output {name!r} does not vary, so it proves nothing.")
    np.savez(
        measured,
        indices=[item.index for item in ranges.tensors],
        names=[item.name for item in ranges.tensors],
        limits=[(item.minimum, item.maximum) for item in ranges.tensors],
        **{
            f"sample/{spec.name}": np.stack([sample[spec.name] for sample in fed[:COMPARED]])
            for spec in model.inputs
        },
    )


def theirs(prepared: Prepared, variant: Variant, folder: Path) -> bytes:
    """TensorFlow's quantized file, made once.

    Raises:
        EdgeqError: TensorFlow refuses the model.
    """
    made, refused = (folder / f"{variant.name}.{end}" for end in ("tflite", "txt"))
    if not made.exists() and not refused.exists():
        calibrated = folder / "calibrated.tflite"
        content = drop_stablehlo_flag(prepared.content)
        calibrated.write_bytes(write_ranges(content, prepared.ranges))
        options = variant.scheme, calibrated, variant.io, variant.granularity
        if reason := stock.quantize_apart(*options, made):
            refused.write_text(reason)
    if refused.exists():
        raise EdgeqError(refused.read_text())
    return made.read_bytes()


# ---------------------------------------------------------------- one model


def outputs(content: bytes, samples: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a quantized file for each sample, as it stores them.

    Raises:
        RuntimeError, ValueError: the interpreter refuses the file.
    """
    tree = flatbuffer.parse(content, "the quantized file")
    specs, _ = flatbuffer.interface(tree)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    places = [item["index"] for item in interpreter.get_input_details()]
    found = []
    for number in range(len(next(iter(samples.values())))):
        for spec, place in zip(specs, places, strict=True):
            real = samples[spec.name][number : number + 1]
            interpreter.set_tensor(place, quantmath.quantize(real, spec))
        interpreter.invoke()
        found += [
            interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()
        ]
    return found


def compare_outputs(
    ours: bytes, expected: list[np.ndarray], samples: dict[str, np.ndarray]
) -> list[str]:
    """How many output values differ, by how many steps; nothing if all are equal."""
    try:
        pairs = list(zip(outputs(ours, samples), expected, strict=True))
    except (RuntimeError, ValueError) as error:
        return [f"edgeq's file cannot be run: {error}"]
    wrong = [(a, b) for a, b in pairs if a.shape != b.shape or a.dtype != b.dtype]
    if wrong:
        a, b = wrong[0]
        return [f"outputs {a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}"]
    gaps = np.concatenate([np.abs(a.astype(np.float64) - b).reshape(-1) for a, b in pairs])
    if not gaps.any():
        return []
    return [
        f"{np.count_nonzero(gaps)} of {gaps.size} output values differ, by {gaps.max():g} at most"
    ]


def check_that_a_change_is_seen(content: bytes) -> None:
    """Prove on one file that one bias, changed by 1, is the only difference found.

    Raises:
        AssertionError: it is not.
    """
    changed, beginning = change_one_bias(content)
    found = differences(changed, content)
    assert len(found) == 1 and found[0].startswith(beginning), (beginning, found)
    assert differences(content, content) == []


def is_deliberate(
    case: Case, found: list[str], files: tuple[bytes, bytes, bytes], *, is_seen: bool
) -> bool:
    """Measure whether listed differences bring edgeq's file nearer to the float model.

    Args:
        files: the float model, edgeq's file, TensorFlow's file.
        is_seen: whether the outputs differ; if not, each layer is measured alone.
    """
    if not found or not all(any(re.search(item, line) for item in DELIBERATE) for line in found):
        return False
    if is_seen:
        how, figures = "worst part", [_judge(case, files)]
    else:
        how, figures = "outputs equal; worst layer alone", layers_alone(*files)
    ours, other = (min(side) for side in zip(*figures, strict=True))
    print(
        f"{case.name}: {len(found)} deliberate differences, {how} {ours:.1f} dB; TensorFlow's file "
        f"{other:.1f} dB",
        flush=True,
    )
    return all(ours > other for ours, other in figures)


def _judge(case: Case, files: tuple[bytes, bytes, bytes]) -> tuple[float, float]:
    """SQNR of the worst part of the outputs of edgeq's and of TensorFlow's file, in dB."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="edgeq-writer-") as scratch:
        names = "float.tflite", "made.tflite", "test.npz"
        lowered, candidate, test = (Path(scratch) / name for name in names)
        lowered.write_bytes(files[0])
        np.savez(test, **{name: array[:_JUDGED] for name, array in case.test().items()})
        for content in files[1:]:
            candidate.write_bytes(content)
            compared = edgeq.compare(
                lowered, candidate, test, preprocess=case.preprocess, latency=False
            )
            figures.append(worst_sqnr_db(compared.quality))
    return figures[0], figures[1]


def compare(case: Case, variant: Variant, folder: Path, *, only_check: bool) -> list[str] | None:
    """Print the result for one model.

    Returns:
        The differences; None if there is nothing to compare with.
    """
    try:
        prepared = prepare(case, folder)
        other = theirs(prepared, variant, folder)
        expected = outputs(other, prepared.samples)
    except (EdgeqError, RuntimeError, ValueError) as error:
        print(f"{case.name}: not compared, {str(error)[:300]}", flush=True)
        return None
    check_that_a_change_is_seen(other)
    if only_check:
        print(f"{case.name}: one changed bias is seen", flush=True)
        return []
    if left := float_operators(other):
        print(
            f"{case.name}: not compared, TensorFlow leaves {', '.join(left)} in float", flush=True
        )
        return None
    try:
        scheme, content = SCHEMES[variant.scheme], prepared.content
        if variant.scheme == "int8":
            content = squeeze_by_reshape(content)
        # TensorFlow's quantizer has INT8 inside recurrent layers, too.
        own = (content, prepared.ranges, scheme, variant.io, variant.granularity)
        ours = quantize(*own, Mix(recurrent="int8"))
    except EdgeqError as error:
        found = [f"edgeq refuses it: {error}"]
    else:
        # The stock Calibrator leaves the float model's versions, older than its INT16 kernels.
        found = differences(ours, other, same_versions=variant.scheme == "int8")
        wrong = compare_outputs(ours, expected, prepared.samples)
        files = (content, ours, other)
        if is_deliberate(case, found, files, is_seen=bool(wrong)):
            return []
        found += wrong
    count = len(flatbuffer.parse(other, "their file").subgraphs[0].operators)
    print(f"{case.name}: {len(found)} differences, {count} operators", flush=True)
    for line in found[:_SHOWN]:
        print(f"    {line}", flush=True)
    return found


def cases(shared: Path) -> Iterator[Case]:
    """All models: shipped, shared, families."""
    yield from shipped_cases(shared)
    if shared.is_dir():
        yield from shared_cases(shared)
        yield from unlabelled_cases(shared)
        yield from other_cases(shared)
    yield from family_cases()


def main() -> int:
    """Compare all models and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED, metavar="DIR")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--int16x8", action="store_true", help="INT16 activations")
    parser.add_argument(
        "--per-tensor", action="store_true", help="one scale for each weight tensor"
    )
    parser.add_argument("--io", help="dtype of inputs and outputs")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep what TensorFlow made")
    parser.add_argument("--self-check", action="store_true", help="only change one bias")
    given = parser.parse_args()
    scheme, io = ("int16x8", "int16") if given.int16x8 else ("int8", "int8")
    variant = Variant(scheme, given.io or io, "tensor" if given.per_tensor else "channel")
    results = []
    with tempfile.TemporaryDirectory(prefix="edgeq-writer-") as scratch:
        for case in cases(given.shared):
            if given.only in case.name:
                folder = (given.cache or Path(scratch)) / case.name.replace(" ", "_")
                results.append(compare(case, variant, folder, only_check=given.self_check))
    compared = [found for found in results if found is not None]
    equal = sum(not found for found in compared)
    left = len(results) - len(compared)
    print(f"{variant.name}: {equal} of {len(compared)} equal, {left} not compared")
    return 0 if compared and equal == len(compared) else 1


if __name__ == "__main__":
    raise SystemExit(main())
