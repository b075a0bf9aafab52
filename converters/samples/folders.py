"""A folder of files as a source, one sample in each: images, `.npy` or `.wav` files.

It is flat, or has a folder for each class.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeq.converters.samples.data_file import unreadable
from edgeq.converters.samples.image_files import IMAGE_SUFFIXES, ImageDecoder
from edgeq.converters.samples.input_shapes import Array
from edgeq.converters.samples.numpy_files import ArrayDecoder
from edgeq.converters.samples.preprocessing import find_preprocessing
from edgeq.converters.samples.sounds.wav_files import SoundDecoder
from edgeq.converters.samples.sources import Row, Source, require_count, require_one_input
from edgeq.errors import DataError
from edgeq.files.reading import read_file
from edgeq.issues import make_issue
from edgeq.values import Issue, Preprocessing, TensorSpec
from edgeq.wording import repeat_option

_MOST_FILE_BYTES = 200_000_000
_DIGEST_BYTES = 32
_OF_MACS = "__MACOSX"  # the hidden files of a Mac, in the archives that it makes


class Decoder(Protocol):
    """From a file's content to a raw sample, with the doubts about the files decoded so far."""

    def decode(self, content: bytes, file: str, name: str) -> Array:
        """Return the sample in a file of the data set `name`."""

    def issues(self, name: str) -> Iterator[Issue]:
        """Doubts about the files decoded so far."""


@dataclass(frozen=True)
class _Kind:
    """A kind of files.

    Attributes:
        name: as in `DataRef.kind`.
        one: what one file is called in messages.
        many: what several are called.
    """

    name: str
    one: str
    many: str
    suffixes: tuple[str, ...]
    decoder: Callable[[TensorSpec, Preprocessing | None], Decoder]


_IMAGES = _Kind("images", "image", "images", IMAGE_SUFFIXES, ImageDecoder)
# In this order: beside images, others count as files that are ignored.
_KINDS = (
    _IMAGES,
    _Kind("arrays", "array", ".npy files", (".npy",), ArrayDecoder),
    _Kind("sounds", "sound", ".wav files", (".wav",), SoundDecoder),
)


@dataclass(frozen=True)
class _Listing:
    """Files of one kind in order, and the position after the last of each class."""

    kind: _Kind
    files: Sequence[str]
    class_names: tuple[str, ...]
    ends: Sequence[int]
    ignored: Sequence[str]

    def label(self, index: int) -> int | None:
        """Number of the class, None in a flat folder."""
        return bisect_right(self.ends, index) if self.class_names else None


class FolderSource(Source):
    """Files in the order of their names, class by class.

    Args:
        folder: that holds them.
        name: what the user named.
        spec: the model input they feed.
        preprocessing: of that input, or None.

    Raises:
        DataError: no samples in it, or a layout that is neither flat nor a folder per class.
    """

    def __init__(
        self, folder: Path, name: str, spec: TensorSpec, preprocessing: Preprocessing | None
    ):
        self._listing = _list_files(folder, name)
        class_names = self._listing.class_names
        super().__init__(
            name=name, kind=self._listing.kind.name, count=len(self._listing.files),
            has_labels=bool(class_names), class_names=class_names,
        )  # fmt: skip
        self._folder = folder
        self._input = spec.name
        self._decoder = self._listing.kind.decoder(spec, preprocessing)
        self._digests = bytearray(len(self._listing.files) * _DIGEST_BYTES)  # of files read so far
        self._doubts = (*_doubts(self._listing, name), *_one_class(self._listing, folder, name))

    @property
    def class_folder(self) -> Path | None:
        """This folder, if its folders are the classes."""
        return self._folder if self.class_names else None

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts about the folder, and about the files decoded so far."""
        return (*self._doubts, *self._decoder.issues(self.name))

    @property
    def files(self) -> Sequence[str]:
        """Paths of the files in the folder, in order, with "/" on every system."""
        return self._listing.files

    def digest(self) -> str:
        """SHA-256 of the sorted relative names and digests of the files."""
        digest = hashlib.sha256()
        for index, file in enumerate(self._listing.files):
            content_digest = self._read(index)[1]
            digest.update(os.fsencode(file) + b"\0" + content_digest.hex().encode() + b"\n")
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order; one file is decoded at a time."""
        for index in self.wanted(indices):
            file = self._listing.files[index]
            sample = self._decoder.decode(self._read(index)[0], file, self.name)
            where = f"{self._listing.kind.one} {file}"
            yield Row(index, {self._input: sample}, self._listing.label(index), where)

    def _read(self, index: int) -> tuple[bytes, bytes]:
        """A file's content and its digest, which must be the same in each pass."""
        file = self._listing.files[index]
        where = f"{self._listing.kind.one.capitalize()} {file} of {self.name}"
        try:
            content = read_file(self._folder / file, _MOST_FILE_BYTES)
        except OSError as error:
            raise unreadable(where, error) from error
        found = hashlib.sha256(content).digest()
        place = slice(index * _DIGEST_BYTES, (index + 1) * _DIGEST_BYTES)
        if any(self._digests[place]) and self._digests[place] != found:
            raise DataError(
                f"{where} changed while edgeq read the folder.",
                hint="Run the command again when nothing writes to it.",
            )
        self._digests[place] = found
        return content, found


