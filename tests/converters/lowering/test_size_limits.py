"""Small files that request far more memory than they hold are refused before it is taken."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeq import models
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader
from edgeq.errors import EdgeqError, LoweringError, SourceError
from edgeq.values import ConvertOptions


def changed(folder: Path, change: Callable[[list[Any]], None]) -> Path:
    """The model that ships with edgeq, with other configurations of its layers."""
    target = folder / "model.keras"
    with (
        zipfile.ZipFile(models.path("fmnist_cnn.keras")) as source,
        zipfile.ZipFile(target, "w") as made,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"])
                content = json.dumps(config).encode()
            made.writestr(name, content)
    return target


def widen(layers: list[Any]) -> None:
    layers[-2]["config"]["units"] = 10**8


def enlarge(layers: list[Any]) -> None:
    """An input of 2**15 rows and columns, and no layers with weights."""
    layers[0]["config"]["batch_shape"] = [None, 1 << 15, 1 << 15, 1]
    del layers[2:]
    for layer in layers:
        layer.pop("build_config", None)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (widen, SourceError, r"layer 'dense' has weights of shape \[256, 100000000\], and the"),
        (enlarge, LoweringError, r"\[1, 32768, 32768, 1\], which takes 4 GiB; the limit is 2 GiB"),
    ],
)
def test_a_small_file_that_requests_much_memory_is_refused(
    change: Callable[[list[Any]], None],
    kind: type[EdgeqError],
    told: str,
    tensorflow: TensorFlowProcess,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=told):
        path = changed(tmp_path, change)
        FileReader(path, "keras", tensorflow).lower(ConvertOptions(), tmp_path)


def test_the_model_itself_is_read(tensorflow: TensorFlowProcess, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda layers: None)
    model = FileReader(path, "keras", tensorflow).lower(ConvertOptions(), tmp_path)
    assert model.outputs[0].shape == (1, 10)
