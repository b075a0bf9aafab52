"""Modules of edgeq 0.1 that have moved: importing one raises an error with the new name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_PLACES = """
candidates conversion.selection
checkup devices.doctor
columns accuracy.columns
command_line conversion.command_line
converters.certificate converters.proof.certificate
converters.distillation converters.training.distillation
converters.fitting converters.samples.input_shapes
converters.preprocessing converters.samples.preprocessing
converters.qat converters.training.qat
converters.qat_layers converters.training.qat_layers
converters.schemes values.schemes
converters.statistics converters.calibration.statistics
device_runners.device device_runners.devices.device
device_runners.local device_runners.devices.local
device_runners.measure device_runners.measuring.run_job
device_runners.registry device_runners.devices.registry
evaluation accuracy.paired_runs
exporting conversion.file_metadata
flatbuffer tflite.flatbuffer
fleet devices.fleet
inference accuracy.inference
judging accuracy.verdict
npy files.npy
packaging.building packaging.assembly.build
packaging.metadata packaging.documents.metadata
packaging.verifying packaging.verification.verify
pairing comparison.pairing
parity comparison.parity
quantmath tflite.quantmath
record_schema records.schema
storage files.storage
"""

MOVED = {f"edgeq.{old}": f"edgeq.{new}" for old, new in map(str.split, _PLACES.split("\n")[1:-1])}


class Finder:
    """The last of Python's finders: it is asked only for a module that does not exist."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Raise ModuleNotFoundError with the new name, for a module that has moved."""
        if name in MOVED:
            raise ModuleNotFoundError(f"{name} is now {MOVED[name]}: import that.", name=name)


def moved_names(package: str, **names: str) -> Callable[[str], Any]:
    """Make a package's `__getattr__` for names that it had when it was a single module.

    Args:
        names: each old name with the full new one.
    """

    def look_up(name: str) -> Any:
        if name in names:
            raise ImportError(f"{package}.{name} is now {names[name]}: use that.")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return look_up
