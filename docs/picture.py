"""Make `docs/compare.svg`, the picture in README: `python docs/picture.py`, with edgeq[convert].

It runs `edgeq convert` and `edgeq compare` on the example model, and draws what `compare` prints.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from edgeq import models

PICTURE = Path(__file__).with_name("compare.svg")
CONVERT = "convert model.keras --data samples.npz --preprocess scale=1/255 -o model.tflite"
COMPARE = "compare model.keras model.tflite --data test.npz"
INPUTS = {
    "model.keras": "fmnist_mobilenet.keras",
    "samples.npz": "fashion_mnist_calibration.npz",
    "test.npz": "fashion_mnist_test.npz",
}


def main() -> None:
    """Run both commands in a temporary folder, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in INPUTS.items():
            shutil.copy(models.path(source), Path(folder) / name)
        run(CONVERT, folder)
        output = run(COMPARE, folder)
    console = Console(record=True, width=100, file=sys.stdout)
    console.print(Text(f"$ edgeq {COMPARE}\n", style="bold"))
    console.print(Text.from_ansi(output))
    picture = console.export_svg(title="edgeq compare")
    # The text is in the reader's own monospaced font: a picture must not fetch one.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.S)
    PICTURE.write_text(picture.replace("Fira Code, monospace", "monospace"))


def run(command: str, folder: str) -> str:
    """Run an edgeq command in a folder, and return what it prints."""
    words = [str(Path(sys.executable).with_name("edgeq")), *command.split()]
    return subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
