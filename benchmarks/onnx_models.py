"""Ten ONNX files from PyPI and six exported by PyTorch: which convert, and how near.

    python benchmarks/onnx_models.py --onnx-python PATH --torch-python PATH --fashion-mnist DIR
        [--only NAME] [--cache DIR] [--effort EFFORT]

pip fetches the wheels of magika 1.0.3 (Apache-2.0), rapidocr 3.10.0 (Apache-2.0; the models are
PaddleOCR's, Apache-2.0) and silero-vad 6.2.3 (MIT), and espeakng-loader for speech. The Python for
PyTorch trains and exports the six nets (`onnx_exports.py`); it needs torch, onnx, onnxscript, numpy
and Pillow. The Python for ONNX has onnx2tf, and onnxruntime, which makes the states of silero-vad
and the outputs to compare with.

For each file: the SQNR of the float `.tflite` (`--scheme fp32`) against onnxruntime, over all
values of the worst output, and that of INT8 and, below 15 dB, of INT16x8 in the worst part of the
outputs, as `edgeq convert` reports it. It exits with 1 if fewer than 12 files convert with 60 dB in
float and, in INT8, 15 dB or at most 1 dB less than INT16x8.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_inputs
import speech
import wheels
from cases import Arrays

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.errors import EdgeqError
from edgeq.tflite import flatbuffer

LEAST_FILES, LEAST_FLOAT_DB, LEAST_DB, MOST_BELOW_DB = 12, 60.0, 15.0, 1.0
_CALIBRATED, _TESTED = 200, 64
_SECONDS, _STEPS = 60, 4  # of speech; chunks in one sample of the model for sequences
_ANY_MACHINE = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
_WHEELS = {
    "magika==1.0.3": _ANY_MACHINE,
    "rapidocr==3.10.0": (),
    "silero-vad==6.2.3": (),
    "espeakng-loader==0.2.4": (),
}
_VOICES = "espeakng_loader"
_EXPORTED = ("resnet18", "unet", "bilstm", "gru", "encoder", "detector")
# silero-vad: a spectrum of 60 dB, and states of -1 to 1 and of -43 to 43 in one tensor. All is
# INT16 but the four convolutions behind the spectrum.
_WIDE = {"int16": ("^(?!.*(encoder|conv1d_[1-4])).*$",), "io": "float32"}
_STATE, _RATE = {"state": "stateN"}, (("sr", 16000.0),)


@dataclass(frozen=True)
class Case:
    """A file and what it takes.

    Attributes:
        name: of the file, without its extension.
        inputs: from the number of samples and a seed to input name to samples [n, ...].
        states: input to the output that is its next value.
        options: of `edgeq.convert`.
        wide: options for INT8 only, for a file with operators that need INT16.
    """

    name: str
    inputs: Callable[[int, int], Arrays]
    states: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    wide: dict[str, Any] = field(default_factory=dict)


def fetch(folder: Path) -> dict[str, Path]:
    """Download the wheels, unpack what is needed, and return the models by their names."""
    unpacked = wheels.unpack(
        folder, _WHEELS, lambda item: item.endswith(".onnx") or item.startswith(_VOICES)
    )
    return {path.stem: path for path in sorted(unpacked.rglob("*.onnx"))}


def cases(voices: Path, exported: Path) -> list[Case]:
    """Return all cases."""

    def pictures(name: str, size: tuple[int, int], lines: int) -> Case:
        shape = ("x", (1, 3, *size))
        return Case(
            name,
            lambda n, seed: {"x": onnx_inputs.text_pictures(n, size, lines, seed)},
            options={"input_shapes": (shape,)},
        )

    def spoken(name: str, shapes: bool, fixed: tuple[tuple[str, float], ...] = ()) -> Case:
        given = (("input", (1, onnx_inputs.CHUNK + 64)), ("state", (2, 1, 128)))
        options = {"input_shapes": given if shapes else (), "fixed_inputs": fixed}
        return Case(name, sounds, _STATE, options, _WIDE)

    def sounds(_: int, seed: int) -> Arrays:
        return {"input": onnx_inputs.chunks(voices, _SECONDS, seed)[:, np.newaxis]}

    def sequences(_: int, seed: int) -> Arrays:
        made = onnx_inputs.chunks(voices, _SECONDS, seed)
        return {"input": made[: len(made) // _STEPS * _STEPS].reshape(-1, _STEPS, made.shape[1])}

    def of_net(name: str) -> Case:
        def read(count: int, seed: int) -> Arrays:
            with np.load(exported / f"{name}.npz", allow_pickle=False) as stored:
                return {"x": stored["test" if seed else "calibration"][:count]}

        return Case(name, read)

    size = ("input", (_STEPS, onnx_inputs.CHUNK + 64))
    return [
        Case("magika", lambda n, seed: {"bytes": onnx_inputs.file_bytes(n, seed)}),
        pictures("PP-OCRv6_det_small", (320, 320), 5),
        pictures("PP-OCRv6_rec_small", (48, 320), 1),
        pictures("ch_ppocr_mobile_v2.0_cls_mobile", (48, 192), 1),
        spoken("silero_vad", True, _RATE),
        spoken("silero_vad_16k_op15", True, _RATE),
        Case("silero_vad_16k_sequence", sequences, {"h": "hn", "c": "cn"},
             {"input_shapes": (size,)}, _WIDE),
        spoken("silero_vad_half", True),
        spoken("silero_vad_op18_ifless", True, _RATE),
        spoken("silero_vad_openvino_16k", False),
        *map(of_net, _EXPORTED),
    ]  # fmt: skip


# ---------------------------------------------------------------- the source


class Source:
    """The ONNX file, run by onnxruntime in another Python.

    Args:
        python: that Python.
        folder: for arrays.
    """

    def __init__(self, python: str, model: Path, case: Case, folder: Path):
        self._python, self._model, self._folder, self._case = python, model, folder, case
        fixed = case.options.get("fixed_inputs", ())
        self._constants = {name: np.array(value, np.int64) for name, value in fixed}

    def _run(self, arrays: Arrays, *options: str) -> Arrays:
        given, out = self._folder / "in.npz", self._folder / "out.npz"
        np.savez(given, **arrays, **self._constants)
        script = Path(__file__).with_name("onnx_source.py")
        command = [self._python, str(script), str(self._model), str(given), str(out), *options]
        subprocess.run(command, check=True)
        with np.load(out, allow_pickle=False) as stored:
            return dict(stored)

    def draw(self, count: int, seed: int) -> Arrays:
        """Return samples in the shape of the model's inputs, [n, ...], the states included."""
        made = self._case.inputs(count, seed)
        if not self._case.states:
            return {name: array[:, np.newaxis] for name, array in made.items()}
        pairs = ",".join(f"{name}={output}" for name, output in self._case.states.items())
        made = {**made, **self._run(made, "--states", pairs)}
        total = len(next(iter(made.values())))
        chosen = np.sort(np.random.default_rng(seed).permutation(total)[:count])
        return {name: array[chosen] for name, array in made.items()}

    def outputs(self, arrays: Arrays) -> Arrays:
        """Return the outputs, [n, ...]."""
        return self._run(arrays)


