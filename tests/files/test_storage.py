from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeq.errors import OutputError, UsageError
from edgeq.files import storage
from edgeq.issues import make_issue
from edgeq.values import FileRef, Interval, Issue, OutputQuality


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
        f"Cannot write {tmp_path}/none/a: No such file or directory. Make its folder: mkdir -p "
        f"{tmp_path}/none"
    )


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with storage.replacing(tmp_path / "a"), Path("/dev/full").open("wb") as full:
            full.write(b"x")

    with pytest.raises(OutputError, match="No space left on device"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """A pipe stands for a device here: a fault in the code would replace the real one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError) as caught:
        storage.write_atomically(pipe, b"x")
    assert str(caught.value) == f"Cannot write {pipe}: it is not a regular file. Choose another -o."
    assert pipe.is_fifo()


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
from edgeq.files import storage
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
    # The folder's entry is new with the renaming: to sync it before has no effect.
    folders = [n for n, event in enumerate(events) if event == ("fsync", str(target.parent))]
    assert all(place < n for n in folders)
    assert b"new" in target.read_bytes()


def test_infinities_are_written_as_text() -> None:
    plain = storage.to_plain(OutputQuality("out", float("inf"), 0.0, 0.0))
    assert plain["sqnr_db"] == "inf"


def test_a_record_begins_with_its_envelope() -> None:
    text = storage.record_json("bench", {"drop": Interval(1.0, 0.5, 1.5)})
    envelope = ["schema", "kind", "provenance", "validity", "reason_codes"]
    assert list(json.loads(text)) == [*envelope, "drop"]
    assert json.loads(text)["schema"] == "edgeq.record/1"
    assert text.startswith('{\n  "schema": ')


def test_what_a_terminal_would_obey_is_an_escape_in_a_record() -> None:
    names = {"name": "c1 \x9b31m, right to left \u202e, 印 größe"}
    text = storage.record_json("bench", names)
    assert '"name": "c1 \\u009b31m, right to left \\u202e, 印 größe"' in text
    assert json.loads(text)["name"] == names["name"]


def test_a_folder_is_hashed_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_bytes(b"1")
    before = storage.refer(tmp_path / "m")
    (tmp_path / "m" / "a").rename(tmp_path / "m" / "b")
    after = storage.refer(tmp_path / "m")
    assert before.size_bytes == after.size_bytes == 1
    assert before.sha256 != after.sha256
    assert before.path == str(tmp_path / "m")
    # Each file as its name, a zero byte and its digest, in the order of names, folders inside too.
    (tmp_path / "m" / "a").mkdir()
    (tmp_path / "m" / "a" / "c").write_bytes(b"22")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"1", b"22"))
    lines = f"a/c\0{two}\nb\0{one}\n"
    assert storage.refer(tmp_path / "m", "shown") == FileRef(
        "shown", hashlib.sha256(lines.encode()).hexdigest(), 3
    )


def test_a_file_is_digested_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert storage.refer(path) == FileRef(str(path), known, 3)
    assert storage.refer(path, "shown") == storage.refer_bytes(b"abc", "shown")
    assert storage.refer_bytes(b"abc", "shown") == FileRef("shown", known, 3)
    content = bytes(range(256)) * (3 << 12)  # 3 MiB, more than is read at once
    path.write_bytes(content)
    assert storage.hash_file(path) == hashlib.sha256(content).hexdigest()


def test_values_become_json(tmp_path: Path) -> None:
    value = {"a": Interval(1.0, -math.inf, math.inf), 2: (True, None, [math.nan]), "type": Interval}
    assert storage.to_plain(value) == {
        "a": {"value": 1.0, "low": "-inf", "high": "inf"}, "2": [True, None, ["nan"]],
        "type": Interval,
    }  # fmt: skip


LOAD = make_issue("bench.load", "Others used 2 cores.")
NOISE = make_issue("bench.noisy", "It is.")
EMULATED = make_issue("bench.emulated", "It is QEMU.")


def test_a_record_says_how_far_it_can_be_trusted() -> None:
    for issues, validity, codes in (
        ((), "valid", []),
        ((NOISE, LOAD, NOISE), "degraded", ["bench.noisy", "bench.load"]),
        ((LOAD, EMULATED), "invalid", ["bench.load", "bench.emulated"]),
    ):
        text = storage.record_json("bench", {"größe": 1}, issues)
        plain = json.loads(text)
        assert (plain["kind"], plain["validity"], plain["reason_codes"]) == (
            "bench", validity, codes)  # fmt: skip
        assert text.endswith('  "größe": 1\n}\n')


@dataclass(frozen=True)
class Nested:
    issues: tuple[Issue, ...]
    times: tuple[float, ...]
    inner: dict[str, object]
    kind: type


def test_issues_are_found_once_in_the_order_of_the_fields() -> None:
    inner = {"a": [LOAD, NOISE], "b": Nested((), (), {}, Issue)}
    value = Nested((NOISE,), (1.0, 2.0), inner, Nested)
    assert storage.find_issues(value) == (NOISE, LOAD)
    assert storage.find_issues([value, {"z": EMULATED}, (LOAD,)]) == (NOISE, LOAD, EMULATED)
    assert storage.find_issues(({"c": (LOAD, EMULATED, NOISE)}, 1)) == (LOAD, EMULATED, NOISE)
    assert storage.find_issues((1, LOAD)) == ()  # only numbers are expected in it
    assert storage.find_issues([]) == ()


def test_a_record_holds_the_issues_of_its_value_and_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    name = b"\xff.npz".decode("utf-8", "surrogateescape")
    storage.write_record(path, "note", {"issues": [LOAD], "file": name})
    plain = json.loads(path.read_bytes())
    assert (plain["validity"], plain["reason_codes"]) == ("degraded", ["bench.load"])
    assert plain["file"] == "\udcff.npz"


def test_an_output_does_not_replace_what_it_is_made_from(tmp_path: Path) -> None:
    path, other = tmp_path / "a.tflite", tmp_path / "b.tflite"
    path.write_bytes(b"x")
    storage.refuse_overwriting(other, [path, str(path), None, {"x": 1}])
    storage.refuse_overwriting(path, [tmp_path / "none", other, 3])
    link = tmp_path / "link"
    link.symlink_to(path)
    for source in (path, str(path), link):
        with pytest.raises(UsageError) as caught:
            storage.refuse_overwriting(path, [tmp_path / "none", other, source])
        assert str(caught.value) == f"-o {path} is the input {source} itself. Choose another -o."


def test_a_place_is_tried_before_any_work_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    storage.require_writable(path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    storage.require_writable(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    with pytest.raises(OutputError, match="is not a regular file"):
        storage.require_writable(tmp_path)
    with pytest.raises(OutputError, match="No such file or directory"):
        storage.require_writable(tmp_path / "none" / "a")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
def test_a_file_has_the_mode_that_the_mask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        storage.write_atomically(tmp_path / "a", b"x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
