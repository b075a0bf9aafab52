"""Find the source that reads given data: a path, arrays, a Python object, or its reference."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from edgeq.converters.samples.folders import open_folder
from edgeq.converters.samples.input_shapes import Array, quote, sample_shape, show_shape
from edgeq.converters.samples.kept import read_once
from edgeq.converters.samples.label_files import LabelledData, relabel
from edgeq.converters.samples.libraries import (
    as_array,
    find_stated_names,
    is_info,
    is_of,
    is_tensor,
)
from edgeq.converters.samples.numpy_files import open_npy, open_npz
from edgeq.converters.samples.python_objects import open_function, open_object
from edgeq.converters.samples.references import is_function_reference, load_reference
from edgeq.converters.samples.sources import Source, find_label, open_arrays
from edgeq.converters.samples.tables import is_table, open_table, read_table
from edgeq.errors import DataError, nearest_path
from edgeq.values import Preprocessing, TensorSpec

SourceLike = (
    str | Path | Mapping[str, Array] | Array | LabelledData | Iterable[Any] | Callable[[], Any]
)

_FILE_OPENERS: dict[str, Callable[[Path, Sequence[TensorSpec], str], Source]] = {
    ".csv": open_table,
    ".npy": open_npy,
    ".npz": open_npz,
}
_KNOWN_SOURCES = (
    "Known: .npz, .npy and .csv files, a folder of images, .npy or .wav files, "
    "package.module:function."
)


def open_source(
    data: Any,
    inputs: Sequence[TensorSpec],
    preprocessing: Sequence[Preprocessing],
    name: str | None = None,
) -> Source:
    """Open data of any kind.

    Args:
        data: see `open_samples`.
        name: the function or reference that gave the data, None for data as it was passed.

    Raises:
        DataError: the data is missing or unreadable, or edgeq does not know such an object.
    """
    if not inputs:
        raise DataError("The model has no inputs, so it takes no samples.")
    if isinstance(data, LabelledData):
        inner = open_source(data.data, inputs, preprocessing)
        return relabel(inner, data.labels, inputs, preprocessing)
    if isinstance(data, (str, Path)):
        return _open_named(data, inputs, preprocessing)
    own = [spec.name for spec in inputs]
    class_names = find_stated_names(data, own, name or _describe(data))
    data = _unpack(read_once(data), name or _describe(data))
    if _holds_pictures(data):
        data = [data]
    if isinstance(data, Mapping) or is_tensor(data) or is_table(data) or _is_pair(data):
        return open_arrays(_by_name(data, inputs), inputs, name or "<arrays>")
    if callable(data) and not isinstance(data, Iterable):
        named = name or str(getattr(data, "__qualname__", type(data).__name__))
        found = open_function(data, inputs, preprocessing, named)
        if isinstance(found, Source):
            return found
        return open_source(found, inputs, preprocessing, named)
    kind = "object" if name is None else "function"
    class_names = class_names or find_stated_names(data, own, name or _describe(data))
    return open_object(data, inputs, preprocessing, name or _describe(data), kind, class_names)


def _open_named(
    source: str | Path, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing]
) -> Source:
    path, name = Path(source), str(source)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError as error:
        if is_function_reference(name):
            return open_source(load_reference(name), inputs, preprocessing, name)
        raise DataError(
            f"There is no file or folder {name}.", hint=f"{nearest_path(path)}{_KNOWN_SOURCES}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError for a name with a zero in it
        raise DataError(f"{name!r} cannot be read: {quote(error)}.", hint=_KNOWN_SOURCES) from error
    name = name.replace(os.sep, "/")  # records have slashes, also on Windows
    if is_folder:
        return open_folder(path, inputs, name, preprocessing)
    opener = _FILE_OPENERS.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{name} is not a kind of data edgeq reads.", hint=_KNOWN_SOURCES)
    return opener(path, inputs, name)


# ---------------------------------------------------------------- Python objects


def _describe(data: Any) -> str:
    """A name for an object in messages and records."""
    origin = getattr(data, "origin", data)
    kind = "tf.data.Dataset" if is_of(origin, "tensorflow", "DatasetV2") else type(origin).__name__
    return f"<{kind}>"


def _unpack(data: Any, name: str) -> Any:
    """Take data out of what other libraries pack it in.

    Raises:
        DataError: there are several data sets in it.
    """
    if is_of(data, "tensorflow", "RepresentativeDataset"):
        return data.input_gen
    if is_of(data, "tensorflow_datasets", "DatasetBuilder"):
        names = list(data.info.splits)
        _require_one(names, name, f"as_dataset(split={names[0]!r})" if names else "data[name]")
        return data.as_dataset(split=names[0], shuffle_files=False)
    if isinstance(data, (tuple, list)) and len(data) == 2 and is_info(data[1]):
        return _unpack(data[0], name)
    if isinstance(data, Mapping) and _are_data_sets([*data.values()]):
        _require_one([*data], name, "data[name]")
        return next(iter(data.values()))
    if isinstance(data, (tuple, list)) and _are_data_sets(data):
        _require_one(range(len(data)), name, "data[0]")
        return data[0]
    return data


def _require_one(names: Sequence[Any], name: str, shown: str) -> None:
    if len(names) != 1:
        raise DataError(
            f"{name} holds {len(names)} data sets: {', '.join(map(repr, names)) or 'none'}.",
            hint=f"Give one of them: {shown}.",
        )


def _are_data_sets(values: Sequence[Any]) -> bool:
    """Whether they are those of a DatasetDict, or what `tensorflow_datasets` gives for splits."""
    return bool(values) and all(
        is_of(value, "datasets", "Dataset", "IterableDataset")
        or is_of(value, "tensorflow", "DatasetV2")
        or is_of(value, "tensorflow_datasets", "_IterableDataset", "BaseDataSource")
        for value in values
    )


def _holds_pictures(data: Any) -> bool:
    """Whether it is a dict with lists of Pillow images, as a slice of a Hugging Face data set."""
    return isinstance(data, Mapping) and any(
        isinstance(value, (list, tuple)) and value and isinstance(value[0], Image.Image)
        for value in data.values()
    )


def _is_pair(data: Any) -> bool:
    """Whether it is (x, y): all samples and all labels, which may be a list."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    samples, labels = data
    is_many = is_table(samples) or isinstance(samples, Mapping) or len(_shape(samples)) > 1
    is_plain = isinstance(labels, list) and all(isinstance(one, (int, float)) for one in labels)
    return is_tensor(labels) or (is_many and is_plain)


