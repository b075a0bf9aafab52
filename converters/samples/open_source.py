"""Find the source that reads given data: a path, arrays, a Python object, or its reference."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeq.converters.samples.csv_files import open_table
from edgeq.converters.samples.elements import as_array, is_of, is_tensor
from edgeq.converters.samples.folders import open_folder
from edgeq.converters.samples.input_shapes import Array, quote
from edgeq.converters.samples.kept import read_once
from edgeq.converters.samples.label_files import LabelledData, relabel
from edgeq.converters.samples.numpy_files import open_npy, open_npz
from edgeq.converters.samples.python_objects import open_function, open_object
from edgeq.converters.samples.references import is_function_reference, load_reference
from edgeq.converters.samples.sources import Source, open_arrays
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
    data = read_once(data)
    data = _unpack(data, name or _describe(data))
    if isinstance(data, Mapping) or is_tensor(data) or _is_pair(data):
        return open_arrays(_by_name(data, inputs), inputs, name or "<arrays>")
    if callable(data) and not isinstance(data, Iterable):
        own = str(getattr(data, "__qualname__", type(data).__name__))
        found = open_function(data, inputs, preprocessing, name or own)
        if isinstance(found, Source):
            return found
        return open_source(found, inputs, preprocessing, name or own)
    kind = "object" if name is None else "function"
    return open_object(data, inputs, preprocessing, name or _describe(data), kind)


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
    is_builder = is_of(data, "tensorflow_datasets", "DatasetBuilder")
    if not is_builder and not (isinstance(data, Mapping) and _holds_data_sets(data)):
        return data
    splits = list(data.info.splits if is_builder else data)
    if len(splits) != 1:
        shown = f"as_dataset(split={splits[0]!r})" if is_builder and splits else "data[name]"
        raise DataError(
            f"{name} holds {len(splits)} data sets: {', '.join(map(repr, splits)) or 'none'}.",
            hint=f"Give one of them: {shown}.",
        )
    if not is_builder:
        return data[splits[0]]
    return data.as_dataset(split=splits[0], shuffle_files=False)


def _holds_data_sets(data: Mapping[str, Any]) -> bool:
    """Whether it is a DatasetDict, or what `tensorflow_datasets.load` returns without a split."""
    return bool(data) and all(
        is_of(value, "datasets", "Dataset", "IterableDataset")
        or is_of(value, "tensorflow", "DatasetV2")
        for value in data.values()
    )


def _is_pair(data: Any) -> bool:
    """Whether it is (x, y): all samples and all labels."""
    return isinstance(data, tuple) and len(data) == 2 and is_tensor(data[1])


def _by_name(data: Any, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Arrays of all samples by name, labels as "y"."""
    if isinstance(data, tuple):
        return {**_by_name(data[0], inputs), "y": as_array(data[1], "the labels")}
    if isinstance(data, Mapping):
        return {key: as_array(value, f"{key!r} of the data") for key, value in data.items()}
    if len(inputs) > 1:
        wanted = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"The data is one array, but the model's inputs are {wanted}.",
            hint="Give a dict with one array per input, by name.",
        )
    return {inputs[0].name: as_array(data, "the data")}
