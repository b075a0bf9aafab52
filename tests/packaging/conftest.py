"""Packages of the MobileNet-like model, made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import models
from edgeq.models import words
from edgeq.packaging.assembly import tools
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.verification import all_checks
from edgeq.packaging.verification.requests import Asker, Job
from edgeq.packaging.verification.verify import Verification
from tests.conftest import share

LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
          "ankle boot")  # fmt: skip


class Here(Asker):
    """Answers in this process, as the parent of `verify_package` does where nothing is to run."""

    def __init__(self) -> None:
        self.compile_java = tools.LOCAL_TOOLS.compile_java
        self.measure_arena = tools.LOCAL_TOOLS.measure_arena

    def infer(self, model: bytes, inputs: Any, device: int) -> Any:
        raise AssertionError("nothing is to run")


def verify_here(path: Path) -> Verification:
    """What `verify_package` finds with `runs=False`, without a child: its start takes longer.

    That the child says the same is tested by those that call `verify_package`.
    """
    judged = all_checks.prove(Job(str(path), None, None), Here())
    return Verification(str(path), judged.manifest, judged.checks)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three words in noise and one in silence, as a microphone gives them: int16 [4, 22050]."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not here: apt-get install espeak-ng")

    def make(folder: Path) -> Any:
        random = np.random.default_rng(0)
        said = [words._say(words.SPEAKERS["test"], word, random) for word in words.WORDS[:4]]
        clips = [words._compose(word, said, random) for word in said[:3]]
        silent = np.concatenate([said[3], np.zeros(22050, np.float32)])[:22050]
        return (np.stack([*clips, 0.01 * silent]) * 32767).astype(np.int16)

    return share(tmp_path_factory, "spoken-words", make)


@pytest.fixture(scope="session")
def package(int8_mobilenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """For Python; what is common to all targets is tested on it."""
    return share(
        tmp_path_factory,
        "fashion-package",
        lambda folder: make_package(
            int8_mobilenet,
            "python",
            data=models.path("fashion_mnist_test.npz"),
            labels={"": LABELS},
            license="Apache-2.0",
            name="fashion",
            version="1.4.0",
        ),
    )
