"""The child that serves Model Explorer's page; its argument is JSON: model, data, host and port."""

from __future__ import annotations

import json
import sys

from edgeq.children import sandbox


def main() -> None:
    """Serve until the parent ends it."""
    from model_explorer import config, server, visualize_from_config

    sandbox.confine_as_planned()
    given = json.loads(sys.argv[1])
    if hasattr(server, "_check_new_version"):
        names = ("version", "runningVersion", "releaseUrl", "desktopAppUrl")
        server._check_new_version = lambda print_msg=True: dict.fromkeys(names, "")
    chosen = config().add_model_from_path(given["model"])
    for path in given["data"]:
        chosen.add_node_data_from_path(path)
    visualize_from_config(chosen, host=given["host"], port=given["port"], no_open_in_browser=True)
