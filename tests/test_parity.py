from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeq import flatbuffer, models
from edgeq.cli import cli
from edgeq.device_runners.local import LocalDevice
from edgeq.parity import Parity, ParityRow, difference, open_results, parity
from edgeq.render.parity import show_parity
from edgeq.values import FileRef

TEST = models.path("fashion_mnist_test.npz")


def test_kernels_here_are_compared_sample_by_sample(int8_mobilenet: Path) -> None:
    result = parity(int8_mobilenet, TEST, samples=40)
    assert [(row.device, row.kernels) for row in result.rows] == [
        ("local", "builtin"),
        ("local", "reference"),
    ]
    for row, apart in zip(result.rows, result.different, strict=True):
        assert row.same_samples == 40 - len(apart)
        assert 0 < row.largest < 30
        assert row.verdict == ("off by one" if row.largest == 1 else "wrong")
        # The first convolution already rounds differently: by one step, not more.
        assert row.first is not None
        assert (row.first.operator, row.first.largest) == ("CONV_2D", 1.0)


def test_another_device_with_the_same_kernels_is_exact(
    int8_mobilenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = parity(int8_mobilenet, TEST, devices=["local", f"local:{sys.executable}"], samples=20)
    row = result.rows[-1]
    assert (row.device, row.kernels, row.verdict) == (f"local:{sys.executable}", "xnnpack", "exact")
    assert (row.same_samples, row.different_share, row.first) == (20, 0.0, None)
    assert result.different[-1] == ()


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A device whose classes are two steps off, in place of a broken board."""
    own = LocalDevice.run

    def run(self: LocalDevice, job: Any, files: Any, folder: Path, **settings: Any) -> Any:
        result = own(self, job, files, folder, **settings)
        if self.name != "local":
            for chunk in job["chunks"]:
                for name in chunk["outputs"].values():
                    values = np.load(folder / name)
                    values.view(np.uint8).reshape(-1)[0] ^= 2  # two apart, and never wraps around
                    np.save(folder / name, values)
        return result

    monkeypatch.setattr(LocalDevice, "run", run)
    yield


@pytest.mark.usefixtures("liar")
def test_a_wrong_device_has_status_1(int8_mobilenet: Path) -> None:
    arguments = ["parity", int8_mobilenet, "--data", TEST, "--samples", 5, "--json",
                 "--devices", f"local:{sys.executable}"]  # fmt: skip
    done = CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)
    assert isinstance(done.exception, SystemExit)
    assert done.exception.code == 1
    row = json.loads(done.stdout)["rows"][-1]
    assert (row["verdict"], row["same_samples"], row["largest"]) == ("wrong", 4, 2.0)
    assert row["first"]["operator"] == "CONV_2D"


def test_a_device_that_fails_does_not_stop_the_others(int8_mobilenet: Path) -> None:
    result = parity(
        int8_mobilenet, TEST, samples=5, devices=["nobody@127.0.0.1:1", f"local:{sys.executable}"]
    )
    failed, well = result.rows[-2:]
    assert failed.verdict == "failed"
    assert failed.error == "nobody@127.0.0.1:1 cannot be reached: connection refused."
    assert well.verdict == "exact"


def status(model: Path, *devices: str) -> tuple[int, list[str]]:
    """The command's status, and each row's verdict."""
    arguments = ["parity", model, "--data", TEST, "--samples", 2, "--json"]
    for device in devices:
        arguments += ["--device", device]
    done = CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)
    rows = json.loads(done.stdout)["rows"]
    return done.exit_code, [row["verdict"] for row in rows if row["device"] != "local"]


def test_a_device_that_cannot_be_reached_has_status_1(int8_mobilenet: Path) -> None:
    assert status(int8_mobilenet, "nobody@127.0.0.1:1") == (1, ["failed"])
    exact, failing = f"local:{sys.executable}", "nobody@127.0.0.1:1"
    assert status(int8_mobilenet, exact, failing) == (1, ["exact", "failed"])
    assert status(int8_mobilenet, exact) == (0, ["exact"])


def test_kernels_of_this_machine_alone_do_not_decide(int8_mobilenet: Path) -> None:
    """They are several steps apart; see above."""
    assert status(int8_mobilenet) == (0, [])


def test_a_float_output_is_not_one_step_apart() -> None:
    row = ParityRow("local", "builtin", "off by one", largest=1.5e-7)
    result = Parity(FileRef("m.tflite", "0", 1), 1, (row, replace(row, largest=1.0)), ((0,), (0,)))
    first, second = [line for line in show_parity(result).splitlines() if "0 of 1" in line]
    assert "rounding" in first
    assert "off by one" in second
    assert "local, builtin: sample 0 differs" in show_parity(result)


def test_every_result_becomes_an_output(int8_mobilenet: Path) -> None:
    tree = flatbuffer.read(int8_mobilenet)
    operators = tree.subgraphs[0].operators
    names = open_results(tree)
    assert [operator for _, _, operator in names] == [
        flatbuffer.operator_name(tree, operator) for operator in operators
    ]
    _, outputs = flatbuffer.interface(flatbuffer.parse(flatbuffer.serialize(tree), "it"))
    assert [spec.name for spec in outputs] == [name for name, _, _ in names]


def test_differences_do_not_wrap_and_nan_is_nan() -> None:
    one, other = np.array([-128, 127], np.int8), np.array([127, 127], np.int8)
    assert difference(one, other).tolist() == [255.0, 0.0]
    one, other = np.array([np.nan, 1.0], np.float32), np.array([np.nan, 1.5], np.float32)
    assert difference(one, other).tolist() == [0.0, 0.5]
