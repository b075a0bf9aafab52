"""Data files that are broken, or were made to do harm: one sentence, little memory, no waiting."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.converters.samples.open_samples import Samples, open_samples
from edgeq.errors import DataError
from edgeq.values import TensorSpec

VECTOR = TensorSpec("x_in", (1, 3), "float32")
ANY = TensorSpec("x_in", (1, -1), "float32")
PHOTO = TensorSpec("image", (1, -1, -1, 3), "float32")
ROWS = np.arange(12, dtype=np.float64).reshape(4, 3)

AGAIN = "Save the array again, with numpy.save or numpy.savez."
ZIP_AGAIN = "Save the arrays again with numpy.savez or numpy.savez_compressed."


def raises(message: str) -> Any:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


@contextmanager
def few_bytes(most: int = 10_000_000) -> Iterator[None]:
    """The block takes no more memory than this; NumPy tells what it takes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def header(descr: Any, shape: Any, fortran: Any = False, values: bytes = b"") -> bytes:
    """The beginning of an `.npy` file that states this."""
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + values


def twelve(descr: Any, shape: Any, fortran: Any = False) -> bytes:
    """The same before the values of twelve numbers."""
    return header(descr, shape, fortran, bytes(96))


def npy(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def npz(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def saved(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def read(samples: Samples) -> list[Any]:
    return [(sample.inputs["x_in"].tolist(), sample.label) for sample in samples.iterate()]


# ---------------------------------------------------------------- what headers state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            twelve("<f8", (10**12, 3)),
            "{} states 24,000,000,000,000 bytes of values, but 96 follow. " + AGAIN,
        ),
        (twelve("<f8", (2**70, 3)), "states 28,334,198,897,217,871,282,176 bytes of values"),
        (twelve("<f8", (-5, 3)), "{} states the invalid shape (-5, 3). " + AGAIN),
        (twelve("<f8", (4, -3)), "{} states the invalid shape (4, -3). " + AGAIN),
        (twelve("<f8", ()), "{} holds a single number where an array of samples belongs. "),
        (twelve("<f8", (0, 3)), "{} holds no samples."),
        (twelve("<f8", (4, 0)), "The samples in {} hold no values: their shape is (0,). "),
        (twelve("<f8", (10**12, 0)), "The samples in {} hold no values: their shape is (0,). "),
        (twelve("<f8", (4.0, 3)), "{} has an invalid header: "),
        (twelve("<f8", (True, 3)), "{} has an invalid header: "),
        (twelve("<f8", (1,) * 40), "{} has an invalid header: "),
        (twelve("<f8", (4, 3), "yes"), "{} has an invalid header: "),
        (twelve("|O", (4, 3)), "{} holds Python objects, which edgeq does not unpickle. "),
        (twelve("object", (4, 3)), "{} holds Python objects, which edgeq does not unpickle. "),
        (
            twelve([("a", "<f8"), ("b", [("c", "|O")])], (4,)),
            "{} holds Python objects, which edgeq does not unpickle. Store arrays of numbers.",
        ),
        (
            twelve(("|O", (3,)), (4,)),
            "{} holds Python objects, which edgeq does not unpickle. Store arrays of numbers.",
        ),
        (
            twelve([("a", "<f8"), ("b", "<i4", (3,))], (4,)),
            "{} holds values of the structured dtype [('a', '<f8'), ('b', '<i4', (3,))], "
            "not plain numbers. Store arrays of numbers.",
        ),
        (twelve("<f8,(9**9**9)i4", (4,)), "{} has the unknown dtype '<f8,(9**9**9)i4'. "),
        (twelve("<f1", (4, 3)), "{} has the unknown dtype '<f1'. Store arrays of numbers."),
        (twelve("|V0", (4, 3)), "{} has the unknown dtype '|V0'. Store arrays of numbers."),
        (twelve("|V8", (4, 3)), "{} holds |V8 values. Store numbers."),
        (twelve("<M8[D]", (4, 3)), "{} holds datetime64[D] values. Store numbers."),
        (twelve("<c8", (4, 3)), "{} holds complex64 values. Store numbers."),
        (twelve("<U2", (4, 3)), "{} holds <U2 values. Store numbers."),
        (b"\x93NUMPY\x01\x00\xff\xff{", "{} has a header of 65,535 bytes; edgeq reads 1 to 10,000"),
        (
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
            "{} has a header of 4,294,967,295 bytes; edgeq reads 1 to 10,000. " + AGAIN,
        ),
        (b"\x93NUMPY\x09\x00\x10\x00{", "{} has version 9.0 of the .npy format"),
        (b"\x93NUMPY\x01\x00\x10\x00{", "{} is truncated within its header. " + AGAIN),
        (b"PK\x03\x04 and so on", "{} is not an .npy array: it begins with b'PK\\x03\\x04 and'. "),
        (b"", "{} is not an .npy array: it begins with b''. " + AGAIN),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000, "{} has an invalid header: "),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"-" * 9_999 + b"1", "{} has an invalid header: "),
        (b"\x93NUMPY\x01\x00\x02\x001\n", "{} has an invalid header: '1\\n'. "),
    ],
)
def test_a_header_is_not_believed(tmp_path: Path, content: bytes, message: str) -> None:
    path = npy(tmp_path / "a.npy", content)
    with few_bytes(), pytest.raises(DataError) as caught:
        open_samples(path, [ANY])
    assert message.format(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_sample_may_take_so_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:  # the file is sparse
        stream.write(header("|u1", (2, 12_000, 12_000, 3)))
        stream.truncate(10**9)
    with (
        few_bytes(),
        raises(
            f"Each sample in {path} takes 1,728,000,000 bytes of memory; edgeq takes at most "
            "300,000,000. Make the samples smaller beforehand, e.g. resize images."
        ),
    ):
        open_samples(path, [PHOTO])


def test_so_many_samples_can_be_chosen_from(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        stream.write(header("|u1", (4 * 10**9, 3)))
        stream.truncate(13 * 10**9)
    with (
        few_bytes(),
        raises(
            f"{path} holds 4,000,000,000 samples; edgeq takes at most 5,000,000. "
            "Give fewer: a few hundred calibrate, a few thousand measure the accuracy."
        ),
    ):
        open_samples(path, [VECTOR])


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "<f2", "|b1", "<u8", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_all_numbers_in_either_order_are_read(
    tmp_path: Path, dtype: str, order: Any, suffix: str
) -> None:
    values = np.arange(24).reshape(2, 4, 3).astype(dtype)
    array = np.asarray(values, order=order)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(saved(array)) if suffix == ".npy" else np.savez(path, x=array)
    samples = open_samples(path, [TensorSpec("x_in", (1, 4, 3), "float32")])
    assert [sample.inputs["x_in"].tolist() for sample in samples.iterate()] == values.tolist()
    (last,) = samples.iterate((1,))
    assert last.inputs["x_in"].tolist() == values[1].tolist()


def test_headers_of_python_2_are_read(tmp_path: Path) -> None:
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4L, 3L), }\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + ROWS.tobytes()
    samples = open_samples(npy(tmp_path / "a.npy", content), [VECTOR])
    assert [values for values, _ in read(samples)] == ROWS.tolist()


