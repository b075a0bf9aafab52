"""Inputs for the ONNX files of magika, rapidocr and silero-vad: files, lines of text, speech."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import speech
from cases import garments
from PIL import Image, ImageDraw, ImageFont

_ENDS, _BLOCK, _PADDING = 1024, 4096, 256  # of magika's configuration
_WORDS = (
    "Exit", "Invoice", "Total", "24.50", "EUR", "Street", "No. 17", "Platform", "3", "Warning",
    "Fresh", "coffee", "Tuesday", "09:45", "Serial", "KX-4821", "Ticket", "Room", "208", "Please",
    "wait", "Thank", "you", "Open", "daily",
)  # fmt: skip
_CONTEXT, CHUNK = 64, 512  # of silero-vad at 16 kHz


def file_bytes(count: int, seed: int) -> np.ndarray:
    """Return the first and the last bytes of files of this Python, as magika reads them.

    Files of each extension come in turn.

    Returns:
        [count, 2048], int32.
    """
    kinds: dict[str, list[Path]] = {}
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.stat().st_size > 64:
                kinds.setdefault(path.suffix, []).append(path)
    random = np.random.default_rng(seed)
    names = sorted(kinds, key=lambda kind: -len(kinds[kind]))[:60]
    chosen = [kinds[names[i % len(names)]] for i in range(count)]
    return np.stack([_features(paths[random.integers(len(paths))]) for paths in chosen])


def _features(path: Path) -> np.ndarray:
    content = path.read_bytes()
    first, last = content[:_BLOCK].lstrip()[:_ENDS], content[-_BLOCK:].rstrip()[-_ENDS:]
    found = np.full(2 * _ENDS, _PADDING, np.int32)
    found[: len(first)] = np.frombuffer(first, np.uint8)
    found[2 * _ENDS - len(last) :] = np.frombuffer(last, np.uint8)
    return found


def text_pictures(count: int, size: tuple[int, int], lines: int, seed: int) -> np.ndarray:
    """Draw lines of text in several sizes and colours on blurred garments.

    Args:
        size: height and width in pixels.
        lines: of text in each picture; half of the pictures with one line are turned by 180
            degrees.

    Returns:
        [count, 3, height, width], -1 to 1.
    """
    random, backgrounds = np.random.default_rng(seed), garments("calibration")[..., 0]
    found = []
    for _ in range(count):
        small = Image.fromarray(backgrounds[random.integers(len(backgrounds))]).resize((6, 6))
        grey = np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
        base = random.uniform(90, 180, 3) + (grey[..., np.newaxis] - 128) * 0.3
        picture = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(picture)
        for line in range(lines):
            height = int(size[0] / lines * random.uniform(0.45, 0.8))
            text = " ".join(random.choice(_WORDS, random.integers(1, 4)))
            top = int(size[0] / lines * line + random.integers(0, 4))
            is_dark = random.random() < 0.5
            colour = random.integers(0, 60, 3) if is_dark else random.integers(200, 256, 3)
            left = int(random.integers(2, 20))
            font = ImageFont.load_default(min(height, 60))
            draw.text((left, top), text, fill=tuple(map(int, colour)), font=font)
        if lines == 1 and random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.ROTATE_180)
        noisy = np.asarray(picture, np.float32) + random.normal(0, 4, (*size, 3))
        found.append(noisy.clip(0, 255).transpose(2, 0, 1) / 127.5 - 1)
    return np.array(found, np.float32)


def chunks(voices: Path, seconds: int, seed: int) -> np.ndarray:
    """Speak, and cut the sound as silero-vad does: chunks begin with the end of the previous one.

    Args:
        voices: the package `espeakng_loader`, unpacked.

    Returns:
        [chunks, 576] in order of time, -1 to 1.
    """

    def spoken() -> Iterator[np.ndarray]:
        for sound in speech.utterances(voices, "alexa", seed):
            yield sound[speech.RATE :] / 32768  # one of the two silent seconds is left

    sound = np.concatenate([np.zeros(_CONTEXT), *spoken()]).astype(np.float32)
    begins = range(0, min(len(sound) - CHUNK, seconds * speech.RATE) - _CONTEXT, CHUNK)
    return np.stack([sound[begin : begin + _CONTEXT + CHUNK] for begin in begins])
