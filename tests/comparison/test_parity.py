from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.comparison.operator_parity import (
    OperatorDifference,
    Walk,
    find_results,
    open_results,
    walk,
)
from edgeq.comparison.parity import Parity, ParityRow, _compare, parity
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.measuring import run_job
from edgeq.render.parity import show_parity
from edgeq.tflite import flatbuffer
from edgeq.values import FileRef
from tests.tiny_models import dense

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
        assert row.verdict == ("off by one" if row.largest == 1 else "rounding adds up")
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
    assert (row["first"]["operator"], row["first"]["largest"]) == ("CONV_2D", 2.0)


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
    content = int8_mobilenet.read_bytes()
    tree = flatbuffer.parse(content, "it")
    results = find_results(tree)
    assert [result.operator for result in results] == [
        flatbuffer.operator_name(tree, operator) for operator in tree.subgraphs[0].operators
    ]
    _, outputs = flatbuffer.interface(flatbuffer.parse(open_results(content, results), "it"))
    assert [spec.name for spec in outputs] == [result.output for result in results]


def test_unpacked_weights_are_not_what_differs(tmp_path: Path) -> None:
    """XNNPACK unpacks FP16 weights: an output of them would show values that were not computed."""
    model, samples = tmp_path / "half.tflite", tmp_path / "samples.npz"
    model.write_bytes(dense("float16"))
    np.savez(samples, x=np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32))
    rows = parity(model, samples).rows
    assert {row.verdict for row in rows} <= {"exact", "off by one"}
    found = [row.first for row in rows if row.first is not None]
    assert found, "nothing differs, so nothing was looked for"
    for first in found:
        assert (first.name, first.operator) == ("one", "FULLY_CONNECTED")
        assert first.largest < 1e-4


def kernels(tmp_path: Path, spoil: Callable[[dict[str, Any]], None]) -> Walk:
    """The walk over `dense`, where some kernels do to the results what `spoil` does."""
    device, names = LocalDevice(), iter(range(1000))

    def run(content: bytes, given: Any) -> dict[str, Any]:
        model = tmp_path / f"{next(names)}.tflite"
        model.write_bytes(content)
        (found,) = run_job.infer([model], iter([[given]]), device)
        return dict(found[0])

    def run_spoiled(content: bytes, given: Any) -> dict[str, Any]:
        found = run(content, given)
        spoil(found)
        return found

    inputs = {"x": np.random.default_rng(1).normal(size=(3, 8, 8)).astype(np.float32)}
    return walk(dense("float32"), inputs, run, run_spoiled)


def test_each_operator_is_judged_from_the_same_inputs(tmp_path: Path) -> None:
    """The second layer's inputs are those of the right kernels, whatever the first makes."""

    def spoil(found: dict[str, Any]) -> None:
        found["result-6"] = found["result-6"] * np.float32(1 + 1e-6)
        found["result-1"] = found["result-1"] + np.float32(3)

    assert kernels(tmp_path, lambda found: None) == Walk()
    found = kernels(tmp_path, spoil)
    assert found.first is not None
    assert found.wrong is not None
    assert (found.first.name, found.wrong.name) == ("one", "y")
    assert found.wrong.largest == pytest.approx(3, abs=1e-4)


def test_what_the_outputs_mean_is_said() -> None:
    apart = ParityRow("local", "builtin", "rounding adds up", largest=13.0)
    pi = ParityRow("pi@pi", "xnnpack", "wrong", first=OperatorDifference("c", "CONV_2D", 9.0))
    unknown, exact = replace(pi, first=None), replace(pi, verdict="exact", first=None)
    rows = (apart, pi, unknown, exact)
    result = Parity(FileRef("my m.tflite", "0", 1), 1, rows, ((0,), (0,), (0,), ()))
    shown = " ".join(show_parity(result).split())
    assert (
        "this grows to 13 at the outputs. These kernels are not wrong, but figures measured with "
        "XNNPACK are not exactly theirs. Where these kernels will run, measure the accuracy there: "
        "edgeq eval 'my m.tflite' --data DATA --device DEVICE"
    ) in shown
    assert (
        "CONV_2D alone, given the same inputs, is off by more than rounding: one of the two "
        "kernels is wrong, or computes it in another way. Where these kernels will run, measure "
        "the accuracy there: edgeq eval 'my m.tflite' --data DATA --device pi@pi"
    ) in shown
    assert shown.count("No single operator shows where the difference comes from.") == 1
    assert shown.count("edgeq eval") == 3


