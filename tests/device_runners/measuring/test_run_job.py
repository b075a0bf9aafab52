from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api, models
from edgeq.device_runners.devices import runtimes
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.measuring import run_job
from edgeq.errors import DeviceError, SourceError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import BenchOptions, FloatModel, RuntimeInfo

QUICK = BenchOptions(runs=60)
Save = Callable[..., Path]


def test_bench_measures_models_in_turns(float_mobilenet: FloatModel, int8_mobilenet: Path) -> None:
    paths = [Path(float_mobilenet.file.path), int8_mobilenet]
    result = run_job.bench(paths, LocalDevice(), QUICK)
    assert [run.latency.count for run in result.runs] == [60, 60]
    assert len(result.speedups) == 1
    ratio = result.speedups[0]
    assert ratio.low <= ratio.value <= ratio.high
    assert result.runs[0].arena_bytes > result.runs[1].arena_bytes
    assert result.facts.core_count >= 1


def test_infer_streams_chunks_in_order(float_cnn: FloatModel) -> None:
    name = float_cnn.inputs[0].name
    with np.load(models.path("fashion_mnist_calibration.npz")) as stored:
        pictures = stored["x"][:30].astype(np.float32)

    def chunks() -> Iterator[list[dict[str, np.ndarray]]]:
        for start in (0, 7, 14, 21):
            yield [{name: pictures[start : start + 7]}]

    model, out = Path(float_cnn.file.path), float_cnn.outputs[0].name
    found = list(run_job.infer([model], chunks(), LocalDevice(), workers=2))
    joined = np.concatenate([chunk[out] for (chunk,) in found])
    ((whole,),) = run_job.infer([model], iter([[{name: pictures[:28]}]]), LocalDevice())
    np.testing.assert_array_equal(joined, whole[out])


class Damaging(LocalDevice):
    """Its outputs arrive with another beginning."""

    def run(self, job: Any, files: Any, folder: Path, **options: Any) -> Any:
        result = super().run(job, files, folder, **options)
        for chunk in job["chunks"]:
            for name in chunk["outputs"].values():
                (folder / name).write_bytes(b"\x93NUMPY" + bytes(100))
        return result


def test_outputs_that_did_not_arrive_whole_are_told(tiny: Any, save: Save) -> None:
    chunks = iter([[{"x": np.ones((2, 3), np.float32)}]])
    message = (
        r"^The outputs of local did not arrive complete: out-0-0\.npy has version 0\.0 of the "
        r"\.npy format, which edgeq does not know\. Run the command again\.$"
    )
    with pytest.raises(DeviceError, match=message):
        list(run_job.infer([save(tiny.add_one(), "one.tflite")], chunks, Damaging()))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_models_side_by_side_keep_their_chunks_apart(tiny: Any, save: Save, workers: int) -> None:
    models = [save(tiny.add_one(), "one.tflite"), save(tiny.add_one(), "two.tflite")]
    chunks = (
        [{"x": np.full((2, 3), number, np.float32)}, {"x": np.full((4, 3), -number, np.float32)}]
        for number in range(5)
    )
    found = list(run_job.infer(models, chunks, LocalDevice(), workers=workers))
    for number, (first, second) in enumerate(found):
        np.testing.assert_array_equal(first["y"], np.full((2, 3), number + 1.0))
        np.testing.assert_array_equal(second["y"], np.full((4, 3), 1.0 - number))
    assert len(found) == 5


@pytest.mark.shared
def test_a_fused_lstm_forgets_the_last_sample(shared: Path) -> None:
    path = shared / "mnist_lstm" / "trained_lstm.tflite"
    inputs, outputs = flatbuffer.interface(flatbuffer.read(path))
    sample = np.random.default_rng(0).random((28, 28), np.float32)
    chunk = {inputs[0].name: np.stack([sample] * 3)}
    ((found,),) = run_job.infer([path], iter([[chunk]]), LocalDevice())
    values = found[outputs[0].name]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_a_model_that_kills_its_process_is_an_error_message(tiny: Any, save: Save) -> None:
    path = save(tiny.bottomless(), "deep.tflite")
    with pytest.raises(DeviceError) as caught:
        run_job.bench([path], LocalDevice(), QUICK)
    assert str(caught.value) == (
        f"{path} cannot be run on local: the worker was killed by SIGSEGV while loading the "
        "model. Check the file, or try another --runtime."
    )


