"""The 21 `.tflite` files of mediapipe and pyopen-wakeword: which become full INT8, and how near.

    python benchmarks/real_files.py [--only NAME] [--cache DIR] [--effort EFFORT]

pip fetches the wheels of mediapipe 0.10.21 and pyopen-wakeword 1.1.0 from the index that it is
configured with, and two more for the inputs: espeakng-loader speaks, and matplotlib has a portrait.
The inputs vary the outputs, which the script checks on the float files: pictures of hands, faces
and persons (`pictures.py`), and features of spoken wake words (`speech.py`).

Then it converts each file like `edgeq convert FILE --data ... --test-data ...`. It exits with 1 if
fewer than 17 files are full INT8 with at least 20 dB in the worst part of their outputs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pictures
import speech
import wheels
from cases import Arrays

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.ways_out import is_lost
from edgeq.errors import EdgeqError
from edgeq.tflite import flatbuffer

LEAST_FILES = 17
LEAST_DB = 20.0
_CALIBRATED, _TESTED = 200, 64
_LEAST_SPREAD = 1e-3  # of an output over the samples, relative to its largest value

# mediapipe has no wheel for every Python and machine; its models are the same in all.
_ANY_MACHINE = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
_WHEELS = {
    "mediapipe==0.10.21": _ANY_MACHINE,
    "pyopen-wakeword==1.1.0": (),
    "espeakng-loader==0.2.4": (),
    "matplotlib==3.9.4": (),
}
_PORTRAIT = "matplotlib/mpl-data/sample_data/grace_hopper.jpg"
_VOICES = "espeakng_loader"

# File: what the pictures show, and the value of a black pixel (white is 1), as mediapipe's graphs
# state it.
_PICTURES = {
    "face_detection_full_range_sparse": ("person", -1),
    "face_detection_short_range": ("person", -1),
    "face_landmark": ("face", 0),
    "face_landmark_with_attention": ("face", 0),
    "hand_landmark_full": ("hand", 0),
    "hand_landmark_lite": ("hand", 0),
    "hand_recrop": ("hand", 0),
    "iris_landmark": ("eye", 0),
    "palm_detection_full": ("hand", 0),
    "palm_detection_lite": ("hand", 0),
    "pose_detection": ("person", -1),
    "pose_landmark_full": ("person", 0),
    "selfie_segmentation": ("person", 0),
    "selfie_segmentation_landscape": ("person", 0),
}
_SOUND = 12640  # samples that give the 76 frames of one embedding
# Options for the inputs whose size the file leaves open.
_SHAPES = {"melspectrogram": (("input", (1, _SOUND)),)}


@dataclass(frozen=True)
class Result:
    """A converted or refused file.

    Attributes:
        kind: "yes" for full INT8; "ruined" if edgeq says that a part of the outputs is lost;
            "refused".
        db: SQNR of the worst part; None for a refused file.
        text: why it was refused, or what edgeq advises instead.
    """

    kind: str
    db: float | None
    text: str
    seconds: float


# ---------------------------------------------------------------- files and inputs


def fetch(folder: Path) -> list[Path]:
    """Download the wheels, unpack what is needed, and return the models."""
    unpacked = wheels.unpack(
        folder,
        _WHEELS,
        lambda item: item.endswith(".tflite") or item == _PORTRAIT or item.startswith(_VOICES),
    )
    return sorted(unpacked.rglob("*.tflite"), key=lambda path: path.stem)


class Inputs:
    """Inputs that vary the outputs of each file.

    Args:
        folder: with what `fetch` unpacked.
    """

    def __init__(self, folder: Path, models: list[Path]):
        self._portrait = folder / "unpacked" / _PORTRAIT
        self._models = {path.stem: path for path in models}
        self._voices = folder / "unpacked" / _VOICES
        self._features = speech.Features(self._models["melspectrogram"].parent)

    def make(self, name: str, count: int, seed: int) -> np.ndarray:
        """Return [count, ...] inputs of a file without the model's batch dimension."""
        if name in _PICTURES:
            subject, low = _PICTURES[name]
            (spec,), _ = flatbuffer.interface(flatbuffer.read(self._models[name]))
            made = pictures.draw(subject, count, spec.shape[1:3], self._portrait, seed)
            return made * (1 - low) + low
        random = np.random.default_rng(seed)
        word = name if name in self._models and "_model" not in name else "alexa"
        sounds = speech.utterances(self._voices, word, seed)
        if name == "melspectrogram":
            begins = [int(random.integers(len(sound) - _SOUND)) for sound in sounds] * count
            pairs = zip(sounds * count, begins, strict=False)
            return np.stack([sound[begin : begin + _SOUND] for sound, begin in pairs][:count])
        if name == "embedding_model":
            found = np.concatenate([self._features.windows(sound) for sound in sounds])
            return found[random.permutation(len(found))[:count]]
        found = np.concatenate([self._features.decisions(sound) for sound in sounds])
        return self._balanced(name, found, count, random)

    def _balanced(
        self, name: str, found: np.ndarray, count: int, random: np.random.Generator
    ) -> np.ndarray:
        """Choose inputs: the model hears its word in half of them, if there are enough."""
        (scores,) = run(self._models[name], found)
        order = random.permutation(len(found))
        heard = scores.reshape(-1)[order] > 0.1
        return np.concatenate([found[order[heard]][: count // 2], found[order[~heard]]])[:count]


def run(path: Path, inputs: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a float file, [samples, ...] each, without XNNPACK."""
    interpreter = speech.plain(path)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, [1, *inputs.shape[1:]])
    interpreter.allocate_tensors()
    rows = []
    for sample in inputs:
        interpreter.set_tensor(place, sample[np.newaxis])
        interpreter.invoke()
        details = interpreter.get_output_details()
        rows.append([interpreter.get_tensor(item["index"])[0] for item in details])
    return [np.stack(values) for values in zip(*rows, strict=True)]


def check_that_outputs_vary(path: Path, inputs: np.ndarray) -> str:
    """Return the smallest spread of an output over the samples, or why the file does not run.

    Raises:
        SystemExit: an output does not vary, so its figure would say nothing.
    """
    try:
        outputs = run(path, inputs)
    except (RuntimeError, ValueError) as error:
        return f"the float file does not run here: {str(error).splitlines()[0]}"
    spreads = [float(np.ptp(item, axis=0).max() / np.abs(item).max()) for item in outputs]
    if min(spreads) < _LEAST_SPREAD:
        raise SystemExit(f"{path.name}: an output varies by {min(spreads):.1e} of its size only.")
    return f"outputs vary by {min(spreads):.0%} of their size or more"


# ---------------------------------------------------------------- converting


def convert(path: Path, calibration: Arrays, test: Arrays, folder: Path, effort: str) -> Result:
    """Convert one file and return its figure, or the reason why it was refused."""
    target, began = folder / f"{path.stem}.int8.tflite", time.perf_counter()
    try:
        made = edgeq.convert(
            path,
            target,
            data=calibration,
            test_data=test,
            effort=effort,
            input_shapes=_SHAPES.get(path.stem, ()),
        )
    except EdgeqError as error:
        return Result("refused", None, str(error), time.perf_counter() - began)
    took, quality = time.perf_counter() - began, made.quality
    assert quality is not None
    if not is_lost(quality):
        return Result("yes", worst_sqnr_db(quality), "", took)
    ways = [way for way in made.ways_out if way.keeps]
    advice = f"edgeq advises {ways[0].command.partition(' -o ')[2]}" if ways else "no way out found"
    return Result("ruined", worst_sqnr_db(quality), advice, took)


def main() -> int:
    """Convert all files, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the wheels")
    parser.add_argument("--effort", default="balanced", help="as in edgeq convert")
    given = parser.parse_args()
    results = []
    print("| file | full INT8 | SQNR, dB | seconds | |\n|---|---|--:|--:|---|")
    with tempfile.TemporaryDirectory(prefix="edgeq-real-files-") as scratch:
        models = fetch(given.cache or Path(scratch))
        inputs = Inputs(given.cache or Path(scratch), models)
        for path in models:
            if given.only not in path.stem:
                continue
            name = flatbuffer.interface(flatbuffer.read(path))[0][0].name
            calibration = {name: inputs.make(path.stem, _CALIBRATED, 0)}
            test = {name: inputs.make(path.stem, _TESTED, 1)}
            note = check_that_outputs_vary(path, test[name])
            result = convert(path, calibration, test, Path(scratch), given.effort)
            results.append(result)
            shown = (result.kind, "" if result.db is None else f"{result.db:.1f}")
            text = " ".join(f"{result.text} {note}".replace("|", "/").split())[:400]
            print(
                f"| {path.stem} | {' | '.join(shown)} | {result.seconds:.1f} | {text} |", flush=True
            )
    good = sum(item.db is not None and item.db >= LEAST_DB for item in results)
    print(f"{good} of {len(results)} files are full INT8 with {LEAST_DB:.0f} dB or more")
    return 0 if good >= min(LEAST_FILES, len(results)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
