"""The front end in C++: compiled by g++, and compared with that of `eval` on spoken words."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import PackageError
from edgeq.fit.arena import ArenaMeasurement
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.targets import find_target
from edgeq.packaging.targets.c import writing
from tests.packaging.keyword_models import FRONT_ENDS, make_package, wanted_features
from tests.packaging.targets.c.test_c import build, needs_compiler, run, unpack

# Features of clips: on stdin the number of samples, the rate, and the samples as int16.
PROGRAM = """
#include <cstdio>
#include "edgeq_words_sounds.h"
using Sound = edgeq::words::XSound;
int main() {
  static Sound::Scratch scratch;
  static std::int16_t samples[1 << 16];
  static float features[Sound::kFrames * Sound::kValues];
  std::int32_t given[2];
  while (std::fread(given, sizeof given, 1, stdin) == 1) {
    const std::size_t count = static_cast<std::size_t>(given[0]);
    if (std::fread(samples, 2, count, stdin) != count) return 2;
    if (!Sound::Features(samples, count, given[1], &scratch, features)) return 3;
    std::fwrite(features, sizeof features, 1, stdout);
  }
  return 0;
}
"""


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The front end needs no run of the model."""
    measured = ArenaMeasurement("0.dev1", (), 4640, 3984, 1440)
    monkeypatch.setattr(writing, "measure", lambda inputs, tools: measured)


def compute(program: Path, clips: list[np.ndarray], rate: int = 22050) -> np.ndarray:
    given = b"".join(np.int32([len(clip), rate]).tobytes() + clip.tobytes() for clip in clips)
    done = subprocess.run([program], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.returncode
    return np.frombuffer(done.stdout, np.float32)


@needs_compiler
@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_features_are_those_of_eval(kind: str, spoken: np.ndarray, tmp_path: Path) -> None:
    made = make_package(tmp_path, kind, spoken)
    folder = unpack(find_target("c").make_files(made, LOCAL_TOOLS), tmp_path)
    assert run(build(folder)) == (0, "words 1.0.0: 2 samples, 0 checks failed\n")
    (folder / "main.cc").write_text(PROGRAM)
    program = build(folder, "-DEDGEQ_NO_MAIN", "-fsanitize=undefined,address")
    # Too short, and empty: silence follows; too long: cut.
    clips = [*spoken, spoken[0][:9000], spoken[0][:0], np.concatenate([spoken[1], spoken[2]])]
    found = compute(program, clips)
    wanted = np.stack([wanted_features(kind, clip) for clip in clips])
    (tolerances,) = made.golden.feature_tolerances.values()
    assert np.abs(found.reshape(wanted.shape) - wanted).max() <= tolerances["float32"]
    with pytest.raises(AssertionError, match="3"):
        compute(program, clips, rate=16000)


@needs_compiler
def test_another_constant_fails_the_golden_test(spoken: np.ndarray, tmp_path: Path) -> None:
    made = make_package(tmp_path, "log-mel", spoken)
    files = find_target("c").make_files(made, LOCAL_TOOLS)
    name = "src/edgeq_words_sounds.h"
    text = files[name].decode()
    for number, (old, new) in enumerate([("0.001f", "0.002f"), ("kHop = 700", "kHop = 699")]):
        assert old in text
        changed = {**files, name: text.replace(old, new).encode()}
        code, said = run(build(unpack(changed, tmp_path / str(number))))
        assert code == 1
        assert "FAILED: sample 0, features of XSound: " in said


@needs_compiler
def test_sounds_that_16_bits_cannot_hold_stay_floats(spoken: np.ndarray, tmp_path: Path) -> None:
    made = make_package(tmp_path, "log-mel", spoken * np.float32(0.7 / 32768))
    files = find_target("c").make_files(made, LOCAL_TOOLS)
    assert b"const float kXSound[]" in files["src/edgeq_words_golden.h"]
    program = build(unpack(files, tmp_path), "-std=c++11")
    assert run(program) == (0, "words 1.0.0: 2 samples, 0 checks failed\n")


def test_a_floor_below_float32s_rounding_is_refused(spoken: np.ndarray, tmp_path: Path) -> None:
    made = make_package(tmp_path, "log-mel", spoken)
    tolerances = {"x": {"float64": made.golden.feature_tolerances["x"]["float64"]}}
    golden = replace(made.golden, feature_tolerances=tolerances)
    with pytest.raises(PackageError, match=r"are larger than floor=0\.001"):
        find_target("c").make_files(replace(made, golden=golden), LOCAL_TOOLS)
