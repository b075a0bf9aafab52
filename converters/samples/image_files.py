"""Image files: pixels of what a file holds, gray, palette, turned, transparent or 16 bits deep.

Pixels are taken as stored, as keras and tf.data loaders do: EXIF orientation is applied only if
that is declared (`exif=apply`), and transparency is dropped; both are reported. An animation counts
as its first frame. An image's size is checked before its pixels are decoded, because a small file
may hold a very large image.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeq.converters.samples.input_shapes import Array, begin, image_shape, quote
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, Preprocessing, TensorSpec

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")

_GRAY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
_ALPHA_MODES = ("LA", "PA", "RGBA")
_ORIENTATION_TAG = 0x0112
# The formats of files with these suffixes; a .jpg may be a GIF.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")
MAX_PIXELS = 25_000_000
# Each scan of a progressive JPEG decodes all pixels, and may take only 20 bytes of the file.
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_SCAN = b"\xff\xda"
_MOST_SCANS = 200


class ImageDecoder:
    """Decodes images for one model input, from files or as a Python data set holds them.

    Args:
        spec: the input.
        preprocessing: of the input, or None.
    """

    def __init__(self, spec: TensorSpec, preprocessing: Preprocessing | None):
        shape = image_shape(spec)
        self._wants_colour = shape is not None and shape[2] == 3
        self._turns = preprocessing is not None and preprocessing.exif == "apply"
        self._turned: set[str] = set()
        self._transparent: set[str] = set()

    def issues(self, name: str) -> Iterator[Issue]:
        """Doubts about the images decoded so far.

        Args:
            name: of the data set.
        """
        if self._turned and not self._turns:
            message = (
                f"{len(self._turned)} images of {name} carry an EXIF orientation, which is not "
                f"applied, e.g. {min(self._turned)}; --preprocess exif=apply turns them."
            )
            yield make_issue("data.orientation_ignored", message)
        if self._transparent:
            message = (
                f"{len(self._transparent)} images of {name} have transparency, which is dropped, "
                f"e.g. {min(self._transparent)}."
            )
            yield make_issue("data.transparency_dropped", message)

    def decode(self, content: bytes, file: str, name: str) -> Array:
        """Return the pixels of an image file.

        Args:
            file: its path in the data set.
            name: of the data set.

        Raises:
            DataError: it is not an image, damaged, or too large.
        """
        where = f"image {file}"
        try:
            # The filter applies to the whole process; it does no harm in other threads.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with _open_image(content, f"{begin(where)} of {name}") as image:
                    image.load()
                    return self.pixels(image, where, file)
        except DataError:
            raise
        # For damaged files, Pillow's decoders raise nearly every kind of error.
        except Exception as error:
            raise DataError(
                f"{begin(where)} of {name} cannot be read: {quote(error)}.",
                hint="Repair or remove it.",
            ) from error

    def pixels(self, image: Image.Image, where: str, key: str) -> Array:
        """Return pixels, height x width x 3 (RGB), or x 1 if neither image nor model has colour.

        Args:
            image: of any mode; uint8 comes back, uint16 from one of 16 bits.
            where: names it in messages.
            key: names it in issues.

        Raises:
            DataError: it has other pixels.
        """
        if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
            self._turned.add(key)
            image = ImageOps.exif_transpose(image) if self._turns else image
        if "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns where it makes RGB of a palette directly
        if image.mode in _ALPHA_MODES and np.asarray(image.getchannel("A")).min() < 255:
            self._transparent.add(key)
        if image.mode in _GRAY_MODES and not self._wants_colour:
            return np.asarray(image.convert("L"))[:, :, np.newaxis]
        if image.mode in _DEEP_MODES and not self._wants_colour:
            return np.asarray(image).astype(np.uint16)[:, :, np.newaxis]
        if image.mode not in _GRAY_MODES + _COLOUR_MODES:
            raise DataError(
                f"{begin(where)} has pixel mode {image.mode!r}, not 8 bits per channel.",
                hint="Convert it to 8 bits, or give the samples as an .npy file.",
            )
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


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
