"""edgeq: trained model in, proven TensorFlow Lite out, measured where it will run.

The functions are imported when they are first used, so that `import edgeq` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.api import bench, compare, convert, evaluate

__version__ = "0.1.0"

__all__ = ["__version__", "bench", "compare", "convert", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from edgeq import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgeq' has no attribute {name!r}")
