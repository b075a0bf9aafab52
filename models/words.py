"""Ten spoken words, made by Debian's eSpeak NG: sounds, their features, and the data functions.

edgeq convert words_gru.keras --data edgeq.models.words:calibration -o words_gru.tflite

The test clips have other voices, speeds and pitches than those for training. Each clip lasts one
second and has noise or other voices in the background. The same version of eSpeak NG makes the same
clips every time.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Real: TypeAlias = NDArray[np.float32]

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
FRAMES, BANDS = 31, 20  # shape of a clip's features

_PROGRAM = "espeak-ng"
_RATE = 22050  # samples per second, of eSpeak NG
_HEADER = 44  # bytes of a WAV file before its samples
_WINDOW, _HOP = 1024, 700  # samples, 46 and 32 ms
_LOWEST, _HIGHEST = 80.0, 7600.0  # Hz, limits of the mel bands
_FLOOR = 1e-3  # added to the energy of each band
_LOUDEST_PART = 0.2  # of the loudest sample, where a word begins and ends
_BABBLE = 3  # voices in the background of some clips: those of the clips before
_BABBLED = 0.3  # of all clips
_SNR_DB = (0.0, 20.0)  # least and most
_CHUNK = 50  # clips that are made together
_SEED = {"train": 1, "test": 2}


@dataclass(frozen=True)
class Speakers:
    """The voices that say the words, and their speeds and pitches.

    Attributes:
        accents: voices of eSpeak NG.
        variants: that change a voice.
        speeds: words per minute.
        pitches: 0 to 99.
        clips: how many, in equal numbers of each word.
    """

    accents: tuple[str, ...]
    variants: tuple[str, ...]
    speeds: tuple[int, ...]
    pitches: tuple[int, ...]
    clips: int


_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
SPEAKERS = {
    "train": Speakers(
        _ACCENTS,
        ("Alex", "Andrea", "Andy", "Denis", "Gene", "Hugo", "Jacky", "Lee", "Mario", "Michael",
         "Nguyen", "Storm", "Tweaky", "adam", "anika", "antonio", "belinda", "benjamin", "boris",
         "caleb", "edward", "f1", "f3", "f5", "grandma", "gustave", "iven", "iven3", "john",
         "klatt", "klatt3", "linda", "m1", "m3", "m5", "m7", "max", "michel", "pablo", "pedro",
         "rob", "sandro", "steph", "travis", "victor"),
        (110, 130, 150, 170, 190, 210),
        (20, 35, 50, 65, 80),
        8_000,
    ),
    "test": Speakers(
        _ACCENTS,
        ("Alicia", "Annie", "Diogo", "Gene2", "Henrique", "Marco", "Mike", "aunty", "david", "ed",
         "edward2", "f2", "f4", "grandpa", "iven2", "iven4", "klatt2", "klatt4", "m2", "m4", "m6",
         "m8", "marcelo", "miguel", "norbert", "paul", "quincy", "robert", "shelby", "steph2",
         "zac"),
        (120, 140, 160, 180, 200),
        (28, 43, 58, 73),
        2_500,
    ),
}  # fmt: skip


def calibration() -> Iterator[tuple[Real, int]]:
    """Yield 300 training clips: log-mel energies, float32 [31, 20], and the word's number."""
    yield from _one_by_one("train", 300)


def test() -> Iterator[tuple[Real, int]]:
    """Yield 2,500 held-out clips: log-mel energies, float32 [31, 20], and the word's number."""
    yield from _one_by_one("test", SPEAKERS["test"].clips)


def _one_by_one(part: str, count: int) -> Iterator[tuple[Real, int]]:
    """Yield clips, which are spoken when they are needed: `--samples` may take a few."""
    for begin in range(0, count, _CHUNK):
        features, labels = _chunk(part, begin, min(begin + _CHUNK, count))
        yield from zip(features, labels.tolist(), strict=True)


def clips(part: str, count: int | None = None) -> tuple[Real, NDArray[np.int64]]:
    """Make the clips of one part.

    Args:
        part: "train" or "test".
        count: how many; None for all. Fewer clips are the first ones.

    Returns:
        Features, float32 [N, 31, 20], and numbers of words, int64 [N].

    Raises:
        SystemExit: eSpeak NG is not installed.
    """
    total = count or SPEAKERS[part].clips
    begins = range(0, total, _CHUNK)
    chunks = [_chunk(part, begin, min(begin + _CHUNK, total)) for begin in begins]
    features, labels = (np.concatenate(column) for column in zip(*chunks, strict=True))
    return features, labels


