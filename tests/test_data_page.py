"""The Python blocks of docs/data.md: each makes the same file as the `.npz` of its samples."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from tests.commands import find_torch_packages

_PAGE = Path(__file__).parents[1] / "docs" / "data.md"
_BLOCKS = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
# Blocks run in one process, as in a notebook. PyTorch and `datasets` are in another environment,
# whose packages come after those of this one: a TensorFlow child that finds pyarrow, which
# `datasets` installs, starts a thread that the sandbox cannot confine.
_RUN = """
LIBRARIES = ("tensorflow", "torch", "keras", "datasets", "pandas")
import site, sys, warnings
from importlib.util import find_spec
from pathlib import Path
from edgeq import api

for folder in sys.argv[1:]:
    site.addsitedir(folder)
blocks = Path("blocks").read_text().split("\\f")
exec(blocks[0], space := {})
for number, block in enumerate(["", *blocks]):
    data = "samples.npz"
    needed = [name for name in LIBRARIES if f"import {name}\\n" in block]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        print(number, "needs", *missing)
        continue
    if block:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(block, space)
        data = space["data"]
    made = api.convert("float.tflite", f"{number}.tflite", data=data, effort="fast")
    print(number, made.data.sample_count, *(issue.code for issue in made.issues))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, float_file: Path) -> tuple[Path, list[str]]:
    """A folder with the file that each block made, and a line about each."""
    folder = tmp_path_factory.mktemp("page")
    with np.load(models.path("fashion_mnist_calibration.npz")) as archive:
        images, labels = archive["x"][:256] / np.float32(255), archive["y"][:256]
    np.savez(folder / "samples.npz", x=images, y=labels)
    (folder / "float.tflite").write_bytes(float_file.read_bytes())
    (folder / "blocks").write_text("\f".join(_BLOCKS))
    command = [sys.executable, "-c", _RUN, *find_torch_packages()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


@pytest.mark.parametrize("number", range(1, len(_BLOCKS) + 1))
def test_every_source_gives_the_same_file(page: tuple[Path, list[str]], number: int) -> None:
    folder, told = page
    if "needs" in told[number]:
        pytest.skip(f"Block {told[number]}, which is not installed")
    assert (folder / f"{number}.tflite").read_bytes() == (folder / "0.tflite").read_bytes()
    assert told[number].split()[:2] == [str(number), "256"]
    assert "data." not in told[number]
