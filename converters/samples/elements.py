"""An element of a Python data set as samples: what is a label, which input, one or a batch.

| element | is |
|---|---|
| `x`, `[x]`, `(x,)` | the only input |
| `{"name": x}`, a named tuple, `("signature", {...})` | inputs by name, also `y` or `label` |
| a table of pandas, Polars or PyArrow | inputs by column, as of a CSV file |
| `(x, y)`, `[x, y]` | a sample and its label; x is any of the above |
| `[x1, x2]` for two inputs | refused: nothing says which is which |

Whether `x` is one sample or a batch is seen from the model's input shape. A library's objects are
recognised by the names of their types, so that no library is imported for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from edgeq.converters.samples.image_files import ImageDecoder
from edgeq.converters.samples.input_shapes import Array, begin, image_shape, show_shape
from edgeq.converters.samples.libraries import as_array, is_tensor, require_numbers
from edgeq.converters.samples.preprocessing import find_preprocessing
from edgeq.converters.samples.sources import match_names, plain_label
from edgeq.converters.samples.tables import is_table, read_table
from edgeq.errors import DataError
from edgeq.values import Issue, Preprocessing, TensorSpec

_Shape = tuple[int, ...]


class Reader:
    """Takes elements apart for one model.

    Args:
        inputs: the model's.
        preprocessing: decides which shapes a raw sample may have.
    """

    def __init__(self, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing]):
        self._inputs = {spec.name: spec for spec in inputs}
        self._declared = {name: find_preprocessing(preprocessing, name) for name in self._inputs}
        self._images = {
            name: ImageDecoder(spec, self._declared[name]) for name, spec in self._inputs.items()
        }

    def issues(self, name: str) -> Iterator[Issue]:
        """Doubts about the elements so far.

        Args:
            name: of the data set.
        """
        for images in self._images.values():
            yield from images.issues(name)

    def read(self, element: Any, where: str) -> list[tuple[dict[str, Array], Any]]:
        """Return the samples of an element, inputs by name, each with its label or None.

        Args:
            where: names the element in messages.

        Raises:
            DataError: it is not clear which part is which input, or a part is not an array.
        """
        fields, label = self._divide(element, where)
        columns, batched = {}, {}
        for name, value in fields.items():
            columns[name], batched[name] = self._rows(name, value, where)
        if len(set(batched.values())) > 1:
            shown = ", ".join(
                f"{name!r} is {'a batch' if batched[name] else 'one sample'}" for name in batched
            )
            raise DataError(f"The inputs of {where} disagree: {shown}.")
        lengths = {name: len(rows) for name, rows in columns.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} has {count}" for name, count in lengths.items())
            raise DataError(f"The inputs of {where} differ in number of samples: {shown}.")
        count, is_batch = next(iter(lengths.values())), next(iter(batched.values()))
        labels = _labels(label, count if is_batch else None, where)
        rows = [{name: column[i] for name, column in columns.items()} for i in range(count)]
        return list(zip(rows, labels, strict=True))

    def _divide(self, element: Any, where: str) -> tuple[dict[str, Any], Any]:
        """The value of each input, and the label or None."""
        if hasattr(element, "_fields") and hasattr(element, "_asdict"):
            element = element._asdict()
        if isinstance(element, Mapping):
            return self._by_name(element, where)
        if is_table(element):
            return read_table(element, [*self._inputs.values()], where)
        if not _is_structure(element):
            return {self._only(where, "one array").name: element}, None
        kind = "tuple" if isinstance(element, tuple) else "list"
        if len(element) == 1:
            return self._divide(element[0], where)
        if len(element) == 2 and isinstance(element[0], str) and isinstance(element[1], Mapping):
            return self._divide(
                element[1], where
            )  # a signature's name, as TFLiteConverter takes it
        if len(element) == 2 and (len(self._inputs) == 1 or isinstance(element[0], Mapping)):
            fields, label = self._divide(element[0], where)
            if label is not None:
                raise DataError(f"{begin(where)} has two labels: one by name, one in the pair.")
            return fields, element[1]
        self._only(where, f"a {kind} of {len(element)}")
        raise DataError(
            f"{begin(where)} is a {kind} of {len(element)}.",
            hint="Yield a sample, or a (sample, label) pair; several inputs as a dict.",
        )

    def _only(self, where: str, what: str) -> TensorSpec:
        """The only input; several need names."""
        if len(self._inputs) > 1:
            wanted = ", ".join(map(repr, self._inputs))
            raise DataError(
                f"{begin(where)} is {what}, but the model's inputs are {wanted}.",
                hint="Yield a dict with one array per input, by name.",
            )
        return next(iter(self._inputs.values()))

    def _by_name(self, element: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Any]:
        names, label = match_names(list(element), [*self._inputs.values()], begin(where))
        fields = {name: element[key] for name, key in names.items()}
        return fields, None if label is None else element[label]

    def _rows(self, name: str, value: Any, where: str) -> tuple[list[Array], bool]:
        """The samples of one input in an element, and whether they are a batch."""
        spec, images = self._inputs[name], self._images[name]
        if isinstance(value, Image.Image):
            return [images.pixels(value, where, where)], False
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Image.Image):
            return [
                images.pixels(image, where, f"{where}, image {number}")
                for number, image in enumerate(value)
            ], True
        if isinstance(value, (list, tuple)) and any(map(is_tensor, value)):
            parts = [as_array(part, where) for part in value]
            if len({part.shape for part in parts}) > 1:
                return parts, True  # of different sizes
            value = np.stack(parts)
        array = require_numbers(as_array(value, where), where)
        is_batch = bool(spec.shape) and _is_batch(array.shape, self._shapes(spec))
        return (list(array) if is_batch else [array]), is_batch

    def _shapes(self, spec: TensorSpec) -> list[_Shape]:
        """The shapes that a raw sample may have; -1 where any size does."""
        shape = spec.shape[1:]
        how, image = self._declared[spec.name], image_shape(spec)
        if how is not None and how.sound is not None:
            return [(-1,)]
        if how is None or image is None:
            return [shape]
        sizes = image[:2] if how.resize is None else (-1, -1)
        if how.channels == "gray":
            return [(*sizes, 1), (*sizes, 3), sizes]
        return [(*sizes, image[2]), *([sizes] if image[2] == 1 else [])]


def _is_structure(element: Any) -> bool:
    """Whether a tuple or list holds arrays; a list of numbers or of lists is one array itself."""
    if isinstance(element, tuple):
        return bool(element)
    return isinstance(element, list) and any(
        isinstance(part, (Mapping, tuple, Image.Image)) or (is_tensor(part) and len(part.shape))
        for part in element
    )


def _is_batch(shape: _Shape, samples: Sequence[_Shape]) -> bool:
    """Whether an array of this shape holds several samples rather than one.

    If a shape fits neither, its rank decides, and `fit` will name the difference.
    """

    def fits(found: _Shape) -> bool:
        return any(
            len(found) == len(own)
            and all(want in (-1, size) for want, size in zip(own, found, strict=True))
            for own in samples
        )

    def nearly(found: _Shape) -> bool:
        return any(_without_ones(found) == _without_ones(own) for own in samples)

    for alike in (fits, nearly):
        if alike(shape):
            return False
        if shape and alike(shape[1:]):
            return True
    return len(shape) == len(samples[0]) + 1


def _without_ones(shape: _Shape) -> _Shape:
    return tuple(size for size in shape if size != 1)


def _labels(label: Any, count: int | None, where: str) -> Iterator[Any]:
    """The label of each sample; `count` is None for a single sample."""
    if label is None:
        return iter([None] * (1 if count is None else count))
    array = as_array(label, f"the label of {where}")
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"The label of {where} is {array.tolist()!r:.80}, not a number.",
            hint="Yield the index of the class.",
        )
    if count is None or (count == 1 and array.shape[:1] != (1,)):
        return iter([plain_label(array)])
    if array.shape[:1] != (count,):
        raise DataError(
            f"{begin(where)} has {count} samples, but its labels are {show_shape(array.shape)}.",
            hint="Yield one label per sample.",
        )
    return map(plain_label, array)
