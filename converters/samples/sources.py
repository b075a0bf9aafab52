"""The base class of all sources of samples, and the simplest source: arrays in memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.samples.data_file import DataFile
from edgeq.converters.samples.input_shapes import Array
from edgeq.errors import DataError
from edgeq.values import Issue, TensorSpec

# Limits of one source, so that no file, however well it is compressed, takes hours or all memory.
# Each step of the preparation copies a sample.
MAX_SAMPLES = 5_000_000
MAX_SAMPLE_BYTES = 300_000_000
MAX_LABEL_BYTES = 32_000_000
MAX_CLASSES = 100_000
MAX_CLASS_NAME = 1_000
LABEL_NAMES = ("y", "label", "labels")  # of labels, unless it is an input's name
_LARGEST_LABEL = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Row:
    """One raw sample.

    Attributes:
        index: position in the source, from 0.
        inputs: by model input name, without batch dimension, as stored.
        label: number, array or None.
        where: names it in messages, e.g. "sample 3 of x.npz".
    """

    index: int
    inputs: Mapping[str, Array]
    label: Any
    where: str


@dataclass(eq=False, kw_only=True)
class Source(ABC):
    """A set of samples that can be read any number of times, a row in memory at a time.

    Attributes:
        name: what the user named.
        kind: as in `DataRef.kind`.
        count: number of samples, None when only iteration can tell.
        has_labels: whether every row carries a label.
        class_names: name of each label, empty when labels are plain numbers.
    """

    name: str
    kind: str
    count: int | None
    has_labels: bool = False
    class_names: tuple[str, ...] = ()

    @property
    def class_folder(self) -> Path | None:
        """The folder whose folders are the classes; None if labels are from elsewhere."""
        return None

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts found so far."""
        return ()

    @property
    def origin(self) -> Any:
        """The user's object, if samples come from one: its digest covers only what was read."""
        return None

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content."""

    def digest_of_samples(self) -> str | None:
        """SHA-256 without labels from elsewhere; None without such labels."""
        return None

    @abstractmethod
    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order: all, or those at strictly increasing indices."""

    def settle(self, limit: int) -> int:
        """Find out how many samples there are, at most `limit`; later passes will give the same.

        Raises:
            DataError: a sample is unreadable.
        """
        assert self.count is not None
        return min(self.count, limit)

    def wanted(self, indices: Sequence[int] | None) -> Sequence[int]:
        """The indices, or those of all samples."""
        assert self.count is not None
        return range(self.count) if indices is None else indices


@dataclass(eq=False, kw_only=True)
class FileSource(Source):
    """Samples of one file, which is read again for every pass."""

    file: DataFile

    def digest(self) -> str:
        """SHA-256 of the file."""
        return self.file.digest()


def plain_label(value: Any) -> Any:
    """A label as int, float or bool where it is a single number, otherwise as an array."""
    array = np.asarray(value)
    return array.item() if array.size == 1 else array


def require_labels(dtype: np.dtype[Any], found: int, count: int, name: str) -> None:
    """Check that labels are numbers or texts, and as many as there are samples.

    Raises:
        DataError: they are not.
    """
    if dtype.kind not in "fiubUS":
        raise DataError(f"The labels of {name} are {dtype} values, not numbers or texts.")
    if found != count:
        raise DataError(
            f"{name} has {count} samples and {found} labels.", hint="Store one label per sample."
        )


def read_text(value: Array, name: str) -> str:
    """The text of one label.

    Raises:
        DataError: it is several texts, or its bytes are not UTF-8.
    """
    if value.size != 1:
        raise DataError(f"A label of {name} is {value.size} texts.", hint="Store one per sample.")
    text = value.item()
    try:
        return text.decode() if isinstance(text, bytes) else str(text)
    except UnicodeDecodeError as error:
        raise DataError(
            f"A label of {name} is not UTF-8 text: {text[:80]!r}.", hint="Store texts or numbers."
        ) from error


