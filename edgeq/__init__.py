"""edgeq: trained model in, proven TensorFlow Lite out, measured where it will run.

The functions are imported when they are first used, so that `import edgeq` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeq.version import VERSION

if TYPE_CHECKING:
    from edgeq.api import bench, compare, convert, debug, evaluate, tune
    from edgeq.converters.training.distillation import distill
    from edgeq.converters.training.qat import quantization_aware
    from edgeq.devices.doctor import doctor
    from edgeq.gating.gate import gate
    from edgeq.history.store import open_history
    from edgeq.inspection.inspect_model import inspect_model
    from edgeq.packaging.assembly.build import make_package
    from edgeq.packaging.verification.verify import verify_package
    from edgeq.profiling.profile import profile
    from edgeq.reporting.report import make_report

__version__ = VERSION

__all__ = [
    "__version__",
    "bench",
    "compare",
    "convert",
    "debug",
    "distill",
    "doctor",
    "evaluate",
    "gate",
    "inspect_model",
    "make_package",
    "make_report",
    "open_history",
    "profile",
    "quantization_aware",
    "tune",
    "verify_package",
]

# The last two work on live Keras models, so they import TensorFlow into the caller's process.
_MODULES = {
    "doctor": "edgeq.devices.doctor",
    "gate": "edgeq.gating.gate",
    "inspect_model": "edgeq.inspection.inspect_model",
    "make_package": "edgeq.packaging.assembly.build",
    "make_report": "edgeq.reporting.report",
    "profile": "edgeq.profiling.profile",
    "verify_package": "edgeq.packaging.verification.verify",
    "open_history": "edgeq.history.store",
    "distill": "edgeq.converters.training.distillation",
    "quantization_aware": "edgeq.converters.training.qat",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = importlib.import_module(_MODULES.get(name, "edgeq.api"))
        return getattr(module, name)
    raise AttributeError(f"module 'edgeq' has no attribute {name!r}")