def open_folder(
    folder: Path, inputs: Sequence[TensorSpec], name: str, preprocessing: Sequence[Preprocessing]
) -> FolderSource:
    """Open a folder of files for a model with one input.

    Raises:
        DataError: several inputs, no samples, or an unclear layout.
    """
    spec = require_one_input(inputs, f"{name} is a folder of samples and")
    return FolderSource(folder, name, spec, find_preprocessing(preprocessing, spec.name))


def _list_files(folder: Path, name: str) -> _Listing:
    """List the samples of a folder, or of its folders."""
    folders, files, others = _scan(folder, name, 0)
    by_folder = {"": files}
    seen = len(folders) + len(files) + len(others)
    for class_name in folders:
        inner, found, rest = _scan(folder / class_name, name, seen)
        if inner and not _kinds_of(files):
            raise DataError(
                f"Class folder {class_name}/ of {name} holds a folder itself: {inner[0]}/.",
                hint="Name the folder whose folders are the classes.",
            )
        seen += len(found) + len(rest)
        others += rest
        by_folder[class_name] = [f"{class_name}/{file}" for file in found]
    kinds = _kinds_of([file for found in by_folder.values() for file in found])
    if not kinds:
        shown = ", ".join(suffix for kind in _KINDS for suffix in kind.suffixes)
        raise DataError(
            f"{name} holds no images, .npy or .wav files.", hint=f"Looked for {shown} files."
        )
    if len(kinds) > 1 and _IMAGES not in kinds:
        shown = " and ".join(kind.many for kind in kinds)
        raise DataError(f"{name} holds {shown}.", hint="Keep the samples in a separate folder.")
    kind = kinds[0]
    taken = {place: _only(kind, found) for place, found in by_folder.items()}
    if taken[""] and folders:
        raise DataError(
            f"{name} holds both {kind.many} and folders, e.g. {taken[''][0]} and {folders[0]}/.",
            hint=f"Keep either {kind.many} only, or one folder of {kind.many} per class.",
        )
    if len(folders) == 1:
        raise DataError(
            f"{name} holds a single class folder, {folders[0]}/.",
            hint=f"For {kind.many} without labels name that folder: "
            + repeat_option("--data", [f"{name}/{folders[0]}"]),
        )
    chosen, ends = list(taken[""]), []
    for class_name in folders:
        chosen += taken[class_name]
        ends.append(len(chosen))
    for found in by_folder.values():
        others += [file for file in found if not file.lower().endswith(kind.suffixes)]
    return _Listing(kind, chosen, tuple(folders), ends, others)


def _only(kind: _Kind, files: Sequence[str]) -> list[str]:
    return [file for file in files if file.lower().endswith(kind.suffixes)]


def _kinds_of(files: Sequence[str]) -> list[_Kind]:
    return [kind for kind in _KINDS if _only(kind, files)]


def _scan(folder: Path, name: str, seen: int) -> tuple[list[str], list[str], list[str]]:
    """The names of the folders, of the regular files and of others in a folder, sorted."""
    folders: list[str] = []
    files: list[str] = []
    others: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == _OF_MACS:
                    continue
                seen += 1
                require_count(seen, name, "files or more")
                if _is(entry.is_dir):
                    folders.append(entry.name)
                else:
                    (files if _is(entry.is_file) else others).append(entry.name)
    except OSError as error:
        raise unreadable(str(folder), error) from error
    return sorted(folders), sorted(files), sorted(others)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads to itself
        return False


def _doubts(listing: _Listing, name: str) -> Iterator[Issue]:
    if listing.ignored:
        message = (
            f"{len(listing.ignored)} files of {name} are not {listing.kind.many}, "
            f"e.g. {listing.ignored[0]}."
        )
        yield make_issue("data.files_ignored", message)
    if all(text.isdecimal() for text in listing.class_names):
        for label, text in enumerate(listing.class_names):
            if int(text) != label:  # 10 comes before 2
                message = (
                    f"The class folders of {name} are numbers sorted as text, as keras sorts them: "
                    f"{text!r} has label {label}."
                )
                yield make_issue("data.class_order", message)
                return


def _one_class(listing: _Listing, folder: Path, name: str) -> Iterator[Issue]:
    """Ask whether a flat folder is one class, if all that is beside it are such folders."""
    folder = folder.resolve()
    if listing.class_names or folder == folder.parent:
        return
    try:
        beside = sorted(path for path in folder.parent.iterdir() if not path.name.startswith("."))
        are_alike = all(_holds_only(path, listing.kind) for path in beside)
    except OSError:  # what is beside the data need not be readable
        return
    if len(beside) > 1 and are_alike:
        message = (
            f"{name} has no class folders, and the folders beside it hold {listing.kind.many}, "
            f"too: one class only? Name its parent folder {folder.parent.name!r} for all classes."
        )
        yield make_issue("data.one_class", message)


def _holds_only(folder: Path, kind: _Kind) -> bool:
    """Whether a folder holds no folders, and begins with a sample."""
    with os.scandir(folder) as entries:
        first = next((entry for entry in entries if not entry.name.startswith(".")), None)
        return first is not None and first.is_file() and bool(_only(kind, [first.name]))