NAN, INF = np.nan, np.inf
STEPS, REALS = np.array([[5, -3]], np.int8), np.array([[50.0, -100.0]], np.float32)


@pytest.mark.parametrize(
    ("wanted", "given", "verdict"),
    [
        (STEPS, [[5, -3]], "exact"),
        (STEPS, [[6, -3]], "off by one"),
        (STEPS, [[5, -4]], "off by one"),
        (STEPS, [[7, -3]], "wrong"),
        (STEPS, [[5, -5]], "wrong"),
        # A part in 100,000 of the largest value is 0.001.
        (REALS, [[50.0, -100.0]], "exact"),
        (REALS, [[50.0009, -100.0]], "off by one"),
        (REALS, [[50.0, -100.0009]], "off by one"),
        (REALS, [[50.0011, -100.0]], "wrong"),
        (REALS, [[NAN, -100.0]], "wrong"),
        (REALS, [[50.0, NAN]], "wrong"),
        (REALS, [[INF, -100.0]], "wrong"),
        (np.array([[NAN, INF]], np.float32), [[NAN, INF]], "exact"),
        (np.array([[1.0, INF]], np.float32), [[1.0, -INF]], "wrong"),
        (np.array([[1.0, INF]], np.float32), [[2.0, INF]], "wrong"),
        (np.array([[1.0, INF]], np.float32), [[1.0, NAN]], "wrong"),
        (np.array([[1.0, NAN]], np.float32), [[1.0, 1.0]], "wrong"),
        # No steps of a scale: the next class is another class.
        (np.array([[3]], np.int32), [[3]], "exact"),
        (np.array([[3]], np.int32), [[4]], "wrong"),
        (np.array([[True]]), [[False]], "wrong"),
    ],
)
def test_only_rounding_is_off_by_one(wanted: np.ndarray, given: Any, verdict: str) -> None:
    quantized = frozenset({"y"} if wanted.dtype == np.int8 else ())
    other = np.array(given, wanted.dtype)
    row, apart = _compare("pi", "xnnpack", {"y": wanted}, {"y": other}, quantized)
    assert (row.verdict, apart) == (verdict, () if verdict == "exact" else (0,))
    assert (row.same_samples, row.largest == 0) == ((1, True) if verdict == "exact" else (0, False))


@pytest.mark.parametrize("order", [("steps", "reals"), ("reals", "steps")])
def test_each_output_has_its_own_rounding(order: tuple[str, str]) -> None:
    """Half a unit is an error of a float output, even if the other one has a larger step."""
    wanted = {name: {"steps": STEPS, "reals": REALS}[name] for name in order}

    def verdict(**given: Any) -> str:
        row, _ = _compare("pi", "xnnpack", wanted, {**wanted, **given}, frozenset({"steps"}))
        return row.verdict

    assert verdict(steps=STEPS + np.int8(1)) == "off by one"
    assert verdict(reals=REALS + np.float32(0.5)) == "wrong"
    assert verdict(steps=STEPS + np.int8(1), reals=REALS + np.float32(0.5)) == "wrong"
    assert verdict(steps=STEPS + np.int8(2)) == "wrong"


def test_samples_that_differ_most_come_first() -> None:
    """Operators are compared on a few samples only: those of the first class may only round."""
    wanted = {"steps": np.zeros((5, 2), np.int8), "reals": np.ones((5, 2), np.float32)}
    given = {name: values.copy() for name, values in wanted.items()}
    given["steps"][:, 0] = [1, 0, 1, 9, 1]
    given["reals"][4, 1] = 1.001  # a hundred times its rounding
    row, apart = _compare("pi", "xnnpack", wanted, given, frozenset({"steps"}))
    assert (row.verdict, apart) == ("wrong", (4, 3, 0, 2))


def test_samples_and_classes_that_differ_are_counted() -> None:
    wanted = np.array([[1, 9], [9, 1], [5, 4]], np.int8)
    given = np.array([[1, 9], [9, 0], [4, 5]], np.int8)
    row, apart = _compare("pi", "xnnpack", {"y": wanted}, {"y": given}, frozenset({"y"}))
    assert (row.same_samples, apart, row.top1_changes, row.largest) == (1, (1, 2), 1, 1.0)
    assert row.different_share == 0.5
