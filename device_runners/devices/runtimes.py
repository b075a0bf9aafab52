"""The choice of the runtime that executes models on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeq.device_runners.devices.device import Device, OnEvent
from edgeq.device_runners.devices.environment import RUNTIMES, release_of
from edgeq.errors import DeviceError
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import RuntimeInfo


def choose_runtime(
    device: Device,
    wanted: str | None,
    on_event: OnEvent | None = None,
    models: Sequence[Path | ModelFile] = (),
) -> RuntimeInfo:
    """The runtime that will execute models on a device; a board without one is given one.

    Args:
        models: checked first, so that no runtime is sent for a model that it cannot run.

    Raises:
        DeviceError: the device has no such runtime, or it is too old for a model.
        SourceError: a model is not a `.tflite`.
    """
    needed = [(model.min_runtime_version, model.path) for model in map(read_model, models)]
    device.require_python()
    for is_set_up in (False, True):
        found = device.facts().runtimes
        for runtime in found:
            if wanted in (None, runtime.name):
                for version, model in needed:
                    check_runtime(version, runtime, model, device)
                return runtime
        if is_set_up or wanted not in (None, *RUNTIMES) or not device.is_remote:
            break
        if wanted is not None:
            for version, model in needed:
                check_runtime(version, release_of(wanted), model, device)
        if device.python is not None:  # the user's: edgeq installs nothing into it
            raise DeviceError(
                f"{device.python} on {device.name} has no {wanted or 'TensorFlow Lite runtime'}.",
                hint="Remove --python; then edgeq makes its own environment there.",
            )
        device.set_up(wanted, on_event)
    name = wanted or "ai-edge-litert"
    hint = f"Install it there with: pip install {name}"
    if name == "tflite-runtime":  # pip would remove the numpy that all others need
        hint = (
            "It needs Python 3.9 to 3.11 and numpy below 2, so install it in a separate "
            "environment, pip install tflite-runtime 'numpy<2', and name that one: --python "
            "ENV/bin/python"
        )
    there = ", ".join(f"{item.name} {item.version}" for item in found) or "none"
    raise DeviceError(
        f"{device.name} has no {wanted or 'TensorFlow Lite runtime'}; it has: {there}.", hint=hint
    )


def check_runtime(
    min_version: str | None, runtime: RuntimeInfo, model: Path, device: Device | None = None
) -> None:
    """Refuse a model that the runtime is too old for, before anything is sent.

    `min_runtime_version` counts in TensorFlow releases. tflite-runtime and tensorflow use the
    same numbers; ai-edge-litert started over at 1.0, after TensorFlow 2.17, and reads all that
    TensorFlow's converter writes.

    Raises:
        DeviceError: with both versions and what to do.
    """
    if min_version is None or runtime.name == "ai-edge-litert":
        return
    if flatbuffer.release(min_version) > flatbuffer.release(runtime.version):
        newer = "Install ai-edge-litert there"
        if device is not None and device.is_remote:
            newer = "Pass --runtime ai-edge-litert, which edgeq brings there"
        raise DeviceError(
            f"{model} needs TensorFlow Lite {min_version} or newer; {runtime.name} there is "
            f"{runtime.version}.",
            hint=f"{newer}, or convert with --granularity tensor or another --scheme.",
        )