def test_chunks_beyond_the_disk_space_allowed_run_in_several_jobs(
    tiny: Any, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_job, "_MOST_BYTES", 200)
    path = save(tiny.add_one())
    chunks = [[{"x": np.full((5, 3), number, np.float32)}] for number in range(9)]  # 60 bytes
    ends = []
    found = run_job.infer(
        [path], iter(chunks), LocalDevice(),
        on_event=lambda event: ends.append(event) if event["event"] == "end" else None,
    )  # fmt: skip
    assert [chunk["y"][0, 0] for (chunk,) in found] == [number + 1.0 for number in range(9)]
    assert len(ends) == 3


def test_a_damaged_weight_is_an_error_message(float_cnn: FloatModel, tmp_path: Path) -> None:
    """A filter that promises far more elements than it has."""
    tree = flatbuffer.read(Path(float_cnn.file.path))
    for operator in tree.subgraphs[0].operators:
        if flatbuffer.operator_name(tree, operator) == "CONV_2D":
            tensor = tree.subgraphs[0].tensors[operator.inputs[1]]
            tree.buffers[tensor.buffer].data = tree.buffers[tensor.buffer].data[:8]
    path = tmp_path / "hostile.tflite"
    path.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(DeviceError, match=r"hostile\.tflite cannot be run on local: "):
        run_job.bench([path], LocalDevice(), QUICK)


@pytest.mark.parametrize("seed", range(8))
def test_a_fuzzed_flatbuffer_never_takes_edgeq_down(
    int8_mobilenet: Path, tmp_path: Path, seed: int
) -> None:
    content = bytearray(int8_mobilenet.read_bytes())
    random = np.random.default_rng(seed)
    for position in random.integers(8, len(content), 30):
        content[position] = random.integers(256)
    path = tmp_path / "fuzzed.tflite"
    path.write_bytes(bytes(content))
    try:
        result = run_job.bench([path], LocalDevice(), BenchOptions(runs=3))
        assert result.runs[0].latency.count == 3  # the damage hit weights only
    except (DeviceError, SourceError) as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("version", "runtime", "fits"),
    [
        ("2.17.0", RuntimeInfo("tflite-runtime", "2.14.0"), False),
        ("1.14.0", RuntimeInfo("tflite-runtime", "2.14.0"), True),
        ("2.14.0", RuntimeInfo("tflite-runtime", "2.14.0"), True),
        ("2.9.0", RuntimeInfo("tensorflow", "2.21.0"), True),
        ("2.17.0", RuntimeInfo("ai-edge-litert", "1.0.1"), True),
        (None, RuntimeInfo("tflite-runtime", "2.5.0"), True),
    ],
)
def test_versions_are_compared_as_numbers(
    version: str | None, runtime: RuntimeInfo, fits: bool
) -> None:
    if fits:
        runtimes.check_runtime(version, runtime, Path("m.tflite"))
        return
    with pytest.raises(DeviceError) as caught:
        runtimes.check_runtime(version, runtime, Path("m.tflite"))
    assert str(caught.value) == (
        "m.tflite needs TensorFlow Lite 2.17.0 or newer; tflite-runtime there is 2.14.0. Install "
        "ai-edge-litert there, or convert with --granularity tensor or another --scheme."
    )


@pytest.fixture
def old_runtime() -> LocalDevice:
    """tflite-runtime 2.14 in a separate environment, as scripts/test makes it."""
    python = os.environ.get("EDGEQ_TFLITE_RUNTIME_PYTHON")
    if python is None:
        pytest.skip("EDGEQ_TFLITE_RUNTIME_PYTHON names no Python with tflite-runtime")
    return LocalDevice(Path(python))


