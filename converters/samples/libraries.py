"""Objects of other libraries: arrays, and the names that data sets state for their classes.

They are recognised by the names of their types, so that no library is imported for it.

| library | the names of the classes, in the order of their indices |
|---|---|
| Hugging Face `datasets` | in the `ClassLabel` feature of the column of labels |
| `tensorflow_datasets` | in the same feature in the `info` of a builder or beside a data set |
| torchvision, and data sets of PyTorch like its own | `classes` |
| Keras, `image_dataset_from_directory` and its siblings | `class_names` |
| Keras, `flow_from_directory` | `class_indices` |

A data set that changes labels has no such names: `map` of `tf.data` drops them, and those of a
torchvision data set with a `target_transform` are not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from edgeq.converters.samples.input_shapes import Array, begin, quote
from edgeq.converters.samples.sources import find_label
from edgeq.errors import DataError

# What to do with values that are not arrays: package, class, and the hint.
_WAYS = (
    ("tensorflow", "RaggedTensor", "Give all samples one shape: x.to_tensor(shape=...)."),
    ("tensorflow", "SparseTensor", "Make it dense: tf.sparse.to_dense(x)."),
)
_FILE = "Give the folder of the files, or yield their arrays, of images PIL.Image.open(path)."
_ENCODED = 'Decode images first: dataset.cast_column("image", datasets.Image()).'
_WRAPPERS = "DataLoader", "Subset"


def is_of(value: Any, package: str, *names: str) -> bool:
    """Whether an object's type, or a base of it, is a class with this name from this package."""
    return any(
        str(base.__module__).partition(".")[0] == package and base.__name__ in names
        for base in type(value).__mro__
    )


def is_tensor(value: Any) -> bool:
    """Whether an object is an array of any library."""
    return hasattr(value, "__array__") and hasattr(value, "shape")


def as_array(value: Any, where: str) -> Array:
    """Return an array, tensor or nested list as a NumPy array; texts have the dtype U or S.

    Raises:
        DataError: it cannot be converted.
    """
    try:
        if is_of(value, "torch", "Tensor"):
            # It converts neither gradients, nor a GPU's memory, nor this dtype.
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        array = np.asarray(value)
    except Exception as error:
        raise DataError(
            f"{begin(where)} is not an array: {type(error).__name__}: {quote(error)}.",
            hint=way_out(value),
        ) from error
    if array.dtype.hasobject:
        for kind in (str, bytes):  # TensorFlow and pandas keep texts as objects
            if array.size and all(isinstance(item, kind) for item in array.flat):
                return array.astype(kind)
        what = "an array of Python objects, not of numbers"
        what = what if array.ndim else f"{type(value).__name__}, not an array"
        raise DataError(f"{begin(where)} is {what}.", hint=way_out(value))
    return array


def require_numbers(array: Array, where: str) -> Array:
    """Return an array that does not hold texts.

    Raises:
        DataError: it does.
    """
    if array.dtype.kind in "US":
        text = f"{array.reshape(-1)[:1].tolist()[0]!r:.80}" if array.size else "empty"
        raise DataError(f"{begin(where)} is the text {text}, not an array.", hint=_FILE)
    return array


def way_out(value: Any) -> str | None:
    """A hint for a value that is not an array, None for unknown ones."""
    if isinstance(value, PurePath):
        return _FILE
    if isinstance(value, dict) and "bytes" in value:
        return _ENCODED
    return next((hint for package, name, hint in _WAYS if is_of(value, package, name)), None)


# ---------------------------------------------------------------- names of classes


def find_stated_names(data: Any, inputs: Sequence[str], name: str) -> tuple[str, ...]:
    """The name of each class, empty if the data set states none.

    Args:
        inputs: names of the model's inputs.
        name: names the data in messages.

    Raises:
        DataError: the data set contradicts itself.
    """
    while is_of(data, "torch", *_WRAPPERS) and hasattr(data, "dataset"):
        data = data.dataset
    if is_of(data, "datasets", "Dataset", "IterableDataset"):
        return _of_features(data.features or {}, None, inputs, name)
    info = _find_info(data)
    if info is not None:
        keys = info.supervised_keys
        return _of_features(dict(info.features.items()), keys and keys[1], inputs, name)
    if is_of(data, "tensorflow", "DatasetV2"):
        return tuple(getattr(data, "class_names", None) or ())
    if is_of(data, "keras", "DirectoryIterator", "DataFrameIterator"):
        return tuple(sorted(data.class_indices, key=data.class_indices.__getitem__))
    if is_of(data, "torch", "Dataset") and getattr(data, "target_transform", None) is None:
        return _of_classes(data, name)
    return ()


def is_info(value: Any) -> bool:
    """Whether `tensorflow_datasets.load` returned this object beside a data set."""
    return is_of(value, "tensorflow_datasets", "DatasetInfo")


def _find_info(data: Any) -> Any:
    if isinstance(data, (tuple, list)) and len(data) == 2 and is_info(data[1]):
        return data[1]
    if is_of(data, "tensorflow_datasets", "DatasetBuilder"):
        return data.info
    found = getattr(data, "dataset_info", None)
    return found if is_info(found) else None


def _of_features(
    features: Mapping[str, Any], label: Any, inputs: Sequence[str], name: str
) -> tuple[str, ...]:
    """Names of the feature that is the label, by its name or by the usual ones."""
    key = label if label in features else find_label([*features], inputs, name)
    feature: Any = None if key is None else features[key]
    is_class = any(is_of(feature, of, "ClassLabel") for of in ("datasets", "tensorflow_datasets"))
    return tuple(feature.names or ()) if is_class else ()


def _of_classes(data: Any, name: str) -> tuple[str, ...]:
    """`classes` of a torchvision data set; ImageNet has several names for each class."""
    found = getattr(data, "classes", None)
    if not isinstance(found, (list, tuple)):
        return ()
    names = [", ".join(item) if isinstance(item, tuple) else item for item in found]
    if not all(isinstance(item, str) for item in names):
        return ()
    numbers = getattr(data, "class_to_idx", None)
    for index, item in enumerate(names):
        own = numbers.get(item, index) if isinstance(numbers, Mapping) else index
        if own != index:
            raise DataError(
                f"Class {index} of {name} is {item!r} in its classes, but class_to_idx has {own} "
                "for it.",
                hint="Make both agree, or delete the wrong one of these attributes.",
            )
    return tuple(names)
