"""The hand-built models, for tests of the runners."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "tiny_models.py"


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The module `tests/tiny_models.py`; pytest's importlib mode has no imports among tests."""
    spec = importlib.util.spec_from_file_location("tiny_models", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a model's bytes to a file."""

    def write(content: bytes, name: str = "m.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write
