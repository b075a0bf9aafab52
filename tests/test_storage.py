from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from edgeq import storage
from edgeq.errors import OutputError
from edgeq.values import Interval, OutputQuality


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.tflite"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), storage.replacing(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("half way")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_has_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    storage.write_atomically(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b")}
    assert len(modes) == 1


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        storage.write_atomically(tmp_path / "none" / "a", b"x")
    assert str(caught.value) == (
        f"Cannot write {tmp_path}/none/a: No such file or directory. Check that the folder "
        "exists, is writable and has space, or choose another -o."
    )


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with storage.replacing(tmp_path / "a"), Path("/dev/full").open("wb") as full:
            full.write(b"x")

    with pytest.raises(OutputError, match="No space left on device"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(OutputError) as caught:
        storage.write_atomically(Path("/dev/null"), b"x")
    assert str(caught.value) == "Cannot write /dev/null: it is no regular file. Choose another -o."
    assert not Path("/dev/null").is_file()


def test_infinities_are_written_as_text() -> None:
    plain = storage.to_plain(OutputQuality("out", float("inf"), 0.0, 0.0))
    assert plain == {"name": "out", "sqnr_db": "inf", "mse": 0.0, "max_error": 0.0}


def test_a_record_begins_with_its_envelope() -> None:
    text = storage.record_json("bench", {"drop": Interval(1.0, 0.5, 1.5)})
    envelope = ["schema", "kind", "provenance", "validity", "reason_codes"]
    assert list(json.loads(text)) == [*envelope, "drop"]
    assert json.loads(text)["schema"] == "edgeq.record/1"


def test_a_folder_is_hashed_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_bytes(b"1")
    before = storage.refer(tmp_path / "m")
    (tmp_path / "m" / "a").rename(tmp_path / "m" / "b")
    after = storage.refer(tmp_path / "m")
    assert before.size_bytes == after.size_bytes == 1
    assert before.sha256 != after.sha256
