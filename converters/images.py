"""A folder of images as a source: flat, or a folder per class.

Pixels are taken as stored, as keras and tf.data loaders do: EXIF orientation is not applied (and
noted), transparency is dropped, of an animation the first frame counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgeq.converters.fitting import Array, begin, image_shape, quote
from edgeq.converters.sources import Row, require_one_input
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.storage import hash_file
from edgeq.values import Issue, TensorSpec

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")

_GRAY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
_ORIENTATION_TAG = 0x0112


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
        self._oriented: set[Path] = set()
        self.class_names, self._files, ignored = _list_images(folder, name)
        self.count = len(self._files)
        self._issues = (*_ignored_issue(ignored, name), *_order_issue(self.class_names, name))

    @property
    def has_labels(self) -> bool:
        """Whether there is a folder per class."""
        return bool(self.class_names)

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Those of the folder, and of the files decoded so far."""
        if not self._oriented:
            return self._issues
        example = min(self._oriented).relative_to(self._folder).as_posix()
        message = (
            f"{len(self._oriented)} images of {self.name} carry an EXIF orientation, which is not "
            f"applied, e.g. {example}."
        )
        return (*self._issues, make_issue("data.orientation_ignored", message))

    def digest(self) -> str:
        """Of the sorted relative names and digests of the image files."""
        digest = hashlib.sha256()
        for file, _ in sorted(self._files):
            relative = file.relative_to(self._folder).as_posix()
            digest.update(f"{relative}\0{hash_file(file)}\n".encode())
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """See `Source`; one image is decoded at a time."""
        for index in range(self.count) if indices is None else indices:
            file, label = self._files[index]
            where = f"image {file.relative_to(self._folder).as_posix()}"
            yield Row(index, {self._input: self._decode(file, where)}, label, where)

    def _decode(self, file: Path, where: str) -> Array:
        try:
            with Image.open(file) as image:
                if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
                    self._oriented.add(file)
                return _pixels(image, self._wants_colour, where)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
    return np.asarray(image.convert("RGB"))


def _list_images(
    folder: Path, name: str
) -> tuple[tuple[str, ...], list[tuple[Path, int | None]], list[Path]]:
    """Class names (empty when flat), files with labels in order, and files that are no images."""
    entries = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    folders = [item for item in entries if item.is_dir()]
    flat, ignored = _split_images(entries)
    if flat and folders:
        raise DataError(
            f"{name} holds both images and folders, e.g. {flat[0].name} and {folders[0].name}/.",
            hint="Keep either images only, or one folder of images per class.",
        )
    if not folders:
        _require_images(flat, name)
        return (), [(file, None) for file in flat], ignored
    files: list[tuple[Path, int | None]] = []
    for label, class_folder in enumerate(folders):
        images, others = _list_class(class_folder, name)
        files += [(image, label) for image in images]
        ignored += others
    _require_images(files, name)
    if len(folders) == 1:
        raise DataError(
            f"{name} holds a single class folder, {folders[0].name}/.",
            hint=f"For images without labels name that folder: --data {name}/{folders[0].name}",
        )
    return tuple(item.name for item in folders), files, ignored


def _list_class(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    entries = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    images, others = _split_images(entries)
    nested = [item.name for item in entries if item.is_dir()]
    if nested:
        raise DataError(
            f"Class folder {folder.name}/ of {name} holds a folder itself: {nested[0]}/.",
            hint="Name the folder whose folders are the classes.",
        )
    return images, others


def _split_images(entries: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    files = [item for item in entries if item.is_file()]
    images = [item for item in files if item.suffix.lower() in IMAGE_SUFFIXES]
    return images, [item for item in files if item not in set(images)]


def _require_images(files: Sequence[object], name: str) -> None:
    if not files:
        raise DataError(
            f"{name} holds no images.", hint=f"Looked for {', '.join(IMAGE_SUFFIXES)} files."
        )


def _ignored_issue(ignored: Sequence[Path], name: str) -> tuple[Issue, ...]:
    if not ignored:
        return ()
    message = f"{len(ignored)} files of {name} are not images, e.g. {ignored[0].name}."
    return (make_issue("data.files_ignored", message),)


def _order_issue(class_names: Sequence[str], name: str) -> tuple[Issue, ...]:
    """A doubt when numbered class folders sort differently as text and as numbers."""
    if not all(text.isdecimal() for text in class_names):
        return ()
    for label, text in enumerate(class_names):
        if class_names != sorted(class_names, key=int) and int(text) != label:
            message = (
                f"The class folders of {name} are numbers sorted as text, as keras sorts them: "
                f"{text!r} has label {label}."
            )
            return (make_issue("data.class_order", message),)
    return ()
