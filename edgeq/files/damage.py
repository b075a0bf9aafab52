"""What the standard library raises for a damaged archive: more than its documentation tells."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

# RuntimeError is for an encrypted member, and covers NotImplementedError, for a version or a method
# that this Python does not know; ValueError covers names that are no UTF-8.
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
