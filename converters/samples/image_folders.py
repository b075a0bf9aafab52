"""A folder of images as a source: flat, or a folder per class.

Pixels are taken as stored, as keras and tf.data loaders do: EXIF orientation is reported but not
applied, transparency is dropped, and an animation counts as its first frame. An image's size is
checked before its pixels are decoded, because a small file may hold a very large image.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgeq.converters.samples.data_file import unreadable
from edgeq.converters.samples.input_shapes import Array, begin, image_shape, quote
from edgeq.converters.samples.sources import Row, Source, require_count, require_one_input
from edgeq.errors import DataError
from edgeq.files.reading import read_file
from edgeq.issues import make_issue
from edgeq.values import Issue, TensorSpec

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")

_GRAY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
_ORIENTATION_TAG = 0x0112
# The formats of files with these suffixes; a .jpg may be a GIF.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")
MAX_PIXELS = 25_000_000
# Each scan of a progressive JPEG decodes all pixels, and may take only 20 bytes of the file.
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_SCAN = b"\xff\xda"
_MOST_SCANS = 200
_MOST_FILE_BYTES = 200_000_000
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class _Listing:
    """Image files in order, and the position after the last of each class."""

    files: Sequence[str]
    class_names: tuple[str, ...]
    ends: Sequence[int]
    ignored: Sequence[str]

    def label(self, index: int) -> int | None:
        """Number of the class, None in a flat folder."""
        return bisect_right(self.ends, index) if self.class_names else None


class ImageSource(Source):
    """Image files in the order of their names, class by class.

    Args:
        folder: that holds them.
        name: what the user named.
        spec: the model input they feed.

    Raises:
        DataError: no images in it, or a layout that is neither flat nor a folder per class.
    """

    def __init__(self, folder: Path, name: str, spec: TensorSpec):
        self._listing = _list_images(folder, name)
        class_names = self._listing.class_names
        super().__init__(
            name=name, kind="images", count=len(self._listing.files),
            has_labels=bool(class_names), class_names=class_names,
        )  # fmt: skip
        self._folder = folder
        self._input = spec.name
        shape = image_shape(spec)
        self._wants_colour = shape is not None and shape[2] == 3
        self._oriented: set[str] = set()
        self._digests = bytearray(len(self._listing.files) * _DIGEST_BYTES)  # of files read so far
        self._issues = tuple(_doubts(self._listing, name))

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts about the folder, and about the files decoded so far."""
        if not self._oriented:
            return self._issues
        message = (
            f"{len(self._oriented)} images of {self.name} carry an EXIF orientation, which is not "
            f"applied, e.g. {min(self._oriented)}."
        )
        return (*self._issues, make_issue("data.orientation_ignored", message))

    @property
    def files(self) -> Sequence[str]:
        """Paths of the images in the folder, in order, with "/" on every system."""
        return self._listing.files

    def digest(self) -> str:
        """SHA-256 of the sorted relative names and digests of the image files."""
        digest = hashlib.sha256()
        for index, file in enumerate(self._listing.files):
            content_digest = self._read(index)[1]
            digest.update(os.fsencode(file) + b"\0" + content_digest.hex().encode() + b"\n")
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order; one image is decoded at a time."""
        for index in self.wanted(indices):
            file = self._listing.files[index]
            pixels = self._decode(file, self._read(index)[0])
            yield Row(index, {self._input: pixels}, self._listing.label(index), f"image {file}")

    def _read(self, index: int) -> tuple[bytes, bytes]:
        """A file's content and its digest, which must be the same in each pass."""
        file = self._listing.files[index]
        try:
            content = read_file(self._folder / file, _MOST_FILE_BYTES)
        except OSError as error:
            raise unreadable(f"Image {file} of {self.name}", error) from error
        found = hashlib.sha256(content).digest()
        place = slice(index * _DIGEST_BYTES, (index + 1) * _DIGEST_BYTES)
        if any(self._digests[place]) and self._digests[place] != found:
            raise DataError(
                f"Image {file} of {self.name} changed while edgeq read the folder.",
                hint="Run the command again when nothing writes to it.",
            )
        self._digests[place] = found
        return content, found

    def _decode(self, file: str, content: bytes) -> Array:
        where = f"image {file}"
        try:
            # The filter applies to the whole process; it does no harm in other threads.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with _open_image(content, f"{begin(where)} of {self.name}") as image:
                    image.load()
                    if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
                        self._oriented.add(file)
                    return _pixels(image, self._wants_colour, where)
        except DataError:
            raise
        # For damaged files, Pillow's decoders raise nearly every kind of error.
        except Exception as error:
            raise DataError(
                f"{begin(where)} of {self.name} cannot be read: {quote(error)}.",
                hint="Repair or remove it.",
            ) from error


def open_images(folder: Path, inputs: Sequence[TensorSpec], name: str) -> ImageSource:
    """Open a folder of images for a model with one image input.

    Raises:
        DataError: several inputs, no images, or an unclear layout.
    """
    return ImageSource(folder, name, require_one_input(inputs, f"{name} is a folder of images and"))


