"""The spoken words of `edgeq.models.words`."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgeq.models import words


def test_a_tone_is_in_the_band_of_its_frequency() -> None:
    time = np.arange(22050) / 22050
    tones = np.float32([np.sin(2 * np.pi * pitch * time) for pitch in (200, 1000, 5000)])
    found = words.log_mel(tones)
    assert found.shape == (3, words.FRAMES, words.BANDS) and found.dtype == np.float32
    # Peaks are at 80 Hz + 126.9 mel for each band: 1000 Hz is 6.9 of them up, the seventh band.
    assert np.argmax(found.mean(1), axis=1).tolist() == [0, 6, 17]
    assert np.allclose(words.log_mel(np.zeros((1, 22050), np.float32)), np.log(1e-3))


def test_other_speakers_say_the_test_clips() -> None:
    train, test = words.SPEAKERS["train"], words.SPEAKERS["test"]
    for own, other in (
        (train.variants, test.variants),
        (train.speeds, test.speeds),
        (train.pitches, test.pitches),
    ):
        assert set(own).isdisjoint(other)
    assert test.clips >= 2000


def test_without_the_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    words._chunk.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="install it with `apt-get install espeak-ng`"):
        next(words.test())


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_the_same_clips_come_again_one_by_one() -> None:
    """Also from the middle: some have the voices of the clips before in the background."""
    features, labels = words._chunk.__wrapped__("test", 0, 12)
    again, last = words._chunk.__wrapped__("test", 7, 12)
    assert np.allclose(features[7:], again, atol=1e-5) and np.isfinite(features).all()
    assert labels.tolist() == [*range(10), 0, 1] and last.tolist() == [7, 8, 9, 0, 1]
    assert not np.array_equal(features[0], features[10])  # the same word
    one, word = next(words.test())
    assert np.allclose(one, features[0], atol=1e-5) and word == 0
