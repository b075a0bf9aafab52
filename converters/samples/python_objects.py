"""Python objects as sources: lists, generators, functions, and the data sets of other libraries.

There are two kinds: those with a length whose samples can be had in any order, and those that can
only be read from the beginning. A library's objects are used by what they can do, or by the names
of their types; no library is imported for it.
"""

from __future__ import annotations

import hashlib
import inspect
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any

from edgeq.converters.samples.elements import Reader
from edgeq.converters.samples.input_shapes import Array, begin, quote
from edgeq.converters.samples.kept import Kept, Replay, read_once
from edgeq.converters.samples.libraries import is_of, way_out
from edgeq.converters.samples.sources import Row, Source, require_count, update_digest
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, Preprocessing, TensorSpec
from edgeq.wording import list_some

_PROBED = 16  # samples that are read twice to see whether they change
_MOST_KEPT = 1 << 30  # bytes on the disk
_INFINITE = -1  # cardinality of an endless tf.data.Dataset


class ObjectSource(Source):
    """Samples from Python.

    The digest is that of the samples read so far. If a sample differs when it is read again, an
    issue reports that.

    Args:
        origin: the user's object, which tells two sources apart.
        name: what the user named.
        kind: "function" or "object".
        reader: takes elements apart.
        class_names: that the object states, see `libraries`; unused if it yields no labels.
        length: number of samples, None if only iteration can tell.
    """

    def __init__(
        self, origin: Any, name: str, kind: str, reader: Reader, length: int | None,
        class_names: Sequence[str] = (),
    ):  # fmt: skip
        super().__init__(name=name, kind=kind, count=length)
        self._stated_names = tuple(class_names)
        self._origin = origin
        self._reader = reader
        self._digests: dict[int, bytes] = {}
        self._is_labelled: bool | None = None
        self._changes = False
        self._cut: int | None = None

    @property
    def origin(self) -> Any:
        """The user's object."""
        return self._origin

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Whether samples changed between two passes, and whether not all were read."""
        found = [*self._reader.issues(self.name)]
        if names := self.class_names:
            message = f"{self.name} names the classes 0 to {len(names) - 1}: {list_some(names)}."
            found.append(make_issue("data.class_names", message))
        if self._changes:
            message = (
                f"{self.name} yields other samples each time it is read, so results cannot be "
                "reproduced; switch off shuffling and augmentation, or fix the random seed."
            )
            found.append(make_issue("data.not_repeatable", message))
        if self._cut is not None and self.count is None:
            message = (
                f"{self.name} has more than {self._cut} samples or no end: the first {self._cut} "
                "were taken; --samples takes more."
            )
            found.append(make_issue("data.cut", message))
        return tuple(found)

    def digest(self) -> str:
        """SHA-256 of the samples read so far."""
        digest = hashlib.sha256()
        for index in sorted(self._digests):
            digest.update(f"{index}\0".encode() + self._digests[index])
        return digest.hexdigest()

    def _note(self, row: Row) -> Row:
        """Remember a sample that was read from the object; tell one that is not as before."""
        digest = hashlib.sha256()
        update_digest(digest, row.inputs, row.label)
        found = digest.digest()
        self._changes |= self._digests.setdefault(row.index, found) != found
        if self._is_labelled is None:
            self.has_labels = self._is_labelled = row.label is not None
            self.class_names = self._stated_names if self._is_labelled else ()
        if (row.label is not None) != self._is_labelled:
            have = "have a label" if self._is_labelled else "have none"
            raise DataError(
                f"{begin(row.where)} and sample 0 differ: only one of them has a label.",
                hint=f"Let all samples {have}.",
            )
        most = len(self.class_names)
        if most and isinstance(row.label, (int, float)) and not 0 <= row.label < most:
            raise DataError(
                f"{begin(row.where)} has the label {row.label}, but {self.name} names {most} "
                "classes.",
                hint="Leave out labels that are unknown, or those samples.",
            )
        return row

    def _failure(self, error: Exception, position: int) -> DataError:
        return DataError(
            f"{self.name} failed at sample {position}: {type(error).__name__}: {quote(error)}.",
            details=traceback.format_exc(),
        )

    @abstractmethod
    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order, see `Source.read`."""