def test_tflite_runtime_gives_the_same_classes(
    int8_mobilenet: Path, old_runtime: LocalDevice
) -> None:
    inputs, outputs = flatbuffer.interface(flatbuffer.read(int8_mobilenet))
    random = np.random.default_rng(0)
    chunk = {inputs[0].name: random.integers(-128, 128, (20, 28, 28, 1), np.int8)}
    found = [
        next(run_job.infer([int8_mobilenet], iter([[chunk]]), device, runtime=runtime))[0]
        for device, runtime in ((LocalDevice(), None), (old_runtime, "tflite-runtime"))
    ]
    ours, theirs = (values[outputs[0].name].astype(int) for values in found)
    assert np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)) >= 0.9


def test_a_model_that_is_too_new_for_the_runtime_is_refused(
    old_runtime: LocalDevice, tmp_path: Path
) -> None:
    path = tmp_path / "dynamic.tflite"
    api.convert(models.path("fmnist_cnn.keras"), path, scheme="dynamic")
    with pytest.raises(DeviceError) as caught:
        run_job.bench([path], old_runtime, BenchOptions(runs=5, runtime="tflite-runtime"))
    assert str(caught.value).startswith(
        f"{path} needs TensorFlow Lite 2.17.0 or newer; tflite-runtime there is 2.14"
    )
    # ... rightly: past our own check, which a file that says nothing passes, the runtime refuses it
    stale = tmp_path / "stale.tflite"
    tree = flatbuffer.read(path)
    flatbuffer.set_metadata(tree, "min_runtime_version", b"")
    stale.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(DeviceError, match=r"tflite-runtime 2\.14\.\d is too old: Didn't find op"):
        run_job.bench([stale], old_runtime, BenchOptions(runs=5, runtime="tflite-runtime"))


def test_tflite_runtime_is_really_the_one_measured(
    int8_mobilenet: Path, old_runtime: LocalDevice
) -> None:
    options = BenchOptions(runs=30, runtime="tflite-runtime")
    result = run_job.bench([int8_mobilenet], old_runtime, options)
    assert result.runs[0].runtime.name == "tflite-runtime"
    assert result.runs[0].runtime.version.startswith("2.14")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("local:", None),
        ("adb:", None),
        ("", None),
        ("raspberrypi", "For a board over SSH, add its user, such as pi@raspberrypi"),
        ("pi.local:22", "For a board over SSH, add its user, such as pi@pi.local:22"),
        ("lcoal", "Did you mean 'local'? For a board over SSH, add its user, such as pi@lcoal"),
        ("local,pi", "Name one device of this list."),
    ],
)
def test_an_unknown_device_lists_the_known_forms(text: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_device(text)
    assert caught.value.message == (
        f"Unknown device {text!r}; known forms are local, local:/path/to/python, user@host, "
        "ssh://user@host:port, a host of ~/.ssh/config, adb, adb:SERIAL, emulated:arm64."
    )
    assert caught.value.hint == hint


def test_an_interpreter_that_does_not_exist() -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_device("local:/none/python").facts()
    assert str(caught.value) == (
        "Cannot start /none/python: No such file or directory. Pass --python with the path of a "
        "Python interpreter."
    )


def test_an_interpreter_that_is_none() -> None:
    with pytest.raises(DeviceError, match="did not answer like a Python"):
        resolve_device("local:/bin/true").facts()


def test_a_runtime_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(DeviceError) as caught:
        runtimes.choose_runtime(LocalDevice(Path(sys.executable)), "tflite-runtime")
    assert str(caught.value).startswith(f"local:{sys.executable} has no tflite-runtime; it has: ")
    assert str(caught.value.hint).startswith("It needs Python 3.9 to 3.11 and numpy below 2, ")
    assert str(caught.value.hint).endswith("name that one: --python ENV/bin/python")
