"""Start the TensorFlow child; its argument is the descriptor for replies.

Half of a conversion of a small model is TensorFlow's import. Much of that is the garbage
collector, which walks through hundreds of thousands of new, lasting objects again and again, and
Keras's optional wrappers for scikit-learn. Neither is needed: the process lives for one conversion
and frees its arrays without a collector, and import takes half the time.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

from edgeq.children import sandbox, serving

# Keras looks whether these are there, and imports them if so; edgeq uses no part of them.
_OPTIONAL = ("sklearn", "jax", "torch")


@contextlib.contextmanager
def hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Packages that seem not to be installed; the user's custom objects may import them later."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks "not there"
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