def _open_image(content: bytes, where: str) -> Image.Image:
    """An image in one of the known formats, not too large, not yet decoded.

    Pillow's other formats are not tried: for one of them it starts a program.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where} is not a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} image.",
            hint="Repair or remove it.",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        stated = re.search(r"\d+", str(error))  # "Image size (144000000 pixels) exceeds limit..."
        raise _too_large(where, int(stated[0]) if stated else MAX_PIXELS + 1) from error
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise _too_large(where, pixels)
    scans = content.count(_JPEG_SCAN) if image.format in _JPEG_FORMATS else 0
    if scans > _MOST_SCANS:
        raise DataError(
            f"{where} is a JPEG of {scans} scans; edgeq decodes at most {_MOST_SCANS}.",
            hint="Save it again: a usual progressive JPEG has ten.",
        )
    return image


def _too_large(where: str, pixels: int) -> DataError:
    return DataError(
        f"{where} has {pixels:,} pixels; edgeq decodes images of at most {MAX_PIXELS:,}.",
        hint="Make it smaller beforehand: decoding takes up to 40 bytes of memory for each pixel.",
    )


def _pixels(image: Image.Image, wants_colour: bool, where: str) -> Array:
    """Pixels as uint8, height x width x 3 (RGB), or x 1 if neither file nor model has colour."""
    if image.mode in _GRAY_MODES and not wants_colour:
        return np.asarray(image.convert("L"))[:, :, np.newaxis]
    if image.mode not in _GRAY_MODES + _COLOUR_MODES:
        raise DataError(
            f"{begin(where)} has pixel mode {image.mode!r}, not 8 bits per channel.",
            hint="Convert it to 8 bits, or give the samples as an .npy file.",
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where it makes RGB of a palette directly
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def decode_mask(content: bytes, where: str, size: tuple[int, int] | None) -> Array:
    """Read the classes of pixels from an image: grey values, or indices of a palette.

    Args:
        content: of the file.
        where: names it in messages.
        size: height and width to resize to, without mixing neighbours; None keeps its own.

    Returns:
        uint8 [height, width].

    Raises:
        DataError: it is not an image, or has colours.
    """
    with _open_image(content, where) as image:
        if image.mode not in ("1", "L", "P"):
            raise DataError(
                f"{where} has pixel mode {image.mode!r}, so its pixels are not classes.",
                hint="Save masks as 8-bit grey values or with a palette, one value per class.",
            )
        try:
            image.load()
        except Exception as error:  # Pillow's decoders raise nearly every kind of error
            raise DataError(f"{where} cannot be read: {quote(error)}.") from error
        if size is None or min(size) < 1:
            size = image.height, image.width
        resized = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
        return np.asarray(resized, np.uint8)


def _list_images(folder: Path, name: str) -> _Listing:
    """List the images of a folder, or of its folders."""
    folders, files, others = _scan(folder, name, 0)
    if files and folders:
        raise DataError(
            f"{name} holds both images and folders, e.g. {files[0]} and {folders[0]}/.",
            hint="Keep either images only, or one folder of images per class.",
        )
    ends, seen = [], len(folders) + len(files) + len(others)
    for class_name in folders:
        inner, images, rest = _scan(folder / class_name, name, seen)
        if inner:
            raise DataError(
                f"Class folder {class_name}/ of {name} holds a folder itself: {inner[0]}/.",
                hint="Name the folder whose folders are the classes.",
            )
        seen += len(images) + len(rest)
        files += [f"{class_name}/{file}" for file in images]
        others += rest
        ends.append(len(files))
    if not files:
        raise DataError(
            f"{name} holds no images.", hint=f"Looked for {', '.join(IMAGE_SUFFIXES)} files."
        )
    if len(folders) == 1:
        raise DataError(
            f"{name} holds a single class folder, {folders[0]}/.",
            hint=f"For images without labels name that folder: --data {name}/{folders[0]}",
        )
    return _Listing(files, tuple(folders), ends, others)


def _scan(folder: Path, name: str, seen: int) -> tuple[list[str], list[str], list[str]]:
    """The names of the folders, images and other files in a folder, sorted."""
    folders, images, others = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                seen += 1
                require_count(seen, name, "files or more")
                if _is(entry.is_dir):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES) and _is(entry.is_file):
                    images.append(entry.name)
                else:
                    others.append(entry.name)
    except OSError as error:
        raise unreadable(str(folder), error) from error
    return sorted(folders), sorted(images), sorted(others)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads to itself
        return False


def _doubts(listing: _Listing, name: str) -> Iterator[Issue]:
    if listing.ignored:
        message = (
            f"{len(listing.ignored)} files of {name} are not images, e.g. {listing.ignored[0]}."
        )
        yield make_issue("data.files_ignored", message)
    if all(text.isdecimal() for text in listing.class_names):
        for label, text in enumerate(listing.class_names):
            if int(text) != label:  # 10 comes before 2
                message = (
                    f"The class folders of {name} are numbers sorted as text, as keras sorts them: "
                    f"{text!r} has label {label}."
                )
                yield make_issue("data.class_order", message)
                return