def test_rows_scattered_over_a_file_are_gathered_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeq.converters.samples.numpy_files._BLOCK_BYTES", 100)
    array = np.random.default_rng(0).normal(size=(300, 4, 3))
    np.savez_compressed(tmp_path / "a.npz", x=np.asfortranarray(array), y=np.arange(300))
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    spec = TensorSpec("x_in", (1, 4, 3), "float64")
    wanted = (0, 7, 8, 150, 299)
    for piece in (64, 1 << 20):  # values of all rows at a time, or several times that
        monkeypatch.setattr("edgeq.converters.samples.numpy_files._PIECE_BYTES", piece)
        for name in ("a.npz", "a.npy"):
            samples = open_samples(tmp_path / name, [spec])
            found = [sample.inputs["x_in"] for sample in samples.iterate(wanted)]
            np.testing.assert_array_equal(found, array[list(wanted)])


# ---------------------------------------------------------------- archives


def test_an_archive_may_state_what_it_cannot_hold(tmp_path: Path) -> None:
    """The member's header and the archive's list state 3 TB; the member has 100 bytes."""
    path = npz(tmp_path / "a.npz", x=header("|u1", (10**12, 3)) + bytes(100))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2")
    name, extra = struct.unpack_from("<HH", content, place + 28)
    end = content.index(b"PK\5\6")
    sizes = struct.pack("<HHQ", 1, 8, 3 * 10**12 + 100)
    struct.pack_into("<I", content, place + 24, 0xFFFFFFFF)
    struct.pack_into("<H", content, place + 30, extra + len(sizes))
    content[place + 46 + name : place + 46 + name] = sizes
    struct.pack_into("<I", content, end + len(sizes) + 12, end - place + len(sizes))
    path.write_bytes(content)
    packed = zipfile.ZipFile(path).getinfo("x.npy").compress_size
    with (
        few_bytes(),
        raises(
            f"'x' in {path} states 3,000,000,000,100 bytes; its {packed} bytes in the file "
            f"cannot expand to that. {ZIP_AGAIN}"
        ),
    ):
        open_samples(path, [VECTOR])


