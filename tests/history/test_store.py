"""Records into a history and out of it."""

from __future__ import annotations

import json
import resource
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgeq.errors import HistoryError, OutputError, RecordError, UsageError
from edgeq.files import storage
from edgeq.files.storage import write_atomically
from edgeq.history.export_import import export_records, read_source
from edgeq.history.store import History
from edgeq.history.values import Filter
from tests.history.conftest import COMPARE, EVAL, bench_result, write_bench


def test_a_record_is_kept_byte_for_byte(history: History) -> None:
    (addition,) = history.add([COMPARE])
    assert (addition.number, addition.is_new, addition.kind) == (1, True, "compare")
    entry = history.find("1")
    assert history.content(entry) == COMPARE.read_bytes()
    assert history.read(entry).path == str(COMPARE)
    assert (entry.model, entry.accuracy_drop_points, entry.size_bytes) == (
        "mobilenet.tflite", 0.0, 83600,
    )  # fmt: skip


def test_adding_twice_says_so_and_takes_the_tags(history: History) -> None:
    history.add([COMPARE], tags=["a"])
    (again,) = history.add([COMPARE], tags=["b"], git_commit="abc1234")
    assert (again.number, again.is_new) == (1, False)
    (entry,) = history.list().entries
    assert (entry.tags, entry.git_commit) == ("a,b", "abc1234")


def test_a_broken_file_is_refused_and_the_others_are_kept(history: History, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_bytes(COMPARE.read_bytes()[:900])
    found = history.add([cut, COMPARE, tmp_path / "none.json"])
    assert [item.number for item in found] == [None, 1, None]
    assert found[0].error is not None and "is not JSON, or is truncated" in found[0].error
    assert found[2].error == f"{tmp_path}/none.json cannot be read: No such file or directory."


def test_tags_are_checked(history: History) -> None:
    with pytest.raises(UsageError) as caught:
        history.add([COMPARE], tags=["a,b"])
    assert str(caught.value) == "--tag 'a,b' is empty or has a comma. Repeat --tag."
    assert history.list().total == 0


def test_a_record_is_found_by_number_or_digest(history: History) -> None:
    history.add([EVAL, COMPARE])
    sha256 = history.find("2").sha256
    assert history.find(sha256[:7]).number == 2
    assert history.find(sha256).number == 2
    for name in ("3", sha256[:6], "0000000", "-1", "9" * 30):
        with pytest.raises(UsageError) as caught:
            history.find(name)
        assert str(caught.value) == (
            f"There is no record {name!r} in this history. Name one by its number or by the first "
            "7 characters of its digest: edgeq history list"
        )


def fill(history: History, tmp_path: Path) -> None:
    for number, (device, model) in enumerate(
        (("pi4", "build/net.tflite"), ("pi5", "build/net.tflite"), ("pi4", "old/net.tflite"))
    ):
        path = tmp_path / f"{number}.json"
        result = bench_result(2.0 + number, device=device, model=model)
        history.add([write_bench(path, result, f"2026-11-0{number + 1}T00:00:00Z")], tags=[device])


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [3, 2, 1]),
        (Filter(last=2), [3, 2]),
        (Filter(device="pi4"), [3, 1]),
        (Filter(model="net.tflite"), [3, 2, 1]),
        (Filter(model="net"), [3, 2, 1]),
        (Filter(model="build/net.tflite"), [2, 1]),
        (Filter(kind="bench", tag="pi5"), [2]),
        (Filter(since="2026-11-02T00:00:00Z"), [3, 2]),
        (Filter(since="2027-01-01T00:00:00Z"), []),
    ],
)  # fmt: skip
def test_filters(history: History, tmp_path: Path, wanted: Filter, numbers: list[int]) -> None:
    fill(history, tmp_path)
    listing = history.list(wanted)
    assert [entry.number for entry in listing.entries] == numbers
    assert listing.total == 3
    assert listing.matching == (3 if wanted.last else len(numbers))


def test_a_digest_filters_as_well(history: History, tmp_path: Path) -> None:
    fill(history, tmp_path)
    digest = history.find("3").model_sha256
    assert digest is not None
    assert [item.number for item in history.list(Filter(model=digest[:9])).entries] == [3]


def test_an_unknown_name_lists_the_known(history: History, tmp_path: Path) -> None:
    fill(history, tmp_path)
    for wanted, sentence in (
        (Filter(model="nut"), "No record here has the model 'nut'; there are: net.tflite."),
        (Filter(device="pi"), "No record here has the device 'pi'; there are: pi4, pi5."),
        (Filter(kind="eval"), "No record here has the kind 'eval'; there are: bench."),
        (Filter(tag="v1"), "No record here has the tag 'v1'; there are: pi4, pi5."),
    ):
        with pytest.raises(UsageError) as caught:
            history.list(wanted)
        assert str(caught.value) == sentence


