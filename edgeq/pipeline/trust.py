"""Find the code that an `edgeq.toml` names and a run executes; nothing is executed here.

The file may be somebody else's. `edgeq run` shows the code and executes it only when the user
agrees (docs/decisions/0012-projects-are-trusted-by-hand.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeq.converters.samples.references import is_function_reference
from edgeq.device_runners.devices.registry import NamedDevice, programs_of
from edgeq.pipeline.settings import Name, Setting
from edgeq.project import NamedCode, ProjectFile

# Keys whose value is always code, or a program, or lets somebody else send code: from the value to
# what edgeq does with it. Keys of devices and data can also have other values, see below.
_EFFECTS: dict[Name, Callable[[Any], str]] = {
    ("model", "custom_objects"): lambda value: (
        "imports " + ", ".join(dict.fromkeys(text.partition(":")[0] for text in value))
    ),
    ("model", "unsafe_deserialization"): lambda value: "runs code that is stored in the model file",
    ("model", "torch_python"): lambda value: "starts this program on this machine",
    ("model", "onnx_python"): lambda value: "starts this program on this machine",
    ("tune", "cluster"): lambda value: "executes what this scheduler sends, as Dask does",
}


def find_code(
    project: ProjectFile,
    given: Mapping[Name, Setting],
    data: Sequence[str | None],
    programs: Sequence[Sequence[NamedCode]],
) -> tuple[NamedCode, ...]:
    """All code, in the order of the sections.

    Args:
        given: all keys that are set; those from the command line are the user's own and left out.
        data: of [data] calibration and test, as found.
        programs: of each device that is used.
    """
    found = [
        _name(name, setting, effect(setting.value))
        for name, effect in _EFFECTS.items()
        if (setting := given.get(name)) is not None and not setting.is_flag and setting.value
    ]
    for key, source in zip(("calibration", "test"), data, strict=True):
        setting = given.get(("data", key))
        if source is None or setting is None or setting.is_flag:
            continue
        if is_function_reference(source):
            module, _, function = source.partition(":")
            effect = f"imports {module} and calls {function}"
            found.append(_name(("data", key), setting, effect))
    metrics = given.get(("data", "metrics"))
    if metrics is not None and not metrics.is_flag:
        modules = dict.fromkeys(name.partition(":")[0] for name in metrics.value if ":" in name)
        if modules:
            found.append(_name(("data", "metrics"), metrics, f"imports {', '.join(modules)}"))
    found += [program for device in programs for program in device]
    return tuple(dict.fromkeys(found))


def _name(name: Name, setting: Setting, effect: str) -> NamedCode:
    return NamedCode(setting.where, f"[{name[0]}] {name[1]} = {json.dumps(setting.value)}", effect)


def programs_on(
    name: str, entry: NamedDevice | None, setting: Setting | None
) -> tuple[NamedCode, ...]:
    """The programs that the `edgeq.toml` makes a device start.

    Args:
        name: of the device, or its address.
        entry: of the name, None for an address.
        setting: that has the name; None for a default.
    """
    if entry is not None:
        return programs_of(entry)
    if setting is None or setting.is_flag or not name.startswith("local:"):
        return ()
    return (NamedCode(setting.where, json.dumps(name), "starts this program on this machine"),)