class IndexedSource(ObjectSource):
    """A sequence with one sample in each place, read in any order: a list, a map-style data set.

    Samples are kept as they were read first, up to a gigabyte, so that random augmentation does not
    change them between two passes.
    """

    def __init__(
        self, origin: Any, name: str, kind: str, reader: Reader, class_names: Sequence[str] = ()
    ):
        require_count(len(origin), name)
        super().__init__(origin, name, kind, reader, len(origin), class_names)
        self._kept = Kept()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order.

        Raises:
            DataError: the object fails, or yields something that is not a sample.
        """
        for index in self.wanted(indices):
            if index in self._kept:
                yield self._kept.get(index)
                continue
            row = self._note(self._fetch(index))
            if len(self._digests) <= _PROBED:
                self._note(self._fetch(index))
            if self._kept.size < _MOST_KEPT:
                self._kept.put(index, row)
            yield row

    def is_of_single_samples(self) -> bool:
        """Whether the first place holds one sample, rather than a batch of several."""
        return len(self._element(0)) == 1

    def _fetch(self, index: int) -> Row:
        where = f"sample {index} of {self.name}"
        found = self._element(index)
        if len(found) != 1:
            raise DataError(
                f"{begin(where)} is a batch of {len(found)}, but sample 0 is a single sample.",
                hint="Yield single samples or batches, not both.",
            )
        inputs, label = found[0]
        return Row(index, inputs, label, where)

    def _element(self, index: int) -> list[tuple[dict[str, Array], Any]]:
        try:
            element = self.origin[index]
        except Exception as error:
            raise self._failure(error, index) from error
        return self._reader.read(element, f"sample {index} of {self.name}")


class StreamSource(ObjectSource):
    """Something that can only be read from its beginning, of single samples or of batches.

    As soon as a command needs a number of samples for several passes (`settle`), these are read
    once and kept in a temporary file. They are then read a second time to see whether they change.

    Args:
        start: begins a pass.
        is_once: whether `start` repeats what was read once, so that there is nothing to compare.
    """

    def __init__(
        self, start: Callable[[], Iterable[Any]], origin: Any, name: str, kind: str,
        reader: Reader, is_once: bool = False, class_names: Sequence[str] = (),
    ):  # fmt: skip
        super().__init__(origin, name, kind, reader, None, class_names)
        self._start = start
        self._is_once = is_once
        self._rows: Replay | None = None

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order; they end when the object ends.

        Raises:
            DataError: the object fails, yields nothing or has no end, or yields something that is
                not a sample.
        """
        if indices is None and _cardinality(self.origin) == _INFINITE:
            raise DataError(f"{self.name} has no end.", hint="Say how many: --samples 1000")
        wanted = count() if indices is None else iter(indices)
        target, position = next(wanted, None), -1
        if target is None:
            return
        for position, row in enumerate(self._all()):
            if position == target:
                yield row
                target = next(wanted, None)
                if target is None:
                    return
        self.count = position + 1

    def settle(self, limit: int) -> int:
        """Read up to `limit` samples, which later passes repeat; see `Source.settle`."""
        if self.count is None and limit > (self._cut or 0):
            is_first = self._rows is None and not self._is_once
            if is_first:
                self._rows = Replay(self._fresh())
            found = sum(1 for _ in islice(self._all(), limit + 1))
            self.count = found if found <= limit else None
            self._cut = limit if found > limit else None
            again = sum(1 for _ in islice(self._fresh(), found)) if is_first else found
            self._changes |= again < found
        return limit if self.count is None else min(self.count, limit)

    def _all(self) -> Iterable[Row]:
        return self._fresh() if self._rows is None else self._rows

    def _fresh(self) -> Iterator[Row]:
        position = 0
        for element in self._elements():
            where = f"sample {position} of {self.name}"
            for inputs, label in self._reader.read(element, where):
                where = f"sample {position} of {self.name}"
                require_count(position + 1, self.name, "samples or has no end")
                yield self._note(Row(position, inputs, label, where))
                position += 1
        if position == 0:
            raise DataError(f"{self.name} yields no samples.")

    def started(self) -> Any:
        """Begin a pass, and return the object that gives its elements."""
        try:
            return self._start()
        except Exception as error:
            raise self._failure(error, 0) from error

    def _elements(self) -> Iterator[Any]:
        """The elements of a pass; the errors of the object become a DataError."""
        number = 0
        try:
            for element in self._start():
                yield element
                number += 1
        except Exception as error:
            raise self._failure(error, number) from error


# ---------------------------------------------------------------- kinds of objects


def open_object(
    data: Any,
    inputs: Sequence[TensorSpec],
    preprocessing: Sequence[Preprocessing],
    name: str,
    kind: str = "object",
    class_names: Sequence[str] = (),
) -> ObjectSource:
    """Open a sequence or anything that can be iterated.

    Args:
        preprocessing: decides which shapes a raw sample may have.
        kind: as in `DataRef.kind`.
        class_names: that the object states.

    Raises:
        DataError: edgeq cannot read such an object, or it is empty.
    """
    reader = Reader(inputs, preprocessing)
    if isinstance(data, Replay):
        return StreamSource(
            lambda: data, data.origin, name, kind, reader, is_once=True, class_names=class_names
        )
    if _is_sequence(data):
        if len(data) == 0:
            raise DataError(f"{name} holds no samples.")
        source = IndexedSource(data, name, kind, reader, class_names)
        if source.is_of_single_samples():
            return source

        def elements() -> Iterator[Any]:
            return (data[place] for place in range(len(data)))

        return StreamSource(elements, data, name, kind, reader, class_names=class_names)
    if isinstance(data, Iterable) or hasattr(type(data), "__getitem__"):
        return StreamSource(lambda: iter(data), data, name, kind, reader, class_names=class_names)
    raise DataError(
        f"{name} has the type {type(data).__name__}, which edgeq does not read as data.",
        hint=way_out(data)
        or "Give a path, an array, a dict of arrays, a list, a data set of a library, or a "
        "function that yields samples.",
    )


def open_function(
    function: Callable[[], Any],
    inputs: Sequence[TensorSpec],
    preprocessing: Sequence[Preprocessing],
    name: str,
) -> ObjectSource | Any:
    """Open a generator function; from another function, return what it returns.

    Raises:
        DataError: the function fails.
    """
    reader = Reader(inputs, preprocessing)
    source = StreamSource(function, function, name, "function", reader)
    if inspect.isgeneratorfunction(function):
        return source
    found = source.started()
    if not isinstance(found, Iterator):
        return found
    # A function that hands out one iterator again and again cannot be read twice.
    return read_once(found) if source.started() is found else source


def _is_sequence(data: Any) -> bool:
    """Whether it has a length and places; PyTorch's IterableDataset inherits places it lacks."""
    has_both = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return has_both and not is_of(data, "torch", "IterableDataset")


def _cardinality(data: Any) -> int | None:
    """The elements that a `tf.data.Dataset` states, below 0 if unknown; None for others."""
    found = getattr(data, "cardinality", None)
    return int(found()) if is_of(data, "tensorflow", "DatasetV2") and callable(found) else None