def test_remove_takes_all_or_none_and_numbers_are_not_given_again(history: History) -> None:
    history.add([EVAL, COMPARE])
    with pytest.raises(UsageError):
        history.remove(["2", "9"])
    assert history.list().total == 2
    assert [entry.number for entry in history.remove(["2", "2"])] == [2]
    (again,) = history.add([COMPARE])
    assert again.number == 3
    assert history.check().problems == ()


def test_an_export_is_imported_with_its_tags(history: History, tmp_path: Path) -> None:
    history.add([EVAL, COMPARE], tags=["v1"], git_commit="abc1234")
    folder = tmp_path / "out"
    written = export_records(history, folder, Filter(kind="compare"))
    assert [path.read_bytes() for path in written] == [COMPARE.read_bytes()]
    added = history.find("2").added
    with tarfile.open(tmp_path / "out.tar.gz", "w:gz") as archive:
        archive.add(folder, "out")
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as zipped:
        for path in folder.iterdir():
            zipped.write(path, f"deep/{path.name}")
    for number, source in enumerate((folder, tmp_path / "out.tar.gz", tmp_path / "out.zip")):
        with History(tmp_path / f"{number}.sqlite", make=True, wait_s=5) as other:
            (addition,) = other.add_items(read_source(source))
            assert addition.is_new
            (entry,) = other.list().entries
            assert (entry.tags, entry.git_commit, entry.added) == ("v1", "abc1234", added)
            assert other.content(entry) == COMPARE.read_bytes()


def test_an_export_that_fails_leaves_no_half(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.add([COMPARE, EVAL])
    folder = tmp_path / "out"
    left = [1 << 30, 100]  # the second file meets a limit, as it may a full disk

    def write(target: Path, content: bytes) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (left.pop(0), hard))
        try:
            write_atomically(target, content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(storage, "write_atomically", write)
    with pytest.raises(OutputError, match="File too large"):
        export_records(history, folder, Filter())
    assert list(folder.iterdir()) == []


def test_what_cannot_be_imported_or_exported(history: History, tmp_path: Path) -> None:
    history.add([COMPARE])
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    (tmp_path / "text").write_text("x")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "history.json").write_text("{}")
    for source, error, sentence in (
        (tmp_path / "none", UsageError, "none does not exist. Name a folder or an archive of"),
        (tmp_path / "empty", UsageError, "empty has no .json file in it."),
        (tmp_path / "cut.zip", UsageError, "cut.zip has no .json file in it."),
        (tmp_path / "text", UsageError, "text is neither a folder nor a .zip or .tar archive."),
        (
            broken,
            RecordError,
            "is not the index of an export: Object missing required field `schema`.",
        ),
    ):
        with pytest.raises(error) as caught:
            history.add_items(read_source(source))
        assert sentence in str(caught.value)
    with pytest.raises(UsageError) as caught:
        export_records(history, broken, Filter())
    assert str(caught.value) == f"{broken} is not empty. Name a new folder."


def test_a_cut_archive_is_said(history: History, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(COMPARE, "c.json")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(HistoryError) as caught:
        history.add_items(read_source(path))
    assert str(caught.value).startswith(f"{path} cannot be read: ")


def test_an_encrypted_archive_is_said(history: History, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(COMPARE, "c.json")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] = 1
    path.write_bytes(content)
    with pytest.raises(HistoryError, match="is encrypted"):
        history.add_items(read_source(path))


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}.json", bytes(1000))
    content, size = path.read_bytes(), (1000).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (1 << 28).to_bytes(4, "little")))
    with pytest.raises(HistoryError, match="would unpack to 536,870,912 bytes"):
        list(read_source(path))


@pytest.mark.parametrize(
    "entry",
    [{"file": 3}, {"file": "c.json", "tags": ["a,b"]}, {"file": "c.json", "tags": 3},
     {"file": "c.json", "added": []}],
)  # fmt: skip
def test_an_index_with_other_types_is_refused(entry: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(COMPARE.read_bytes())
    index = {"schema": "edgeq.history/1", "records": [entry]}
    (tmp_path / "history.json").write_text(json.dumps(index))
    with pytest.raises(RecordError, match=r"history\.json is not the index of an export"):
        list(read_source(tmp_path))


def test_infinity_is_kept(history: History, tmp_path: Path) -> None:
    plain = json.loads(COMPARE.read_text())
    plain["quality"]["outputs"][0]["sqnr_db"] = "inf"
    path = tmp_path / "r.json"
    path.write_text(json.dumps(plain))
    history.add([path])
    assert history.find("1").sqnr_db == float("inf")
    assert history.check().problems == ()
