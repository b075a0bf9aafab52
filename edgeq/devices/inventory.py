"""Devices by name: which there are, whether they answer, and what edgeq keeps on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgeq.device_runners.devices import environment
from edgeq.device_runners.devices.adb import AdbDevice
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.devices.device import events_as_progress, resolve_device
from edgeq.device_runners.devices.emulated import VirtualBoard, board_folder, build, stop
from edgeq.device_runners.devices.registry import NamedDevice, read_devices
from edgeq.device_runners.measuring import benchmark_tool_run
from edgeq.errors import EdgeqError, UsageError
from edgeq.values import DeviceFacts

EMULATED = "emulated:"


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


def check(names: Sequence[str] = ()) -> tuple[DeviceCheck, ...]:
    """Ask devices what they are, all at the same time.

    Args:
        names: of devices or addresses; by default all that are named.

    Raises:
        UsageError: nothing to ask, or an unknown form.
    """
    named = read_devices()
    wanted = list(names) or list(named)
    if not wanted:
        raise UsageError(
            "No device is named yet.", hint="Name one: edgeq devices add pi4 ssh://pi@raspberrypi"
        )
    for name in wanted:
        resolve_device(name)
    with ThreadPoolExecutor(len(wanted)) as pool:
        return tuple(pool.map(lambda name: _check(name, named.get(name)), wanted))


def _check(name: str, named: NamedDevice | None) -> DeviceCheck:
    device = resolve_device(name)
    address = name if named is None else named.address
    try:
        return DeviceCheck(name, address, device.facts())
    except EdgeqError as error:
        return DeviceCheck(name, address, None, error.message, error.hint)
    finally:
        if isinstance(device, BoardDevice):
            device.close()


def set_up(
    name: str,
    *,
    runtime: str | None = None,
    benchmark_model: Path | None = None,
    on_progress: Callable[[str, int, int | None], None],
) -> str:
    """Bring a runtime into edgeq's own cache on a board; a virtual board is built first.

    Args:
        benchmark_model: TensorFlow's program of that name, for a phone behind adb: that instead.

    Returns:
        The name of the environment there, or the program's path.

    Raises:
        UsageError: this machine, where nothing is installed behind the user's back; or a program
            for a device that is not behind adb.
        DeviceError: it cannot be done.
    """
    named = read_devices().get(name)
    address = name if named is None else named.address
    device = resolve_device(name)
    if not isinstance(device, BoardDevice):
        raise UsageError(
            f"{name} is this machine, and edgeq installs nothing on it.",
            hint="Install the runtime with pip: pip install ai-edge-litert",
        )
    if benchmark_model is not None or (isinstance(device, AdbDevice) and not device.has_python):
        return benchmark_tool_run.install(device, benchmark_model, events_as_progress(on_progress))
    if address.startswith(EMULATED):
        on_progress("build the virtual board", 0, None)
        build(VirtualBoard(board_folder(address[len(EMULATED) :])))
    try:
        return environment.set_up(device, runtime, events_as_progress(on_progress))
    finally:
        device.close()


def clean(name: str) -> int:
    """Delete edgeq's cache on a board: models, environments, what broken runs left.

    Returns:
        Bytes freed.

    Raises:
        UsageError: not a board.
        DeviceError: it does not answer.
    """
    device = resolve_device(name)
    if not isinstance(device, BoardDevice):
        raise UsageError(f"{name} is this machine, and edgeq keeps nothing on it.")
    try:
        return device.clean()
    finally:
        device.close()


def stop_emulated(name: str) -> None:
    """End a virtual board's processes; its files stay.

    Raises:
        UsageError: not a virtual board.
    """
    named = read_devices().get(name)
    address = name if named is None else named.address
    if not address.startswith(EMULATED):
        raise UsageError(f"{name} is no virtual board, and edgeq does not switch it off.")
    stop(VirtualBoard(board_folder(address[len(EMULATED) :])))
