"""A folder of images as a source: flat, or a folder per class.

Pixels are taken as stored, as keras and tf.data loaders do: EXIF orientation is not applied (and
noted), transparency is dropped, of an animation the first frame counts. An image's size is looked
at before its pixels are decoded, because a small file may hold a very large image.
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

from edgeq.converters.samples.input_shapes import Array, begin, image_shape, quote
from edgeq.converters.samples.sources import Row, require_count, require_one_input
from edgeq.converters.samples.stored import unreadable
from edgeq.errors import DataError
from edgeq.files.reading import read_file
from edgeq.issues import make_issue
from edgeq.values import Issue, TensorSpec

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")

_GRAY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
_ORIENTATION_TAG = 0x0112
# What files of the above suffixes hold; in the wild, a .jpg may be a GIF.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")
MAX_PIXELS = 25_000_000
# Each scan of a progressive JPEG goes through all pixels, and takes as little as 20 bytes.
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_SCAN = b"\xff\xda"
_MOST_SCANS = 200
_MOST_FILE_BYTES = 200_000_000
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class _Listing:
    """Image files in order, and where each class begins; ImageNet has a million of them."""

    files: Sequence[str]
    class_names: tuple[str, ...]
    ends: Sequence[int]
    ignored: Sequence[str]

    def label(self, index: int) -> int | None:
        """Number of the class, None of a flat folder."""
        return bisect_right(self.ends, index) if self.class_names else None


class ImageSource:
    """Image files in the order of their names, class by class.

    Args:
        folder: where they lie.
        name: what the user named.
        spec: the model input they feed.

    Raises:
        DataError: no images there, or a layout that is neither flat nor a folder per class.
    """

    kind = "images"

    def __init__(self, folder: Path, name: str, spec: TensorSpec):
        self.name = name
        self._folder = folder
        self._input = spec.name
        shape = image_shape(spec)
        self._wants_colour = shape is not None and shape[2] == 3
        self._oriented: set[str] = set()
        self._listing = _list_images(folder, name)
        self.class_names = self._listing.class_names
        self.count = len(self._listing.files)
        self._digests = bytearray(self.count * _DIGEST_BYTES)  # of the files read so far
        self._issues = (
            *_ignored_issue(self._listing.ignored, name),
            *_order_issue(self.class_names, name),
        )

    @property
    def has_labels(self) -> bool:
        """Whether there is a folder per class."""
        return bool(self.class_names)

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Those of the folder, and of the files decoded so far."""
        if not self._oriented:
            return self._issues
        message = (
            f"{len(self._oriented)} images of {self.name} carry an EXIF orientation, which is not "
            f"applied, e.g. {min(self._oriented)}."
        )
        return (*self._issues, make_issue("data.orientation_ignored", message))

    def digest(self) -> str:
        """Of the sorted relative names and digests of the image files."""
        digest = hashlib.sha256()
        for index, file in enumerate(self._listing.files):
            content_digest = self._read(index)[1]
            digest.update(os.fsencode(file) + b"\0" + content_digest.hex().encode() + b"\n")
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """See `Source`; one image is decoded at a time."""
        for index in range(self.count) if indices is None else indices:
            file = self._listing.files[index]
            pixels = self._decode(file, self._read(index)[0])
            yield Row(index, {self._input: pixels}, self._listing.label(index), f"image {file}")

    def _read(self, index: int) -> tuple[bytes, bytes]:
        """A file's content and its digest, which is the same each time."""
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
            # The filter is the whole process's; what another thread sees of it does no harm.
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
        # Nonsense ends Pillow's decoders in errors of nearly every kind.
        except Exception as error:
            raise DataError(
                f"{begin(where)} of {self.name} cannot be read: {quote(error)}.",
                hint="Repair or remove it.",
            ) from error


def open_images(folder: Path, inputs: Sequence[TensorSpec], name: str) -> ImageSource:
    """A folder of images for a model with one image input.

    Raises:
        DataError: several inputs, no images, or an unclear layout.
    """
    return ImageSource(folder, name, require_one_input(inputs, f"{name} is a folder of images and"))


def _open_image(content: bytes, where: str) -> Image.Image:
    """An image of one of the known formats and of a bearable size, not yet decoded.

    Other formats that Pillow knows are not tried: for one of them it starts a program.
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
    """Pixels as uint8, height x width x 3 (RGB), or x 1 of a grey file unless colour is wanted."""
    if image.mode in _GRAY_MODES and not wants_colour:
        return np.asarray(image.convert("L"))[:, :, np.newaxis]
    if image.mode not in _GRAY_MODES + _COLOUR_MODES:
        raise DataError(
            f"{begin(where)} has pixel mode {image.mode!r}, not 8 bits per channel.",
            hint="Convert it to 8 bits, or give the samples as an .npy file.",
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")  # from a palette straight to RGB, Pillow warns
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _list_images(folder: Path, name: str) -> _Listing:
    """What lies in a folder, or in its folders.

    Raises:
        DataError: see `ImageSource`; or there are too many files to list.
    """
    top = _scan(folder, name, 0)
    if top.images and top.folders:
        raise DataError(
            f"{name} holds both images and folders, e.g. {top.images[0]} and {top.folders[0]}/.",
            hint="Keep either images only, or one folder of images per class.",
        )
    files, ends, others, seen = list(top.images), [], list(top.others), top.count
    for class_name in top.folders:
        found = _scan(folder / class_name, name, seen)
        if found.folders:
            raise DataError(
                f"Class folder {class_name}/ of {name} holds a folder itself: {found.folders[0]}/.",
                hint="Name the folder whose folders are the classes.",
            )
        seen += found.count
        files += [f"{class_name}/{file}" for file in found.images]
        others += found.others
        ends.append(len(files))
    _require_images(files, name)
    if len(top.folders) == 1:
        raise DataError(
            f"{name} holds a single class folder, {top.folders[0]}/.",
            hint=f"For images without labels name that folder: --data {name}/{top.folders[0]}",
        )
    return _Listing(files, tuple(top.folders), ends, others)


@dataclass(frozen=True)
class _Entries:
    """Names in one folder, sorted."""

    folders: Sequence[str]
    images: Sequence[str]
    others: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.folders) + len(self.images) + len(self.others)


def _scan(folder: Path, name: str, seen: int) -> _Entries:
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
    return _Entries(sorted(folders), sorted(images), sorted(others))


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads to itself
        return False


def _require_images(files: Sequence[object], name: str) -> None:
    if not files:
        raise DataError(
            f"{name} holds no images.", hint=f"Looked for {', '.join(IMAGE_SUFFIXES)} files."
        )


def _ignored_issue(ignored: Sequence[str], name: str) -> tuple[Issue, ...]:
    if not ignored:
        return ()
    message = f"{len(ignored)} files of {name} are not images, e.g. {ignored[0]}."
    return (make_issue("data.files_ignored", message),)


def _order_issue(class_names: Sequence[str], name: str) -> tuple[Issue, ...]:
    """A doubt when numbered class folders sort differently as text and as numbers."""
    if not all(text.isdecimal() for text in class_names):
        return ()
    for label, text in enumerate(class_names):
        if int(text) != label:
            message = (
                f"The class folders of {name} are numbers sorted as text, as keras sorts them: "
                f"{text!r} has label {label}."
            )
            return (make_issue("data.class_order", message),)
    return ()
