"""Start the TensorFlow child; its argument is the descriptor for replies.

TensorFlow's import takes half the time of converting a small model. Much of that time goes to the
garbage collector, which examines hundreds of thousands of new objects again and again, and to
Keras's optional wrappers for scikit-learn. Without both, the import takes half the time. The
process ends after one conversion and frees its arrays without a collector.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

from edgeq.children import sandbox, serving

# Keras imports these if they are installed; edgeq uses no part of them.
_OPTIONAL = ("sklearn", "jax", "torch")


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
    with hidden(_OPTIONAL):
        from edgeq.converters.lowering import tensorflow_worker
    gaps = sandbox.confine_as_planned()
    serving.serve(tensorflow_worker.Session(gaps), int(sys.argv[1]), "QuantizationError")