def code_texts(texts: Iterable[str], name: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Number the labels that are texts.

    Returns:
        Text to number, and the names of the classes: digits become the number that they state,
        without names; other texts are numbered in sorted order.

    Raises:
        DataError: there are too many different texts to be classes, or a number is too large.
    """
    distinct = set()
    for text in texts:
        distinct.add(text)
        if len(text) > MAX_CLASS_NAME or len(distinct) > MAX_CLASSES:
            raise DataError(
                f"The labels of {name} are texts of up to {max(map(len, distinct)):,} characters "
                f"and at least {len(distinct):,} different ones; edgeq takes {MAX_CLASSES:,} "
                f"classes with names of {MAX_CLASS_NAME:,} characters.",
                hint="Store labels as numbers.",
            )
    names = sorted(distinct)
    if not all(text.isdecimal() for text in names):
        return {text: number for number, text in enumerate(names)}, tuple(names)
    numbers = {text: int(text) for text in names}
    if max(numbers.values(), default=0) > _LARGEST_LABEL:
        raise DataError(
            f"The labels of {name} hold the number {max(numbers.values())}, which 64 bits cannot "
            "hold.",
            hint="Store the index of the class.",
        )
    return numbers, ()


def find_label(found: Sequence[str], inputs: Sequence[str], where: str) -> str | None:
    """The name in the data that holds labels, None without one.

    Args:
        found: names in the data.
        inputs: names of the model's inputs.
        where: names the data in messages.

    Raises:
        DataError: there are several.
    """
    own = [name for name in LABEL_NAMES if name in found and name not in inputs]
    if len(own) > 1:
        shown = " and ".join(map(repr, own))
        raise DataError(f"{where} has several labels, {shown}.", hint="Keep one.")
    return own[0] if own else None


def match_names(
    found: Sequence[str], inputs: Sequence[TensorSpec], where: str
) -> tuple[dict[str, str], str | None]:
    """Match stored names to inputs, by name and never by position.

    Args:
        found: names in the data.
        inputs: the model's; a single one may also be stored as "x".
        where: names the data in messages.

    Returns:
        Input name to stored name, and the name that holds labels, if any.

    Raises:
        DataError: a name is missing or unknown.
    """
    wanted = [spec.name for spec in inputs]
    label = find_label(found, wanted, where)
    others = [name for name in found if name != label]
    if set(others) == set(wanted):
        return {name: name for name in wanted}, label
    if len(wanted) == 1 and others == ["x"]:
        return {wanted[0]: "x"}, label
    shown = _show_names(found)
    if len(wanted) == 1:
        message = f"{where} holds {shown}, but the model's input is {wanted[0]!r}."
        hint = f"Name the array of samples 'x' or {wanted[0]!r}, labels 'y', and leave out others."
        raise DataError(message, hint=hint)
    raise DataError(
        f"{where} holds {shown}, but the model's inputs are {', '.join(map(repr, wanted))}.",
        hint="Name one array after each input, labels 'y', and leave out others.",
    )


def _show_names(names: Sequence[str]) -> str:
    """The first few, shortened: a file may hold any number of names, of any length."""
    texts = map(str, names[:8])
    shown = [repr(text if len(text) <= 60 else f"{text[:57]}...") for text in texts]
    rest = [f"{len(names) - 8:,} more"] if len(names) > 8 else []
    return ", ".join(shown + rest) or "nothing"


def require_one_input(inputs: Sequence[TensorSpec], what: str) -> TensorSpec:
    """The only input.

    Raises:
        DataError: the model has several, and `what` cannot name them.
    """
    if len(inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{what} feeds one input, but the model has {len(inputs)}: {names}.",
            hint="Give an .npz file with one array per input, named after it.",
        )
    return inputs[0]


def count_rows(lengths: Mapping[str, int], name: str) -> int:
    """The number of samples, which must be the same for all inputs.

    Raises:
        DataError: inputs differ in length, or there is no sample.
    """
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key!r} has {length}" for key, length in lengths.items())
        raise DataError(f"The inputs in {name} differ in number of samples: {shown}.")
    count = next(iter(lengths.values()))
    if count == 0:
        raise DataError(f"{name} holds no samples.")
    require_count(count, name)
    return count


def require_size(values: int, itemsize: int, where: str) -> None:
    """Raise a DataError when a sample would take too much memory.

    Args:
        values: of the sample.
        itemsize: bytes of each; at least 4 are counted, as of float32.
        where: names it at the beginning of the message.
    """
    size = values * max(itemsize, 4)
    if size > MAX_SAMPLE_BYTES:
        raise DataError(
            f"{where} takes {size:,} bytes of memory; edgeq takes at most {MAX_SAMPLE_BYTES:,}.",
            hint="Make the samples smaller beforehand, e.g. resize images.",
        )


def require_count(count: int, name: str, what: str = "samples") -> None:
    """Raise a DataError when there are more samples than edgeq can choose from in seconds."""
    if count > MAX_SAMPLES:
        raise DataError(
            f"{name} holds {count:,} {what}; edgeq takes at most {MAX_SAMPLES:,}.",
            hint="Give fewer: a few hundred calibrate, a few thousand measure the accuracy.",
        )


# ---------------------------------------------------------------- arrays


@dataclass(eq=False, kw_only=True)
class ArraySource(Source):
    """Arrays in memory by input name, samples along the first axis."""

    arrays: Mapping[str, Array]
    labels: Array | None

    def digest(self) -> str:
        """SHA-256 of names, dtypes, shapes and values."""
        digest = hashlib.sha256()
        for row in self.read(None):
            update_digest(digest, row.inputs, row.label)
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order, see `Source.read`."""
        for index in self.wanted(indices):
            inputs = {name: array[index] for name, array in self.arrays.items()}
            label = None if self.labels is None else plain_label(self.labels[index])
            yield Row(index, inputs, label, f"sample {index} of {self.name}")


def update_digest(digest: Any, inputs: Mapping[str, Array], label: Any) -> None:
    """Add one sample's names, dtypes, shapes, values and label to a hash."""
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    if label is not None:
        array = np.ascontiguousarray(label)
        digest.update(f"y\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())


def open_arrays(
    arrays: Mapping[str, Array], inputs: Sequence[TensorSpec], name: str = "<arrays>"
) -> ArraySource:
    """Open arrays given from Python, named as in an `.npz`.

    Raises:
        DataError: names or lengths do not match, or a value is not an array of samples.
    """
    members, label = match_names(list(arrays), inputs, name)
    columns = {key: arrays[stored] for key, stored in members.items()}
    for key, column in columns.items():
        if not isinstance(column, np.ndarray) or column.ndim == 0:
            raise DataError(f"{key!r} in {name} is not an array of samples: {type(column)}.")
    count = count_rows({key: len(column) for key, column in columns.items()}, name)
    source = ArraySource(name=name, kind="arrays", count=count, arrays=columns, labels=None)
    if label is None:
        return source
    labels = np.asarray(arrays[label])
    require_labels(labels.dtype, len(labels) if labels.ndim else 0, count, name)
    class_names: tuple[str, ...] = ()
    if labels.dtype.kind in "US":
        texts = [read_text(value, name) for value in labels.reshape(count, -1)]
        numbers, class_names = code_texts(texts, name)
        labels = np.array([numbers[text] for text in texts], np.int64)
    return replace(source, labels=labels, has_labels=True, class_names=class_names)