def float_sqnr_db(path: Path, arrays: Arrays, expected: Arrays) -> float:
    """Return the SQNR of the worst output of a float `.tflite`, over all values."""
    inputs, outputs = flatbuffer.interface(flatbuffer.read(path))
    interpreter = speech.plain(path)
    interpreter.allocate_tensors()
    rows: dict[str, list[np.ndarray]] = {spec.name: [] for spec in outputs}
    details = zip(interpreter.get_input_details(), inputs, strict=True)
    places = [(item["index"], spec) for item, spec in details]
    for i in range(len(next(iter(arrays.values())))):
        for index, spec in places:
            interpreter.set_tensor(index, arrays[spec.name][i].reshape(spec.shape))
        interpreter.reset_all_variables()
        interpreter.invoke()
        for item, spec in zip(interpreter.get_output_details(), outputs, strict=True):
            rows[spec.name].append(interpreter.get_tensor(item["index"]))
    worst = np.inf
    for name, values in rows.items():
        made, wanted = np.stack(values), expected[name].astype(np.float64)
        if made.size == wanted.size and made.shape[-1] != wanted.shape[-1] and wanted.ndim == 5:
            wanted = np.moveaxis(wanted, 2, -1)  # onnx2tf moved the channels, which a note says
        error = float(np.sum((made.reshape(wanted.shape) - wanted) ** 2))
        worst = min(worst, 10 * np.log10(float(np.sum(wanted**2)) / max(error, 1e-300)))
    return worst


