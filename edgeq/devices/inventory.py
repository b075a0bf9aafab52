"""Devices by name: which there are, whether they answer, and what edgeq keeps on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import events_as_progress
from edgeq.device_runners.devices.kinds import find_kind
from edgeq.device_runners.devices.registry import read_devices
from edgeq.device_runners.measuring import benchmark_tool_run
from edgeq.errors import EdgeqError, UsageError
from edgeq.files.reading import listed
from edgeq.values import DeviceFacts
from edgeq.values.showing import bounded


@bounded
@dataclass(frozen=True)
class DeviceCheck:
    """Whether a device answers.

    Attributes:
        device: as the user names it.
        address: that the name stands for.
        facts: None when it does not answer.
        error: why.
        hint: what to do.
    """

    device: str
    address: str
    facts: DeviceFacts | None
    error: str | None = None
    hint: str | None = None


def check_devices(names: str | Sequence[str] = ()) -> tuple[DeviceCheck, ...]:
    """Ask devices what they are, all at the same time.

    Args:
        names: of devices or addresses; by default all that have names.

    Raises:
        UsageError: there is no device to ask, or an unknown form.
    """
    wanted = listed(names) or list(read_devices())
    if not wanted:
        raise UsageError(
            "No device has a name yet.", hint="Name one: edgeq devices add pi4 ssh://pi@raspberrypi"
        )
    devices = [resolve_device(name) for name in wanted]

    def ask(place: int) -> DeviceCheck:
        name, device = wanted[place], devices[place]
        try:
            return DeviceCheck(name, _address(name), device.facts())
        except EdgeqError as error:
            return DeviceCheck(name, _address(name), None, error.message, error.hint)
        finally:
            device.close()

    with ThreadPoolExecutor(len(wanted)) as pool:
        return tuple(pool.map(ask, range(len(wanted))))


def _address(name: str) -> str:
    named = read_devices().get(name)
    return name if named is None else named.address


def set_up(
    name: str,
    *,
    runtime: str | None = None,
    benchmark_model: Path | None = None,
    on_progress: Callable[[str, int, int | None], None],
) -> str:
    """Bring a runtime into edgeq's own cache on a board; a virtual board is built first.

    Args:
        benchmark_model: TensorFlow's benchmark_model, to bring to a phone behind adb instead.

    Returns:
        The name of the environment there, or the program's path.

    Raises:
        UsageError: this machine, where edgeq installs nothing; or a program for a device that is
            not behind adb.
        DeviceError: it cannot be done.
    """
    device = resolve_device(name)
    on_event = events_as_progress(on_progress)
    try:
        shell = device.tool_shell(None if benchmark_model is None else str(benchmark_model))
        if shell is not None:
            return benchmark_tool_run.install(shell, benchmark_model, on_event)
        found = find_kind(_address(name))
        if found is not None and found[0].is_virtual:
            on_progress("build the virtual board", 0, None)
            found[0].load().build(found[1])
        return device.set_up(runtime, on_event)
    finally:
        device.close()


def clean(name: str) -> int:
    """Delete edgeq's cache on a board: models, environments, what broken runs left.

    Returns:
        Bytes freed.

    Raises:
        UsageError: this machine.
        DeviceError: it does not answer.
    """
    device = resolve_device(name)
    try:
        return device.clean()
    finally:
        device.close()


def stop_emulated(name: str) -> None:
    """End a virtual board's processes; its files stay.

    Raises:
        UsageError: not a virtual board.
    """
    found = find_kind(_address(name))
    if found is None or not found[0].is_virtual:
        raise UsageError(f"{name} is not a virtual board, so edgeq cannot switch it off.")
    found[0].load().stop(found[1])
