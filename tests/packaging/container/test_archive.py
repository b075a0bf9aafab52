"""Archives that depend on their contents alone, and what is not read."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edgeq.errors import PackageError
from edgeq.packaging.container.archive import PAGE_BYTES, read_zip, write_zip

ENTRIES = {"b/model.tflite": bytes(range(256)) * 40, "a.txt": b"text\n" * 50, "z": b""}


def offset(content: bytes, info: zipfile.ZipInfo) -> int:
    """Where an entry's content begins."""
    name, extra = struct.unpack_from("<HH", content, info.header_offset + 26)
    return info.header_offset + 30 + int(name) + int(extra)


def test_what_is_stored_lies_at_a_page_and_uncompressed() -> None:
    content = write_zip(ENTRIES, stored=["b/model.tflite"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo("b/model.tflite")
        assert info.compress_type == zipfile.ZIP_STORED
        assert offset(content, info) % PAGE_BYTES == 0
        assert archive.getinfo("a.txt").compress_type == zipfile.ZIP_DEFLATED
        assert archive.testzip() is None
    assert read_zip(content, "x.zip") == ENTRIES


def test_the_same_contents_give_the_same_bytes_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_zip(ENTRIES, stored=["b/model.tflite"])
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    again = write_zip(dict(reversed(ENTRIES.items())), stored=["b/model.tflite"])
    monkeypatch.undo()
    time.tzset()
    program = (
        "import sys; from edgeq.packaging.container.archive import write_zip; from tests.packaging."
        "container.test_archive import ENTRIES; sys.stdout.buffer.write("
        "write_zip(ENTRIES, stored=['b/model.tflite']))"
    )
    environment = {**os.environ, "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7",
                   "PYTHONPATH": str(Path(__file__).resolve().parents[3])}  # fmt: skip
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True,
        check=True,
    )  # fmt: skip
    assert first == again == elsewhere.stdout


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "a\\..\\x", "a\nb"])
def test_an_entry_cannot_leave_its_folder(name: str) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"1")
    with pytest.raises(PackageError, match="leads out of its folder"):
        read_zip(target.getvalue(), "x.zip")


def test_two_entries_of_one_name_are_refused() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    with pytest.raises(PackageError, match="two entries 'x'"):
        read_zip(target.getvalue(), "x.zip")


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 9])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(PackageError, match=r"x\.zip is damaged or not a zip archive"):
        read_zip(content, "x.zip")