@functools.cache
def _chunk(part: str, begin: int, end: int) -> tuple[Real, NDArray[np.int64]]:
    """Make clips from one number to another; see `clips`."""
    if shutil.which(_PROGRAM) is None:
        raise SystemExit(f"{_PROGRAM} was not found: install it with `apt-get install espeak-ng`.")
    sounds = []
    said: deque[Real] = deque(maxlen=1 + _BABBLE)
    for number in range(max(0, begin - _BABBLE), end):
        random = np.random.default_rng((_SEED[part], number))
        said.append(_say(SPEAKERS[part], WORDS[number % len(WORDS)], random))
        if number >= begin:
            sounds.append(_compose(said[-1], list(said)[:-1], random))
    return log_mel(np.stack(sounds)), np.arange(begin, end) % len(WORDS)


def log_mel(sounds: Real) -> Real:
    """Return the logarithm of the energy in mel bands.

    Args:
        sounds: [N, 22050], one second each.

    Returns:
        float32 [N, 31, 20]; with the loudest sample at 1, values are between about -7 and 7.
    """
    begins = np.arange(FRAMES) * _HOP
    frames = sounds[:, begins[:, np.newaxis] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return np.asarray(np.log(power @ _mel_filters().T + _FLOOR), np.float32)


@functools.lru_cache
def _mel_filters() -> Any:
    """Triangles at equal distances on the mel scale, [bands, frequencies]."""
    low, high = (2595 * np.log10(1 + limit / 700) for limit in (_LOWEST, _HIGHEST))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / _RATE)
    before, peak, behind = (corners[i : i + BANDS, np.newaxis] for i in range(3))
    rising, falling = (
        (frequencies - before) / (peak - before),
        (behind - frequencies) / (behind - peak),
    )
    return np.maximum(0, np.minimum(rising, falling))


def _say(speakers: Speakers, word: str, random: np.random.Generator) -> Real:
    """Let a speaker say a word; returns its sound without silence around it, up to 1 s, peak 1."""
    accent, variant, speed, pitch = (
        random.choice(choices)
        for choices in (speakers.accents, speakers.variants, speakers.speeds, speakers.pitches)
    )
    command = [
        _PROGRAM,
        "-v",
        f"{accent}+{variant}",
        "-s",
        str(speed),
        "-p",
        str(pitch),
        "--stdout",
    ]
    made = subprocess.run([*command, word], check=True, capture_output=True).stdout
    sound = np.frombuffer(made[_HEADER:], np.int16).astype(np.float32)
    loud = np.flatnonzero(np.abs(sound) > _LOUDEST_PART * np.abs(sound).max())
    margin = _RATE // 20
    sound = sound[max(0, loud[0] - margin) : loud[-1] + margin][:_RATE]
    return np.asarray(sound / np.abs(sound).max(), np.float32)


def _compose(word: Real, others: Sequence[Real], random: np.random.Generator) -> Real:
    """One second: the word somewhere in it, other voices, and coloured noise."""
    clip = _place(word, random)
    background = _noise(random)
    if random.random() < _BABBLED:
        for other in others:
            background += _place(other, random) * random.uniform(0.3, 0.6)
    signal, noise = np.sum(clip**2), np.sum(background**2)
    ratio = 10 ** (random.uniform(*_SNR_DB) / 10)
    clip += background * np.sqrt(signal / noise / ratio)
    return np.asarray(clip * random.uniform(0.3, 1) / np.abs(clip).max(), np.float32)


def _place(sound: Real, random: np.random.Generator) -> Real:
    clip = np.zeros(_RATE, np.float32)
    begin = random.integers(0, _RATE - len(sound) + 1)
    clip[begin : begin + len(sound)] = sound
    return clip


def _noise(random: np.random.Generator) -> Real:
    """Noise between white and brown, with a standard deviation of 0.1."""
    spectrum = np.fft.rfft(random.normal(size=_RATE))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** random.uniform(0, 1)
    noise = np.fft.irfft(spectrum, _RATE)
    return np.asarray(0.1 * noise / noise.std(), np.float32)