def test_a_member_that_is_shorter_than_it_states_is_told(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=saved(ROWS)[:-1])
    with raises(f"'x' in {path} states 96 bytes of values, but 95 follow. {AGAIN}"):
        open_samples(path, [VECTOR])


def test_a_few_bytes_may_unpack_to_gigabytes_of_labels(tmp_path: Path) -> None:
    """One label of such a size is refused; smaller ones are read row by row, see below."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", saved(ROWS))
        with archive.open("y.npy", "w") as stream:
            stream.write(header("|u1", (4, 40_000_000)))
            for _ in range(160):
                stream.write(bytes(1_000_000))
    with (
        few_bytes(),
        raises(
            f"Each label in 'y' in {path} takes 40,000,000 bytes; edgeq takes at most 32,000,000. "
            "Store class indices, or masks of a smaller dtype."
        ),
    ):
        open_samples(path, [VECTOR])


def test_labels_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((50, 3)), y=np.zeros((50, 1_000_000), np.uint8))
    samples = open_samples(path, [VECTOR])
    with few_bytes():
        assert sum(sample.label.size for sample in samples.iterate()) == 50_000_000


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (header("<i8", (4 * 10**12,)), "'y' in {} states 32,000,000,000,000 bytes of values"),
        (header("<i8", (-4,)), "'y' in {} states the invalid shape (-4,). "),
        (
            header("<i8", ()) + bytes(8),
            "{} has 4 samples and 0 labels. Store one label per sample.",
        ),
        (header("<i8", (3,)) + bytes(24), "{} has 4 samples and 3 labels. Store one label per s"),
        (header("<i8", (4, 0)), "The labels in 'y' in {} hold no values: their shape is (0,)."),
        (header("|O", (4,)), "'y' in {} holds Python objects, which edgeq does not unpickle. "),
        (header("<c8", (4,)) + bytes(32), "The labels of {} are complex64 values, not numbers or"),
        (header("<U10000000", (4,)), "'y' in {} states 160,000,000 bytes of values, but 0 follow"),
        (saved(np.array([["a", "b"]] * 4)), "A label of {} is 2 texts. Store one per sample."),
        (saved(np.array([b"\xff"] * 4)), "A label of {} is not UTF-8 text: b'\\xff'. Store text"),
        (
            saved(np.array(["9" * 20] * 4)),
            "The labels of {} hold the number 99999999999999999999, which 64 bits cannot hold. ",
        ),
        (
            saved(np.array(["a" * 1001, "b", "c", "d"])),
            "The labels of {} are texts of up to 1,001 characters and at least 1 different ones; "
            "edgeq takes 100,000 classes with names of 1,000 characters. Store labels as numbers.",
        ),
    ],
)
def test_labels_are_checked_like_samples(tmp_path: Path, labels: bytes, message: str) -> None:
    path = npz(tmp_path / "a.npz", x=saved(ROWS), y=labels)
    with few_bytes(), pytest.raises(DataError) as caught:
        open_samples(path, [VECTOR])
    assert message.format(path) in str(caught.value)


def test_a_text_of_ten_million_characters_is_no_label(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=saved(ROWS), y=header("<U10000000", (4,)) + bytes(160_000_000))
    with (
        few_bytes(),
        raises(
            f"Each label in 'y' in {path} takes 40,000,000 bytes; edgeq takes at most 32,000,000. "
            "Store class indices, or masks of a smaller dtype."
        ),
    ):
        open_samples(path, [VECTOR])


def test_texts_that_differ_in_every_sample_are_no_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeq.converters.samples.sources.MAX_CLASSES", 3)
    np.savez(tmp_path / "a.npz", x=ROWS, y=np.array(list("abcd")))
    (tmp_path / "a.csv").write_text("a,b,c,y\n1,2,3,k\n1,2,3,l\n1,2,3,m\n1,2,3,n\n")
    for name in ("a.npz", "a.csv"):
        with pytest.raises(DataError, match="at least 4 different ones; edgeq takes 3 classes"):
            open_samples(tmp_path / name, [VECTOR])


def test_texts_as_labels_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for labels in (["b", "a", "b", "c"], [b"b", b"a", b"b", b"c"]):
        np.savez(path, x=ROWS, y=np.array(labels))
        samples = open_samples(path, [VECTOR])
        assert [label for _, label in read(samples)] == [1, 0, 1, 2]
        assert samples.class_names == ("a", "b", "c")
    np.savez(path, x=ROWS, y=np.array([["7"], ["07"], ["10"], ["0"]]))
    assert [label for _, label in read(open_samples(path, [VECTOR]))] == [7, 7, 10, 0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("x_in.npy", saved(ROWS))
    with raises(f"{path} holds 'x_in' twice. {ZIP_AGAIN}"):
        open_samples(path, [VECTOR])


def test_names_differ_in_case(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=saved(ROWS), X=saved(ROWS))
    with raises(
        f"{path} holds 'x', 'X', but the model's input is 'x_in'. Name the array of samples 'x' or "
        "'x_in', labels 'y', and leave out others."
    ):
        open_samples(path, [VECTOR])


def test_many_long_names_are_told_in_short(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}{'n' * 5_000}.npy", b"")
    with pytest.raises(DataError, match=r"nnn\.\.\.', 12 more, but the model's input is") as caught:
        open_samples(path, [VECTOR])
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    path = npz(tmp_path / "a.npz", method, x=saved(ROWS))
    with raises(
        f"'x' in {path} is compressed by method {method}, which edgeq does not read. {ZIP_AGAIN}"
    ):
        open_samples(path, [VECTOR])


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=saved(ROWS))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with raises(f"'x' in {path} is encrypted. Store it without a password."):
        open_samples(path, [VECTOR])


def test_an_archive_with_a_list_of_any_size_is_refused(tmp_path: Path) -> None:
    """Its end states a gigabyte of members, and the file has that size."""
    path = tmp_path / "a.npz"
    with path.open("wb") as stream:
        stream.truncate(10**9)
        stream.seek(0, os.SEEK_END)
        stream.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, 10**9, 0, 0))
    with (
        few_bytes(),
        raises(
            f"{path} has a list of members of 1,000,000,000 bytes; edgeq reads at most 4,194,304. "
            f"{ZIP_AGAIN}"
        ),
    ):
        open_samples(path, [VECTOR])


def test_nan_and_infinity_are_samples_that_the_linter_tells(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[np.nan, np.inf, -np.inf]]))
    ((values, _),) = read(open_samples(tmp_path / "a.npz", [VECTOR]))
    assert np.isnan(values[0]) and values[1:] == [np.inf, -np.inf]


# ---------------------------------------------------------------- CSV


def test_a_csv_row_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with path.open("ab") as stream:
        stream.truncate(10**9)
    message = "Give one sample a line; large samples as an .npz file."
    with (
        few_bytes(80_000_000),
        raises(f"A row of {path} has more than 16,000,000 characters. {message}"),
    ):
        open_samples(path, [VECTOR])
    monkeypatch.setattr("edgeq.converters.samples.tables._MOST_ROW", 100_000)
    path.write_text('a,b,c\n"' + '\n","' * 200_000)  # quoted lines, each of a bearable length
    with few_bytes(), raises(f"A row of {path} has more than 100,000 characters. {message}"):
        open_samples(path, [VECTOR])


def test_a_million_csv_columns_are_counted_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{number}" for number in range(100_000)) + "\n1,2\n")
    with raises(f"{path} has 100000 columns for input 'x_in', which takes 3 values."):
        open_samples(path, [VECTOR])
    path.write_text(",".join(f"x_in[{number}]" for number in range(100_000)) + "\n1,2\n")
    with raises(f"{path} has 100000 columns for input 'x_in', which takes 3 values."):
        open_samples(path, [VECTOR])


def test_csv_lines_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.converters.samples.sources.MAX_SAMPLES", 3)
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + "\n" * 4)
    with pytest.raises(DataError, match="holds 4 lines; edgeq takes at most 3"):
        open_samples(path, [VECTOR])


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["1", "-2", " 3 "], [1, -2, 3]),
        (["1", "2.5", "3"], [1.0, 2.5, 3.0]),
        (["1", "9" * 20, "3"], [1.0, 1e20, 3.0]),
        (["1", "two", "3"], [0, 2, 1]),
    ],
)
def test_csv_labels_are_what_all_of_them_can_be(
    tmp_path: Path, texts: list[str], labels: list[Any]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,y\n" + "".join(f"1,2,3,{text}\n" for text in texts))
    found = [label for _, label in read(open_samples(path, [VECTOR]))]
    assert found == labels
    assert {type(label) for label in found} == {type(label) for label in labels}


def test_what_is_no_csv_text_is_told(tmp_path: Path) -> None:
    path = npy(tmp_path / "a.csv", b"a,b,c\n1,2,\xff\n")
    with pytest.raises(
        DataError, match=r"cannot be read as CSV: 'utf-8' codec .* Save it as UTF-8"
    ):
        open_samples(path, [VECTOR])
    path.write_text(f"a,b,c\n1,2,{'z' * 100_000}\n")
    with pytest.raises(DataError, match=r"holds 'z{76}\.\.\., not a number\.$"):
        open_samples(path, [VECTOR])


# ---------------------------------------------------------------- paths that are not files


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    pipe, link, plug = (tmp_path / f"{name}{suffix}" for name in ("pipe", "link", "plug"))
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plug))
        for path, kind in ((pipe, "a named pipe"), (link, "a device"), (plug, "a socket")):
            with raises(f"{path} cannot be read: it is {kind}, not a file."):
                open_samples(path, [VECTOR])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/zero", "/dev/zero is not a kind of data edgeq reads. "),
        ("n" * 300 + ".npz", "cannot be read: "),
        ("a\0b.npz", "'a\\x00b.npz' cannot be read: "),
        ("setup.py/a.npz", "cannot be read: "),
    ],
)
def test_names_that_are_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.py").touch()
    with pytest.raises(DataError, match=f"{re.escape(message)}.*Known: "):
        open_samples(name, [VECTOR])


# ---------------------------------------------------------------- files that change


@pytest.mark.parametrize("name", ["a.npy", "f.npy", "a.npz", "a.csv"])
@pytest.mark.parametrize("change", ["cut", "written", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, name: str, change: str
) -> None:
    path = tmp_path / name
    values = np.arange(3_000.0).reshape(-1, 3)
    if name == "a.csv":
        path.write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in values))
    elif name == "a.npz":
        np.savez(path, x=values)
    else:
        np.save(path, np.asfortranarray(values) if name == "f.npy" else values)
    samples = open_samples(path, [VECTOR])
    rows = samples.iterate()
    next(rows)
    if change == "cut":
        os.truncate(path, 200)
    elif change == "written":
        with path.open("r+b") as stream:
            stream.seek(150)
            stream.write(b"1")
        os.utime(path, ns=(1, 1))  # within a tick of the clock, times are equal
    else:
        (tmp_path / "new").write_bytes(path.read_bytes())
        (tmp_path / "new").replace(path)
        list(rows)  # what was opened stays readable, whole
        rows = samples.iterate()
    message = (
        f"{path} changed while edgeq read it. Run the command again when nothing writes to the "
        "file."
    )
    with raises(message):
        list(rows)
    with raises(message):
        samples.ref  # noqa: B018
