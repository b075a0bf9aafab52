"""A flatbuffer builder that writes equal vectors and strings once, and aligns stored tensors.

Each weight and each bias has a zero point of 8 bytes per channel, all of them 0. The generated code
writes them again for every tensor; they took 22 % of the INT8 file of a small MobileNet. In a
flatbuffer several tables may refer to one vector, and readers see no difference.
"""

from __future__ import annotations

import hashlib
from typing import Any

import flatbuffers
import numpy as np

# `force_align` of Buffer.data in TensorFlow Lite's schema, which the generated Python code leaves
# out: vector instructions and accelerators read weights in place. All vectors of bytes get it.
_DATA_ALIGNMENT = 16


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder whose vectors and strings are shared; the generated `Pack` methods take it."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self._known: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 -- overrides
        """Return the offset of a vector with these values, [N] of any number type."""
        # A digest, so that the content of a large file is not held twice.
        key = (x.dtype.str, hashlib.sha256(np.ascontiguousarray(x).data).digest())
        if key not in self._known:
            if x.dtype == np.uint8:
                self.Prep(_DATA_ALIGNMENT, x.size)
            self._known[key] = super().CreateNumpyVector(x)
        return self._known[key]

    def CreateString(  # noqa: N802 -- overrides
        self, s: Any, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """Return the offset of this string."""
        key = ("text", s.encode(encoding, errors) if isinstance(s, str) else bytes(s))
        if key not in self._known:
            self._known[key] = super().CreateString(s, encoding, errors)
        return self._known[key]
