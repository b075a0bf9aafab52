"""What a package may replace on the disk, which is a package of the same model and nothing else."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import EdgeqError, OutputError
from edgeq.packaging.assembly.build import Package
from edgeq.packaging.container import archive, writing
from edgeq.packaging.container.manifest import KEY, MANIFEST, SIGNATURE, SUMS, seal


def content_of(path: Path) -> dict[str, bytes]:
    return {
        entry.relative_to(path).as_posix(): entry.read_bytes()
        for entry in path.rglob("*")
        if entry.is_file()
    }


def sealed_as(package: Package, **changes: str) -> dict[str, bytes]:
    files = {path: content for path, content in package.files.items()
             if path not in (MANIFEST, SUMS, SIGNATURE, KEY)}  # fmt: skip
    return seal(replace(package.manifest, **changes), files)


def test_a_package_replaces_a_package_whole(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "package"
    writing.write_package(sealed_as(package, version="0.9"), path)
    writing.write_package(package.files, path)
    assert content_of(path) == dict(package.files)
    assert [entry.name for entry in tmp_path.iterdir()] == ["package"]
    zipped = tmp_path / "package.zip"
    writing.write_package(sealed_as(package, version="0.9"), zipped)
    writing.write_package(package.files, zipped)
    assert zipped.read_bytes() == archive.write_zip(package.files)


def test_an_empty_folder_becomes_the_package(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "package"
    path.mkdir()
    writing.write_package(package.files, path)
    assert content_of(path) == dict(package.files)


@pytest.mark.parametrize(
    "name", ["notes", "web app", "added", "git", "edited", "deleted", "link", "other name",
             "other target"],
)  # fmt: skip
def test_a_folder_of_anything_else_is_left_alone(
    package: Package, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "package"
    path.mkdir()
    if name == "notes":
        (path / "precious.txt").write_text("x")
        reason = "not a package of edgeq"
    elif name == "web app":
        (path / "manifest.json").write_text('{"name": "shop", "icons": []}')
        (path / "index.html").write_text("x")
        reason = "not a package of edgeq"
    elif name.startswith("other"):
        changed = {"name": "rival"} if name == "other name" else {"target": "ios"}
        path.rmdir()
        writing.write_package(sealed_as(package, **changed), path)
        reason = f"is the package of {changed.get('name', 'fashion')} for"
    else:
        writing.write_package(package.files, path)
        if name == "added":
            (path / "NOTES.md").write_text("x")
            reason = r"NOTES\.md does not belong to the package"
        elif name == "git":
            (path / ".git").mkdir()
            (path / ".git" / "HEAD").write_text("x")
            reason = r"\.git/HEAD does not belong to the package"
        elif name == "edited":
            (path / "README.md").write_text("x")
            reason = r"README\.md was changed"
        elif name == "deleted":
            (path / "README.md").unlink()
            reason = r"README\.md is missing"
        else:
            (path / "link").symlink_to(tmp_path)
            reason = "has the link 'link'"
    before = content_of(path)
    with pytest.raises(OutputError, match=reason) as caught:
        writing.write_package(package.files, path)
    assert caught.value.hint == "Remove it, or choose another -o."
    assert content_of(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("kind", ["photos", "web app", "no zip", "other target"])
def test_an_archive_of_anything_else_is_left_alone(
    package: Package, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "p.zip"
    if kind == "no zip":
        path.write_bytes(b"x")
    elif kind == "other target":
        path.write_bytes(archive.write_zip(sealed_as(package, target="ios")))
    else:
        with zipfile.ZipFile(path, "w") as photos:
            photos.writestr("a.jpg", b"x")
            if kind == "web app":
                photos.writestr("manifest.json", json.dumps({"schema": "shop/1"}))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"so it was not replaced"):
        writing.write_package(package.files, path)
    assert path.read_bytes() == before


def test_a_link_stays_and_what_it_points_to_is_written(package: Package, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for link, real in (("link", "real"), ("link.zip", "real.zip")):
        (tmp_path / link).symlink_to(real)
        for _ in range(2):
            writing.write_package(package.files, tmp_path / link)
        assert (tmp_path / link).is_symlink() and (tmp_path / link).readlink() == Path(real)
    assert content_of(tmp_path / "real") == dict(package.files)
    assert (tmp_path / "real.zip").read_bytes() == archive.write_zip(package.files)


@pytest.mark.parametrize(
    ("output", "words"),
    [(".", "is a folder in use"), ("..", "is a folder in use"), ("out.tar.gz", "ends in .gz"),
     ("model.aar", "ends in .aar"), ("missing/p", "Make its folder: mkdir -p "),
     ("missing/p.zip", "There is no folder"), ("n" * 300, "File name too long"),
     ("file", "is a file and not a package"), ("folder.zip", "is a folder and not a package"),
     ("m.tflite.zip", "is the input m.tflite.zip itself"), ("loop", "leads back to itself")],
)  # fmt: skip
def test_a_place_that_takes_no_package_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.tflite.zip").write_bytes(b"x")  # no model at all: nobody looks at it
    Path("file").write_bytes(b"x")
    Path("folder.zip").mkdir()
    Path("loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    arguments = ["package", "m.tflite.zip", "--target", "python", "--name", "m", "-o", output,
                 "--data", str(models.path("fashion_mnist_test.npz"))]  # fmt: skip
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(done.exception, EdgeqError)
    assert re.search(re.escape(words), str(done.exception))
    assert sorted(tmp_path.iterdir()) == before
