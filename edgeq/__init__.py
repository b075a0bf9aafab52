"""edgeq: trained model in, proven TensorFlow Lite out, measured where it will run.

The functions are imported when they are first used, so that `import edgeq` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from edgeq.moved import Finder
from edgeq.version import VERSION

if TYPE_CHECKING:
    from edgeq.api import bench, compare, convert, debug, evaluate, tune
    from edgeq.comparison.parity import parity
    from edgeq.converters.proof.certificate import certify
    from edgeq.converters.training.distillation import distill
    from edgeq.converters.training.qat import quantization_aware
    from edgeq.converters.training.states import carry_states, expose_states
    from edgeq.device_runners.devices.registry import read_devices
    from edgeq.devices.doctor import doctor
    from edgeq.devices.inventory import check_devices
    from edgeq.fit.fit import fit_model
    from edgeq.gating.gate import gate
    from edgeq.history.store import open_history
    from edgeq.inspection.contents import inspect_model
    from edgeq.packaging.assembly.build import make_package
    from edgeq.packaging.contract.contract import make_contract
    from edgeq.packaging.documents.metadata import add_metadata, metadata_limits
    from edgeq.packaging.verification.verify import verify_package
    from edgeq.pipeline.init_project import init
    from edgeq.pipeline.running import run
    from edgeq.profiling.operator_times import profile
    from edgeq.records.reading import read_record
    from edgeq.render.notebook import as_html, show_progress
    from edgeq.render.report import write_report
    from edgeq.reporting.report import make_report

__version__ = VERSION

__all__ = [
    "__version__",
    "add_metadata",
    "as_html",
    "bench",
    "carry_states",
    "certify",
    "check_devices",
    "compare",
    "convert",
    "debug",
    "distill",
    "doctor",
    "evaluate",
    "expose_states",
    "fit_model",
    "gate",
    "init",
    "inspect_model",
    "make_contract",
    "make_package",
    "make_report",
    "metadata_limits",
    "open_history",
    "parity",
    "profile",
    "quantization_aware",
    "read_devices",
    "read_record",
    "run",
    "show_progress",
    "tune",
    "verify_package",
    "write_report",
]

# The last four work on live Keras models, so they import TensorFlow into the caller's process.
_MODULES = {
    "add_metadata": "edgeq.packaging.documents.metadata",
    "as_html": "edgeq.render.notebook",
    "certify": "edgeq.converters.proof.certificate",
    "check_devices": "edgeq.devices.inventory",
    "doctor": "edgeq.devices.doctor",
    "fit_model": "edgeq.fit.fit",
    "gate": "edgeq.gating.gate",
    "init": "edgeq.pipeline.init_project",
    "inspect_model": "edgeq.inspection.contents",
    "make_contract": "edgeq.packaging.contract.contract",
    "make_package": "edgeq.packaging.assembly.build",
    "make_report": "edgeq.reporting.report",
    "metadata_limits": "edgeq.packaging.documents.metadata",
    "parity": "edgeq.comparison.parity",
    "profile": "edgeq.profiling.operator_times",
    "read_devices": "edgeq.device_runners.devices.registry",
    "read_record": "edgeq.records.reading",
    "run": "edgeq.pipeline.running",
    "show_progress": "edgeq.render.notebook",
    "verify_package": "edgeq.packaging.verification.verify",
    "write_report": "edgeq.render.report",
    "open_history": "edgeq.history.store",
    "distill": "edgeq.converters.training.distillation",
    "quantization_aware": "edgeq.converters.training.qat",
    "carry_states": "edgeq.converters.training.states",
    "expose_states": "edgeq.converters.training.states",
}

# Modules that are public, too: `docs/reference/python.md`.
_OPEN = ("errors", "history", "models", "tflite", "values")

sys.meta_path.append(Finder)


def __dir__() -> list[str]:
    return [*__all__, *_OPEN]


class _UnknownNameError(AttributeError):
    """Looks for the nearest name only where it is shown: imports ask for names that are missing."""

    def __str__(self) -> str:
        from edgeq.errors import did_you_mean

        return f"edgeq has no {self.args[0]!r}. {did_you_mean(self.args[0], __dir__())}".rstrip()


def __getattr__(name: str) -> Any:
    if name in __all__:
        from edgeq.keywords import checked  # with `inspect`, which takes its time

        module = importlib.import_module(_MODULES.get(name, "edgeq.api"))
        # Kept, because pickle requires the same object each time.
        globals()[name] = checked(getattr(module, name), name)
        return globals()[name]
    if name in _OPEN:
        return importlib.import_module(f"edgeq.{name}")
    raise _UnknownNameError(name)
