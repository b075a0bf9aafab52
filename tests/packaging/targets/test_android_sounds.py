"""The front end in Java and Kotlin: compiled, and compared with that of `eval` on spoken words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.targets.android import make_files
from tests.packaging.keyword_models import FRONT_ENDS, make_package, wanted_features
from tests.packaging.targets.test_android import Desktop, fakes, needs

__all__ = ["fakes"]

# Features of the sounds in a file of little-endian samples: 16 bits, and as floats with the tensor.
BODY = """
        byte[] content = java.nio.file.Files.readAllBytes(java.nio.file.Paths.get("SAMPLES"));
        java.nio.ShortBuffer buffer =
                java.nio.ByteBuffer.wrap(content).order(java.nio.ByteOrder.LITTLE_ENDIAN).asShortBuffer();
        StringBuilder shown = new StringBuilder();
        for (int length : new int[] {LENGTHS}) {
            short[] samples = new short[length];
            buffer.get(samples);
            float[] real = FrontEnd.toReal(samples);
            for (float value : WordsCodec.featuresX(real, WordsCodec.X_RATE)) {
                shown.append(value).append(' ');
            }
            Tensors.require(
                    WordsCodec.prepareX(samples, 22050).equals(WordsCodec.prepareX(real, 22050)),
                    "16 bits and floats differ");
        }
        System.out.println(shown);
        try {
            WordsCodec.prepareX(new short[9], 16000);
        } catch (IllegalArgumentException error) {
            System.out.println(error.getMessage());
        }
"""


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_features_are_those_of_eval(
    kind: str, spoken: np.ndarray, fakes: Path, tmp_path: Path
) -> None:
    made = make_package(tmp_path, kind, spoken)
    files = make_files(made, LOCAL_TOOLS)
    for line in ("WordsResult result", "val result"):
        assert f"{line} = model.run(samples, WordsCodec.X_RATE)" in files["README.md"].decode()
    desktop = Desktop(files, tmp_path / "package", fakes)
    assert desktop.java("RunTests", "edgeq.words.GoldenTest").endswith("2 passed\n")
    clips = [*spoken, spoken[0][:9000], spoken[0][:0], np.concatenate([spoken[1], spoken[2]])]
    samples = tmp_path / "samples"
    samples.write_bytes(np.concatenate(clips).astype("<i2").tobytes())
    lengths = ", ".join(str(len(clip)) for clip in clips)
    body = BODY.replace("SAMPLES", str(samples)).replace("LENGTHS", lengths)
    numbers, refusal = desktop.demo("edgeq.words", body).splitlines()
    wanted = np.stack([wanted_features(kind, clip) for clip in clips])
    found = np.array(numbers.split(), np.float32).reshape(wanted.shape)
    (tolerances,) = made.golden.feature_tolerances.values()
    assert np.abs(found - wanted).max() <= tolerances["float64"]
    assert refusal == "The sound has 16000 samples per second, not 22050: convert it."


def test_another_constant_fails_the_golden_test(
    spoken: np.ndarray, fakes: Path, tmp_path: Path
) -> None:
    needs("javac")
    made = make_package(tmp_path, "log-mel", spoken)
    desktop = Desktop(make_files(made, LOCAL_TOOLS), tmp_path / "package", fakes)
    (codec,) = (desktop.folder / "module").rglob("WordsCodec.java")
    text = codec.read_text()
    assert text.count("\n                    0.001,") == 1
    codec.write_text(text.replace("\n                    0.001,", "\n                    0.002,"))
    desktop.compile(codec)
    path = f"{desktop.folder / 'built'}:{desktop.path}"
    with pytest.raises(AssertionError, match="features of x"):
        desktop.java("RunTests", "edgeq.words.GoldenTest", path=path)
