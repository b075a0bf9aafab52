"""Limits for what a small file may request: weights that it does not hold, and huge tensors.

Without them, a configuration of 500 bytes takes all the memory of the machine, or keeps
TensorFlow computing a constant for hours.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeq.errors import LoweringError, SourceError
from edgeq.tflite.flaws import MOST_TENSOR_BYTES

# Beside what the file holds: 256 MB in float32, for weights that Keras does not save.
_MORE_VALUES = 1 << 26


@contextlib.contextmanager
def limited_weights(path: Path, package: Any) -> Iterator[None]:
    """While a model is loaded, refuse layers with far more weights than its file has bytes for.

    Args:
        path: of the file, or of the folder of a SavedModel.
        package: keras or tf_keras.

    Raises:
        SourceError: names the layer.
    """
    stored = _size(path)
    left = 2 * stored + _MORE_VALUES  # a weight has half a byte at least, INT4
    refusals: list[SourceError] = []
    layer = package.layers.Layer
    original = layer.add_weight
    signature = inspect.signature(original)

    def add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        given = signature.bind(self, *args, **kwargs).arguments.get("shape")
        shape = [given] if isinstance(given, int) else list(given or ())
        left -= math.prod(size for size in shape if isinstance(size, int))
        if left < 0:
            refusals.append(
                SourceError(
                    f"{path}: layer {self.name!r} has weights of shape {shape}, and the file "
                    f"has only {stored} bytes.",
                    hint="Save the whole model again.",
                )
            )
            raise refusals[0]
        return original(self, *args, **kwargs)

    layer.add_weight = add_weight
    try:
        yield
    finally:
        layer.add_weight = original
        if refusals:  # Keras may have turned it into another error
            raise refusals[0]


def require_small_tensors(concrete: Any) -> None:
    """Refuse a traced function that computes a tensor of more than 2 GiB.

    TensorFlow computes constants before it converts, and the result is larger than any file.

    Args:
        concrete: TensorFlow's function; shapes that are not static are not counted.

    Raises:
        LoweringError: names the operator.
    """
    inner = getattr(concrete.graph, "_functions", {}).values()
    for graph in (concrete.graph, *(function.graph for function in inner)):
        for operation in graph.get_operations():
            for tensor in operation.outputs:
                is_known = tensor.shape.rank is not None and tensor.shape.is_fully_defined()
                size = tensor.shape.num_elements() * tensor.dtype.size if is_known else 0
                if size > MOST_TENSOR_BYTES:
                    raise LoweringError(
                        f"The operator {operation.type} ({operation.name}) computes a tensor of "
                        f"shape {tensor.shape.as_list()}, which takes {size / 2**30:.0f} GiB; the "
                        "limit is 2 GiB.",
                        hint="Export the model for smaller inputs.",
                    )


def _size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; of a zip's members without compression."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sum(item.file_size for item in archive.infolist())
    return path.stat().st_size
