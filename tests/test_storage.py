from __future__ import annotations

import json
import stat
import subprocess
import sys
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


def test_an_open_reader_still_reads_the_old_bytes(tmp_path: Path) -> None:
    """The new file is put in the old one's place: nobody reads half of each."""
    target = tmp_path / "model.tflite"
    target.write_bytes(b"old " * 1000)
    with target.open("rb") as reader:
        assert reader.read(4) == b"old "
        storage.write_atomically(target, b"new")
        assert reader.read() == b"old " * 999
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


# What a child does to files, as it does it: ("fsync" | "rename" | "write", path).
WATCHED = """
import json, os, sys
seen = []

def hear(event, arguments):
    if event == "os.rename":
        seen.append(["rename", *(os.path.realpath(os.fsdecode(name)) for name in arguments[:2])])
    elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        if isinstance(arguments[0], (str, bytes)):
            seen.append(["write", os.path.realpath(os.fsdecode(arguments[0]))])

def sync(number, own=os.fsync):
    seen.append(["fsync", os.readlink(f"/proc/self/fd/{number}")])
    own(number)

os.fsync = sync
sys.addaudithook(hear)
from pathlib import Path
from edgeq import storage
target, way = Path(sys.argv[1]), sys.argv[2]
if way == "whole":
    storage.write_atomically(target, b"new")
elif way == "record":
    with storage.replacing(target) as temporary:
        storage.write_record(temporary, "note", {"text": "new"})
else:
    with storage.replacing(target) as temporary, temporary.open("wb") as stream:
        stream.write(b"new")
print(json.dumps(seen))
"""


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("way", ["whole", "record", "stream"])
def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, way: str, is_there: bool) -> None:
    """Or a power cut leaves an empty file in the place of the old one."""
    target = tmp_path.resolve() / "model.tflite"
    if is_there:
        target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(target), way],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    events = [tuple(event) for event in json.loads(done.stdout)]
    (renamed,) = (e for e in events if e[0] == "rename" and e[2] == str(target))
    temporary, place = renamed[1], events.index(renamed)
    assert Path(temporary).parent == target.parent  # on the same disk
    assert ("fsync", temporary) in events[:place]
    written = max(n for n, event in enumerate(events) if event == ("write", temporary))
    synced = max(n for n, event in enumerate(events) if event == ("fsync", temporary))
    assert written < synced < place
    assert ("write", str(target)) not in events
    # The folder's entry is new with the renaming: to sync it before would be in vain.
    folders = [n for n, event in enumerate(events) if event == ("fsync", str(target.parent))]
    assert all(place < n for n in folders)
    assert b"new" in target.read_bytes()


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
