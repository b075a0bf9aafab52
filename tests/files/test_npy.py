"""Arrays that another process wrote."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.files import npy

ARRAYS: tuple[Any, ...] = (
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    np.array(5),
    np.array(["one", "three"]),
    np.zeros((0, 4), np.int8),
    np.array([1.5], ">f4"),
)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array, named=array)
    stored = npy.load_all(tmp_path / "a.npz")
    assert list(stored) == ["named", "arr_0"]
    for found in (npy.load(tmp_path / "a.npy"), *stored.values()):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable


def stating(descr: str, shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + bytes(48)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stating("<f8", (10**12,)), "states 8,000,000,000,000 bytes of values, but 48 follow"),
        (stating("|O", (6,)), "holds Python objects, which edgeq does not unpickle"),
        (b"", "is not an .npy array"),
    ],
)
def test_what_another_process_wrote_is_not_believed(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    tracemalloc.start()
    try:
        for name, load in (("a.npy", npy.load), ("a.npz", npy.load_all)):
            with pytest.raises(DataError, match=f"{name} {message}"):
                load(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_archive_of_ours_is_never_compressed(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros(1000))
    with pytest.raises(DataError, match=r"a\.npz is damaged: it is compressed\.$"):
        npy.load_all(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.npz is damaged: File is not a zip file\.$"):
        npy.load_all(tmp_path / "a.npz")
