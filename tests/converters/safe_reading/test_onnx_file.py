"""The places of an ONNX file's weights; the files are written here, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.converters.safe_reading.onnx_file import refuse_outside
from edgeq.errors import SourceError


def number(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(high) if high else bytes([low])


def field(key: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return number(key << 3 | 2) + number(len(raw)) + raw


def entry(key: str, value: str) -> bytes:
    return field(13, field(1, key) + field(2, value))


def tensor(*entries: tuple[str, str]) -> bytes:
    return field(8, "weight") + b"".join(entry(*pair) for pair in entries) + number(14 << 3) + b"\1"


def initializer(content: bytes) -> bytes:
    return field(5, content)


def model(graph: bytes) -> bytes:
    return number(1 << 3) + b"\x08" + field(2, "pytorch") + field(7, graph)


def node(attribute: bytes) -> bytes:
    return field(1, field(4, "If") + field(5, field(1, "then_branch") + attribute))


def write(folder: Path, content: bytes) -> Path:
    (folder / "inside").mkdir(parents=True)
    (folder / "outside.bin").write_bytes(bytes(8))
    for name in ("weights.bin", "inside/w.bin"):
        (folder / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / name).write_bytes(bytes(8))
    (folder / "model" / "link.bin").symlink_to("../outside.bin")
    path = folder / "model" / "net.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "entries",
    [
        (("location", "weights.bin"), ("offset", "4"), ("length", "4")),
        (("location", "inside/w.bin"),),
        (("location", "./weights.bin"), ("checksum", "x")),
    ],
)
def test_weights_beside_the_model(tmp_path: Path, entries: tuple[tuple[str, str], ...]) -> None:
    refuse_outside(write(tmp_path, model(initializer(tensor(*entries)))))


def test_weights_in_the_file_and_what_only_looks_like_a_path(tmp_path: Path) -> None:
    raw = field(9, entry("location", "../outside.bin"))
    refuse_outside(write(tmp_path, model(initializer(field(8, "w") + raw))))


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (
            (("location", "../outside.bin"),),
            "keeps its weights in '../outside.bin', outside the folder of the model",
        ),
        (
            (("location", "inside/../../outside.bin"),),
            "keeps its weights in 'inside/../../outside.bin', outside the folder of the model",
        ),
        (
            (("location", "/etc/passwd"),),
            "keeps its weights in '/etc/passwd', outside the folder of the model",
        ),
        (
            (("location", "link.bin"),),
            "keeps its weights in 'link.bin', outside the folder of the model",
        ),
        (
            # onnxruntime takes the offset for an address in memory.
            (("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "4096"), ("length", "64")),
            "keeps its weights in '*/_ORT_MEM_ADDR_/*', which does not exist",
        ),
        ((("location", ""),), "keeps its weights in '', which does not exist"),
        (
            (("location", "weights.bin"), ("length", "99999999999")),
            "takes 0 + 99999999999 bytes of 'weights.bin', which is shorter",
        ),
        (
            (("location", "weights.bin"), ("offset", "-1")),
            "states a size of its weights that is not a number: -1, 0",
        ),
        (
            (("location", "weights.bin"), ("location", "../outside.bin")),
            "states 'location' of its weights elsewhere, twice",
        ),
        (
            (("location", "weights.bin"), ("__class__", "x")),
            "states '__class__' of its weights elsewhere, and ONNX has no such key",
        ),
    ],
)
def test_weights_elsewhere(tmp_path: Path, entries: tuple[tuple[str, str], ...], what: str) -> None:
    path = write(tmp_path, model(initializer(tensor(*entries))))
    with pytest.raises(SourceError) as caught:
        refuse_outside(path)
    assert str(caught.value) == (
        f"{path}: tensor 'weight' {what}. Export it again, with its weights in files beside it."
    )


EVIL = tensor(("location", "/etc/passwd"))


@pytest.mark.parametrize(
    "content",
    [
        model(node(field(5, EVIL))),  # an attribute
        model(node(field(10, EVIL))),  # one of several
        model(node(field(6, initializer(EVIL)))),  # a branch
        model(node(field(11, node(field(6, initializer(EVIL)))))),  # a branch in a branch
        model(field(15, field(1, EVIL))),  # sparse
        model(b"") + field(25, field(7, field(5, field(5, EVIL)))),  # a function
        model(b"") + field(20, field(1, initializer(EVIL))),  # of training
        model(b"") + model(initializer(EVIL)),  # a second graph, which is joined with the first
    ],
)
def test_weights_elsewhere_are_found_wherever_a_tensor_can_be(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(SourceError, match="outside the folder of the model"):
        refuse_outside(write(tmp_path, content))


def test_a_hubs_cache_links_model_and_weights(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "a").write_bytes(model(initializer(tensor(("location", "net.onnx_data")))))
    (blobs / "b").write_bytes(bytes(8))
    (snapshot / "net.onnx").symlink_to("../../blobs/a")
    (snapshot / "net.onnx_data").symlink_to("../../blobs/b")
    refuse_outside(snapshot / "net.onnx")


def nested(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = node(field(6, graph))
    return graph


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x08", "it ends in the middle of a number"),
        (model(b"")[:-1] + b"\x7f", "a field ends after its message"),
        (number(3 << 3 | 3), "it has a field of the wire type 3"),
        (b"\xff" * 12, "a number in it has more than ten bytes"),
        (model(nested(60)), "its graphs are nested more than 100 levels deep"),
    ],
)
def test_a_damaged_file(tmp_path: Path, content: bytes, what: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SourceError) as caught:
        refuse_outside(path)
    assert str(caught.value) == (
        f"{path} is incomplete or is not an ONNX model: {what}. Export or copy it again."
    )