def _shape(value: Any) -> Sequence[int]:
    return value.shape if is_tensor(value) else ()


def _by_name(data: Any, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Arrays of all samples by name, labels as "y"."""
    if isinstance(data, tuple):
        if len(inputs) > 1 and is_tensor(data[0]) and not is_table(data[0]):
            _refuse_order(f"a tuple of {len(data)}", inputs)
        if is_tensor(data[0]) and not is_table(data[0]):
            _refuse_exchanged(_shape(data[0]), _shape(data[1]), inputs[0])
        found = _by_name(data[0], inputs)
        label = find_label([*found], [spec.name for spec in inputs], "The data")
        if label is not None:
            raise DataError(
                f"The data has two labels: {label!r}, and those beside it.", hint="Keep one."
            )
        return {**found, "y": as_array(data[1], "the labels")}
    if isinstance(data, Mapping):
        return {key: as_array(value, f"{key!r} of the data") for key, value in data.items()}
    if is_table(data):
        arrays, labels = read_table(data, inputs, f"the {type(data).__name__}")
        return arrays if labels is None else {**arrays, "y": labels}
    if len(inputs) > 1:
        _refuse_order("one array", inputs)
    return {inputs[0].name: as_array(data, "the data")}


def _refuse_exchanged(first: Sequence[int], second: Sequence[int], spec: TensorSpec) -> None:
    """Raise a DataError for (y, x): flat labels first, and arrays of the input's size second."""
    wanted = sample_shape(spec)
    is_flat = len(first) <= 2 and len(first) < len(second)
    if is_flat and math.prod(first[1:]) != math.prod(wanted) == math.prod(second[1:]):
        raise DataError(
            f"The data is a pair whose second array has the samples: input {spec.name!r} takes "
            f"{show_shape(wanted)}.",
            hint="Exchange them: data=(x, y).",
        )


def _refuse_order(what: str, inputs: Sequence[TensorSpec]) -> NoReturn:
    wanted = ", ".join(repr(spec.name) for spec in inputs)
    raise DataError(
        f"The data is {what}, but the model's inputs are {wanted}.",
        hint="Give a dict with one array per input, by name.",
    )
