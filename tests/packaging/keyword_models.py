"""Not a test: models that pass on the features of spoken words, for the tests of all targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.converters.samples.sounds.features import fit_length
from edgeq.converters.samples.sounds.front_end import clip_length, transform
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import TensorSpec
from tests.tiny_models import passing

# Frames and values of an input, and its front end: a transform of radix 2 and others, every kind.
FRONT_ENDS = {
    "log-mel": (31, 20, "sound=log-mel,rate=22050,window=1024,hop=700,bands=20,low=80,high=7600,"
                "floor=0.001,taper=hanning"),
    "mfcc": (20, 13, "sound=mfcc,rate=22050,window=600,hop=500,fft=640,bands=40,coefficients=13,"
             "low=20,filters=tensorflow,mean=3,std=2"),
    "spectrogram": (9, 241, "sound=spectrogram,rate=22050,window=450,hop=441,fft=480,power=1"),
}  # fmt: skip


def make_package(folder: Path, kind: str, spoken: np.ndarray, count: int = 2) -> PackageInputs:
    """A package of one of `FRONT_ENDS`, with golden vectors of these clips."""
    frames, values, text = FRONT_ENDS[kind]
    path = folder / "words.tflite"
    path.write_bytes(passing((1, frames, values), (1, frames * values), None))
    contract = make_contract(path, preprocess=[text])
    length = contract.inputs[0].sound_length
    clips = np.stack([fit_length(clip, length) for clip in spoken])
    golden = make_golden(read_model(path), contract, {"x": clips}, LocalDevice(), count=count)
    return PackageInputs(contract, parse_model(path.read_bytes(), "model.tflite"), golden)


def wanted_features(kind: str, clip: Any) -> np.ndarray:
    """The features that `eval` gives a model of this kind, before its numbers: [frames, values]."""
    frames, values, text = FRONT_ENDS[kind]
    spec = TensorSpec("x", (1, frames, values), "float32")
    (how,) = parse_preprocessing([text], [spec])
    assert how.sound is not None
    length = clip_length(how.sound, spec)
    assert length is not None
    return transform(how.sound, fit_length(clip, length), "the clip")
