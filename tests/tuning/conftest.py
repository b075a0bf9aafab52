from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.conversion.prepare import Prepared, prepare
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.tuning.content_store import Store
from edgeq.tuning.float_outputs import Recording, record
from edgeq.tuning.recipe_files import Workshop
from edgeq.tuning.trial import Task
from edgeq.values import ConvertOptions, FloatModel, Recipe


@dataclass(frozen=True)
class Bench:
    ready: Prepared
    store: Store
    recording: Recording
    workshop: Workshop

    def task(self, recipe: Recipe | None = None) -> Task:
        chosen = recipe or self.workshop.plain_recipes()[0]
        return self.workshop.task(chosen, self.recording.search)


def labelled(count: int) -> dict[str, np.ndarray]:
    data = np.load(models.path("fashion_mnist_test.npz"))
    return {"image": data["x"][:count].astype(np.float32) / 255, "y": data["y"][:count]}


@pytest.fixture(scope="session")
def bench(
    float_cnn: FloatModel, tensorflow: TensorFlowProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """All that trials of the small CNN are made from."""
    pixels = labelled(460)
    pixels["image"] = pixels["image"] * 255  # it rescales itself
    scheme, io = resolve("int8", None, "channel")
    with ExitStack() as stack:
        ready = prepare(
            stack, Path(float_cnn.file.path), scheme, io, data=pixels, test_data=None,
            preprocess=(), options=ConvertOptions(samples=40), verbose=False,
            on_progress=lambda step, done, total: None, tensorflow=tensorflow,
        )  # fmt: skip
        store = Store(tmp_path_factory.mktemp("store"))
        recording = record(ready, store, needs_labels=True)
        yield Bench(ready, store, recording, Workshop(ready, store, recording))
