"""Make the outputs of `docs/notebook.ipynb` again: `python docs/notebook.py`.

It needs edgeq[convert,dev]. It runs the cells in a temporary folder and stores what they show.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells, which run in the current folder.

    Raises:
        RuntimeError: a cell fails.
    """
    os.environ["COLUMNS"] = "100"  # whatever terminal this runs in
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    cells = []
    for number, cell in enumerate(notebook["cells"], 1):
        made = dict(cell)
        if cell["cell_type"] == "code":
            values: list[Any] = []
            shell.display_trap.hook = values.append  # instead of printing "Out[1]: ..."
            with capture_output() as shown:
                result = shell.run_cell("".join(cell["source"]))
            if not result.success:
                raise RuntimeError(f"Cell {number} fails.") from result.error_in_exec
            made |= {"execution_count": None, "outputs": [*_outputs(shell, shown.stdout, values)]}
        cells.append(made)
    return {**notebook, "cells": cells}


def _outputs(shell: InteractiveShell, text: str, values: list[Any]) -> Iterator[dict[str, Any]]:
    if text:
        yield {"name": "stdout", "output_type": "stream", "text": _lines(text)}
    for value in values:
        shown, _ = shell.display_formatter.format(value, include={"text/html", "text/plain"})
        data = {kind: _lines(text) for kind, text in sorted(shown.items())}
        yield {"data": data, "metadata": {}, "output_type": "display_data"}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the cells and write the file."""
    notebook = json.loads(NOTEBOOK.read_text())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = run(notebook)
        os.chdir(NOTEBOOK.parent)
    NOTEBOOK.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
