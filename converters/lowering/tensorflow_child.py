"""Start the TensorFlow child; its argument is the descriptor for replies.

TensorFlow's import takes half the time of converting a small model. Much of that time goes to the
garbage collector, which examines hundreds of thousands of new objects again and again, and to
Keras's optional wrappers for scikit-learn. Without both, the import takes half the time. The
process ends after one conversion and frees its arrays without a collector. A second thread links
TensorFlow's library, a gigabyte, while packages that do not need it are imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from edgeq.children import sandbox, serving

# Keras imports these if they are installed; edgeq uses no part of them.
_OPTIONAL = ("sklearn", "jax", "torch")
# TensorFlow and Keras import these, and they import neither.
_INDEPENDENT = ("numpy", "h5py", "google.protobuf.message", "absl.logging", "wrapt", "requests",
                "rich.console", "opt_einsum", "optree", "ml_dtypes", "edgeq.tflite.flatbuffer",
                "edgeq.converters.graph.marked_lstm", "edgeq.converters.safe_reading.keras_file",
                "edgeq.converters.safe_reading.saved_model")  # fmt: skip


def _link() -> None:
    found = importlib.util.find_spec("tensorflow")
    for folder in (found and found.submodule_search_locations) or ():
        with contextlib.suppress(OSError):  # the import will say what is wrong
            ctypes.CDLL(str(Path(folder) / "libtensorflow_cc.so.2"))


@contextlib.contextmanager
def hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Hide installed packages; the user's custom objects may import them later."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a missing module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def main() -> None:
    """Import TensorFlow, enter the sandbox, then serve requests until the parent closes."""
    gc.disable()
    linking = threading.Thread(target=_link)
    linking.start()
    for name in _INDEPENDENT:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    linking.join()
    with hidden(_OPTIONAL):
        from edgeq.converters.lowering import tensorflow_worker
    gaps = sandbox.confine_as_planned()
    serving.serve(tensorflow_worker.Session(gaps), int(sys.argv[1]), "QuantizationError")
