"""Colour pictures that make the outputs of models for hands, faces and persons vary.

Hands are drawn in front of garments of Fashion-MNIST. Faces and persons are cut out of a portrait
of Grace Hopper (public domain), which matplotlib's wheel has in its sample data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import garments
from PIL import Image, ImageDraw, ImageFilter

_SIZE = 256  # drawn so large, then scaled
# (centre x, centre y, half the width) in the portrait of 512x600 pixels.
_CUTS = {"face": (256, 190, 130), "person": (256, 300, 240), "eye": (216, 197, 30)}
KINDS = (*_CUTS, "hand", "background")
# Fingers: angle in degrees, offset from the middle of the palm, length, width.
_FINGERS = ((-14, -30, 75, 16), (-4, -10, 88, 17), (5, 10, 82, 17), (16, 30, 62, 14))
_SHARE = 0.8  # of the pictures that show the subject; the others, any kind


def draw(subject: str, count: int, size: tuple[int, int], portrait: Path, seed: int) -> np.ndarray:
    """Draw pictures, most of one kind and the others of all kinds.

    Args:
        subject: one of `KINDS`.
        size: height and width in pixels.
        portrait: the picture of matplotlib's sample data.

    Returns:
        [count, height, width, 3], 0 to 1.
    """
    random = np.random.default_rng(seed)
    with Image.open(portrait) as opened:
        person = opened.convert("RGB")
    found = []
    for _ in range(count):
        kind = subject if random.random() < _SHARE else str(random.choice(KINDS))
        if kind == "hand":
            picture = _hand(random)
        elif kind == "background":
            picture = _background(random)
        else:
            picture = _cut(random, person, *_CUTS[kind])
        scaled = picture.resize(size[::-1], Image.Resampling.BICUBIC)
        found.append(np.asarray(scaled, np.float32) / 255)
    return np.array(found)


def _lit(picture: np.ndarray, tint: np.ndarray, light: float | np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(picture * tint + light, 0, 255).astype(np.uint8))


def _background(random: np.random.Generator) -> Image.Image:
    pictures = garments("calibration")[..., 0]
    small = Image.fromarray(pictures[random.integers(len(pictures))])
    large = np.asarray(small.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
    return _lit(large[..., np.newaxis], random.uniform(0.3, 1, 3), random.uniform(0, 100, 3))


def _cut(
    random: np.random.Generator, person: Image.Image, x: float, y: float, half: float
) -> Image.Image:
    # Inside the portrait: detectors answer to black bars with values a hundred times as large.
    half = min(half * random.uniform(0.6, 1.6), person.width / 2)
    x = np.clip(x + random.normal(0, 0.2) * half, half, person.width - half)
    y = np.clip(y + random.normal(0, 0.2) * half, half, person.height - half)
    wall = tuple(np.asarray(person).reshape(-1, 3).mean(axis=0).astype(int))
    turned = person.rotate(random.normal(0, 20), center=(x, y), fillcolor=wall)
    cut = turned.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    if random.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scaled = np.asarray(cut.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
    return _lit(scaled, random.uniform(0.5, 1.2, 3), random.uniform(-20, 30))


def _hand(random: np.random.Generator) -> Image.Image:
    """A flat hand with five fingers in front of a blurred background."""
    picture = _background(random).filter(ImageFilter.GaussianBlur(8))
    layer = Image.new("RGBA", (_SIZE, _SIZE))
    pen, scale, x, y = ImageDraw.Draw(layer), random.uniform(0.6, 1.1), _SIZE / 2, _SIZE * 0.62
    skin = np.clip(np.array([224, 172, 140]) * random.uniform(0.6, 1.1), 0, 255)
    colour, crease = (*map(int, skin), 255), (*map(int, skin * 0.8), 255)
    box = [x - 38 * scale, y - 40 * scale, x + 38 * scale, y + 45 * scale]
    pen.rounded_rectangle(box, radius=int(25 * scale), fill=colour)
    pen.rectangle([x - 26 * scale, y + 30 * scale, x + 26 * scale, _SIZE], fill=colour)
    for angle, offset, length, width in _FINGERS:
        turn = np.radians(angle + random.normal(0, 4))
        reach, thick = length * scale * random.uniform(0.85, 1.1), width * scale
        begin = np.array([x + offset * scale, y - 32 * scale])
        end = _finger(pen, begin, turn, reach, thick, colour)
        for share in (0.45, 0.75):
            middle = begin + (end - begin) * share
            line = [middle[0] - thick * 0.3, middle[1], middle[0] + thick * 0.3, middle[1]]
            pen.line(line, fill=crease, width=2)
    thumb = np.radians(55 + random.normal(0, 6))
    begin = np.array([x + 30 * scale, y + 15 * scale])
    _finger(pen, begin, thumb, 58 * scale, 19 * scale, colour)
    if random.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = layer.rotate(random.normal(0, 30), center=(x, y)).filter(ImageFilter.GaussianBlur(1))
    picture.paste(layer, tuple(random.integers(-30, 30, 2).tolist()), layer)
    return picture


def _finger(
    pen: ImageDraw.ImageDraw,
    begin: np.ndarray,
    turn: float,
    reach: float,
    thick: float,
    colour: tuple[int, ...],
) -> np.ndarray:
    """Draw one finger and return its tip."""
    end = begin + reach * np.array([np.sin(turn), -np.cos(turn)])
    pen.line([*begin, *end], fill=colour, width=int(thick))
    pen.ellipse([*(end - thick / 2), *(end + thick / 2)], fill=colour)
    return end
