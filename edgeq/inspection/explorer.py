"""Model Explorer on a file, with what edgeq measured on its layers as node data.

Model Explorer serves its page on this machine, from a child process. Its look for a newer release
is left out, since edgeq asks nobody for anything behind the user's back.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from edgeq.children.child import Child
from edgeq.debugging.node_data import latency_node_data, node_data
from edgeq.errors import DeviceError, MissingExtraError, UsageError
from edgeq.files import scratch
from edgeq.records.reading import Record
from edgeq.values import DebugReport, FileRef, Profile

HOST = "127.0.0.1"
_STOP_S = 5  # for the server to end before it is killed
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def node_data_of(records: Sequence[Record], model: FileRef) -> tuple[str, ...]:
    """Node data for a model from records of debug and profile, the most telling last.

    Model Explorer first colours the graph with the last one; a click changes it.

    Raises:
        UsageError: a record of another kind, or of another model.
    """
    found: list[str] = []
    for record in records:
        value = record.value
        if isinstance(value, DebugReport):
            _require_model(record, model, (value.candidate, value.baseline))
            found += [
                node_data(value, field)
                for field in ("accumulated_sqnr_db", "own_sqnr_db", "effect_sqnr_db")
                if any(getattr(layer, field) is not None for layer in value.layers)
            ]
        elif isinstance(value, Profile):
            _require_model(record, model, [item.model for item in value.models])
            found += [
                latency_node_data(item)
                for item in value.models
                if item.model.sha256 == model.sha256
            ]
        else:
            raise UsageError(
                f"{record.path} is a record of {record.kind}, which has no figures of layers.",
                hint="--with takes what edgeq debug -o and edgeq profile -o wrote.",
            )
    return tuple(found)


def _require_model(record: Record, model: FileRef, known: Sequence[FileRef]) -> None:
    if all(item.sha256 != model.sha256 for item in known):
        named = ", ".join(f"{item.path} ({item.sha256[:7]})" for item in known)
        raise UsageError(
            f"{record.path} is the record of a different model than {model.path} "
            f"({model.sha256[:7]}): {named}.",
            hint=f"Make it again: edgeq {record.kind} ... -o {record.path}",
        )


def require_explorer() -> None:
    """Stop early when Model Explorer is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("model_explorer") is None:
        raise MissingExtraError(
            "--explorer needs Model Explorer, which is not installed here.",
            hint='Install it with: pip install "edgeq[explorer]"',
        )


def serve(
    model: Path,
    data: Sequence[str],
    *,
    port: int | None,
    opens_browser: bool,
    on_ready: Callable[[str, bool], None],
) -> None:
    """Serve Model Explorer until it is interrupted.

    Args:
        data: of `node_data_of`.
        port: None for a free one.
        opens_browser: where there is one to open.
        on_ready: called with the address, and whether a browser was opened.

    Raises:
        UsageError: the port is taken.
        DeviceError: Model Explorer ended unexpectedly.
    """
    chosen = _free_port(port)
    require_explorer()
    with scratch.folder() as folder:
        paths = []
        for number, text in enumerate(data):
            paths.append(folder / f"{number}.json")
            paths[-1].write_bytes(text.encode("utf-8"))
        given = json.dumps(
            {"model": str(model.absolute()), "host": HOST, "port": chosen,
             "data": [str(path) for path in paths]}
        )  # fmt: skip
        with Child(
            ["edgeq.inspection.explorer_child", given],
            folders=[folder],
            late=True,
            sockets=True,
            # It asks itself whether it is up, which a proxy cannot know.
            environment={"NO_PROXY": HOST, "no_proxy": HOST, "PYTHONUNBUFFERED": "1"},
            output="merged",
        ) as child:
            try:
                _follow(child, opens_browser, on_ready)
            finally:
                child.end(_STOP_S, terminate=True)


def _free_port(port: int | None) -> int:
    with socket.socket() as probe:
        # Model Explorer, started again at once, may have the port that it had.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise UsageError(
                f"Port {port} cannot be used: {error.strerror or error}.",
                hint="Choose another --port, or leave it out.",
            ) from error
        return int(probe.getsockname()[1])


def _follow(child: Child, opens_browser: bool, on_ready: Callable[[str, bool], None]) -> None:
    """Wait for the address among what the server prints, and then for its end."""
    said: list[str] = []
    for line in child.lines():
        said.append(line)
        if line.startswith(f"http://{HOST}:"):
            address = line.strip()
            on_ready(address, opens_browser and _open_browser(address))
            said.clear()
    if child.wait() != 0 or said:
        raise DeviceError(
            f"Model Explorer {child.ending}.",
            hint="Show its output with -v, or update it: pip install -U 'edgeq[explorer]'",
            details="".join(said),
        )


def _open_browser(address: str) -> bool:
    """In a window; a browser that takes over the terminal is left alone."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, _DISPLAYS)):
        return False
    with suppress(webbrowser.Error):
        return webbrowser.open_new_tab(address)
    return False