# ---------------------------------------------------------------- converting


@dataclass(frozen=True)
class Result:
    """Figures of one file in dB, None where not measured.

    Attributes:
        text: why it was refused, and notes.
    """

    float_db: float | None = None
    int8_db: float | None = None
    int16_db: float | None = None
    text: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it meets the bounds."""
        if self.float_db is None or self.int8_db is None or self.float_db < LEAST_FLOAT_DB:
            return False
        near = self.int16_db is not None and self.int8_db >= self.int16_db - MOST_BELOW_DB
        return self.int8_db >= LEAST_DB or near


def convert(model: Path, case: Case, source: Source, folder: Path, given: Any) -> Result:
    """Convert one file to float, INT8 and, if that is poor, INT16x8."""
    calibration, test = source.draw(_CALIBRATED, 0), source.draw(_TESTED, 1)
    common = {**case.options, "onnx_python": given.onnx_python, "effort": given.effort}
    target, parts = folder / f"{case.name}.tflite", {"data": calibration, "test_data": test}
    measured: list[float | None] = [None, None, None]
    try:
        made = edgeq.convert(model, target, scheme="fp32", **common)
        measured[0] = float_sqnr_db(target, test, source.outputs(test))
        for place, scheme in ((1, "int8"), (2, "int16x8")):
            if place == 1 or (measured[1] or 0.0) < LEAST_DB:
                extra = case.wide if scheme == "int8" else {}
                made = edgeq.convert(model, target, scheme=scheme, **parts, **common, **extra)
                assert made.quality is not None
                measured[place] = worst_sqnr_db(made.quality)
    except EdgeqError as error:
        return Result(*measured, text=f"{type(error).__name__}: {error}")
    notes = [f"INT8 with --int16 '{value}' --io float32" for value in case.wide.get("int16", ())]
    return Result(*measured, text="; ".join([*notes, *made.source.notes]))


def main() -> int:
    """Convert all files, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx-python", default=os.environ.get("EDGEQ_ONNX_PYTHON"))
    parser.add_argument("--torch-python", required=True, help="with torch, onnx and onnxscript")
    parser.add_argument("--fashion-mnist", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the wheels and the nets")
    parser.add_argument("--effort", default="balanced", help="as in edgeq convert")
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="edgeq-onnx-models-") as scratch:
        folder = given.cache or Path(scratch)
        models = fetch(folder)
        models["magika"] = models.pop("model")
        exported = folder / "exported"
        exported.mkdir(exist_ok=True)
        script = str(Path(__file__).with_name("onnx_exports.py"))
        command = [given.torch_python, script, str(exported), "--fashion-mnist"]
        subprocess.run([*command, str(given.fashion_mnist)], check=True)
        models |= {path.stem: path for path in exported.glob("*.onnx")}
        print(
            "| file | float, dB | INT8, dB | INT16x8, dB | seconds | |\n|---|--:|--:|--:|--:|---|"
        )
        for case in cases(folder / "unpacked" / _VOICES, exported):
            if given.only not in case.name:
                continue
            began = time.perf_counter()
            source = Source(given.onnx_python, models[case.name], case, Path(scratch))
            result = convert(models[case.name], case, source, Path(scratch), given)
            results.append(result)
            figures = (result.float_db, result.int8_db, result.int16_db)
            shown = ["" if value is None else f"{value:.1f}" for value in figures]
            text = " ".join(result.text.replace("|", "/").split())[:300]
            took = time.perf_counter() - began
            print(f"| {case.name} | {' | '.join(shown)} | {took:.0f} | {text} |", flush=True)
    good = sum(result.is_good for result in results)
    print(f"{good} of {len(results)} files meet the bounds")
    return 0 if good >= min(LEAST_FILES, len(results)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
