"""Images and folders of them that are broken, or were made to do harm."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeq.converters.samples.open_samples import open_samples
from edgeq.errors import DataError
from edgeq.values import TensorSpec

PHOTO = TensorSpec("image", (1, -1, -1, 3), "float32")


def raises(message: str) -> Any:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def write_image(path: Path, size: tuple[int, int], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path, **options)
    return path


def png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG that states this size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return head + struct.pack(">I", 9) + b"IDAT"


def gif_of(width: int, height: int) -> bytes:
    """One that states its frame to be larger than itself."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", 3, 2, 0x80, 0, 0) + bytes(6) + frame


def bmp_of(width: int, height: int) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + sizes


def webp_of(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<II", 10, 2) + canvas
    frame = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", len(chunks + frame)) + chunks + frame


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_of(12_000, 12_000), "has 144,000,000 pixels; "),
        (png_of(2**31 - 1, 2**31 - 1), "has 4,611,686,014,132,420,609 pixels; "),
        (png_of(10_000, 10_000), "has 100,000,000 pixels; "),
        (
            png_of(5_001, 5_000),
            "has 25,005,000 pixels; edgeq decodes images of at most 25,000,000.",
        ),
        (bmp_of(40_000, 40_000), "has 1,600,000,000 pixels; "),
        (gif_of(60_000, 60_000), "has 3,600,000,000 pixels; "),
        (b"P6 90000 90000 255\n", "has 8,100,000,000 pixels; "),
        (webp_of(16_000, 16_000), "has 256,000,000 pixels; "),
        (png_of(0, 5), "Repair or remove it."),
        (png_of(5, 5), "Repair or remove it."),
        (b"", "is not a BMP, GIF, JPEG, PNG, PPM or WEBP image. Repair or remove it."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a BMP, GIF, JPEG, PNG, PPM"),
    ],
)
def test_an_image_is_looked_at_before_it_is_decoded(
    tmp_path: Path, content: bytes, message: str, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_samples(tmp_path, [PHOTO])
    assert str(caught.value).startswith(f"Image a.png of {tmp_path} ")
    assert message in str(caught.value)
    assert not recwarn.list


def test_an_image_of_bearable_size_takes_bearable_memory(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (5_000, 5_000))
    code = (
        "import resource, sys\n"
        "from edgeq.converters.samples.open_samples import open_samples\n"
        "from edgeq.values import TensorSpec\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "open_samples(sys.argv[1], [TensorSpec('image', (1, -1, -1, 3), 'float32')])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 700_000  # kB; the pixels as float32 are 300,000 of these


def test_a_jpeg_of_thousands_of_scans_is_not_decoded(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", (64, 64), progressive=True)
    assert read_images(tmp_path)[0].shape == (64, 64, 3)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * 1_000 + content[-2:])
    with raises(
        f"Image a.jpg of {tmp_path} is a JPEG of 1009 scans; edgeq decodes at most 200. "
        "Save it again: a usual progressive JPEG has ten."
    ):
        open_samples(tmp_path, [PHOTO])


def read_images(folder: Path) -> list[Any]:
    return [sample.inputs["image"] for sample in open_samples(folder, [PHOTO]).iterate()]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (3, 2), (0, 0, shade)) for shade in (200, 100, 0)]
    options = {"lossless": True} if kind == "WEBP" else {}
    with (tmp_path / "a.png").open("wb") as stream:  # whatever its name
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:], **options)
    (pixels,) = read_images(tmp_path)
    np.testing.assert_array_equal(pixels, np.full((2, 3, 3), (0, 0, 200)))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP"])
def test_truncated_images_are_named(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(stream, kind)
    content = stream.getvalue()
    for size in range(1, len(content) - 30, len(content) // 20):
        (tmp_path / "a.png").write_bytes(content[:size])
        with pytest.raises(DataError, match=f"^Image a.png of {tmp_path} .* Repair or remove it"):
            open_samples(tmp_path, [PHOTO])


def test_damaged_exif_is_no_reason_to_stop(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    exif = b"Exif\0\0II*\0" + b"\xff" * 200
    write_image(tmp_path / "a.jpg", (3, 2), exif=exif)
    assert read_images(tmp_path)[0].shape == (2, 3, 3)
    assert not recwarn.list


# ---------------------------------------------------------------- folders


def test_links_that_lead_nowhere_or_to_themselves_are_no_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (3, 2))
    (tmp_path / "b.png").symlink_to("b.png")
    (tmp_path / "c.png").symlink_to("nothing")
    os.mkfifo(tmp_path / "d.png")
    samples = open_samples(tmp_path, [PHOTO])
    assert samples.count == 1
    (issue,) = samples.issues
    assert issue.message == f"3 files of {tmp_path} are not images, e.g. b.png."


def test_a_class_folder_that_links_to_its_parent_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "a.png", (3, 2))
    (tmp_path / "dog").symlink_to(tmp_path)
    with raises(
        f"Class folder dog/ of {tmp_path} holds a folder itself: cat/. "
        "Name the folder whose folders are the classes."
    ):
        open_samples(tmp_path, [PHOTO])


def test_files_of_a_folder_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.converters.samples.sources.MAX_SAMPLES", 3)
    for number in range(5):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.png", (3, 2))
    with raises(
        f"{tmp_path} holds 4 files or more; edgeq takes at most 3. Give fewer: a few "
        "hundred calibrate, a few thousand measure the accuracy."
    ):
        open_samples(tmp_path, [PHOTO])


def test_names_of_any_bytes_are_hashed(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (3, 2)).rename(tmp_path / os.fsdecode(b"\xff.png"))
    assert len(open_samples(tmp_path, [PHOTO]).ref.sha256) == 64


def test_an_image_that_changes_between_two_readings_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (3, 2))
    write_image(tmp_path / "b.png", (3, 2))
    samples = open_samples(tmp_path, [PHOTO])
    write_image(tmp_path / "b.png", (4, 2))  # not read so far
    assert len(list(samples.iterate())) == 2
    write_image(tmp_path / "b.png", (3, 2))
    with raises(
        f"Image b.png of {tmp_path} changed while edgeq read the folder. "
        "Run the command again when nothing writes to it."
    ):
        samples.ref  # noqa: B018
