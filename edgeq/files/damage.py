"""The errors of the standard library for a damaged archive; it documents only a part of them."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

# RuntimeError is for an encrypted member, and includes NotImplementedError, for a version or a
# method that this Python does not know; ValueError includes names that are not UTF-8.
ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,
)
