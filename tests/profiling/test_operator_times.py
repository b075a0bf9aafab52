from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from edgeq import api, models
from edgeq.cli import cli
from edgeq.converters.graph.matching import pair_layers
from edgeq.errors import DataError, DeviceError, UsageError
from edgeq.profiling.event_mapping import map_events
from edgeq.profiling.operator_times import profile as profile_models
from edgeq.profiling.reasons import find_reasons
from edgeq.render.profile import show_profile
from edgeq.tflite import flatbuffer
from edgeq.values import (
    FileRef,
    MemorySpeed,
    ModelProfile,
    OperatorTime,
    Profile,
    RuntimeInfo,
)
from tests.tiny_models import dense, fused_lstm, mystery

RUNS = 12
MEMORY = MemorySpeed(bytes_per_s=10e9, cache_bytes=1 << 20)


@pytest.fixture(scope="module")
def both(float_file: Path, int8_mobilenet: Path) -> Profile:
    """The float file is given first, and comes second anyway."""
    return profile_models([float_file, int8_mobilenet], runs=RUNS)


def test_the_times_of_all_operators_make_the_latency(both: Profile, int8_mobilenet: Path) -> None:
    quantized, floating = both.models
    assert (quantized.model.path, quantized.runs) == (str(int8_mobilenet), RUNS)
    assert quantized.runtime.name == "ai-edge-litert"
    for model in (quantized, floating):
        assert model.unmapped == ()
        timed = [op for op in model.operators if op.time_ms is not None]
        assert sum(op.time_ms or 0 for op in timed) == pytest.approx(model.operators_ms)
        assert sum(op.share for op in timed) == pytest.approx(1)
        assert sum(item.time_ms for item in model.types) == pytest.approx(model.operators_ms)
        assert 0 < model.operators_ms < 5 * model.latency_ms
        assert model.conversion_ms == model.island_ms == 0
    tree = flatbuffer.read(int8_mobilenet)
    names = [flatbuffer.operator_name(tree, op) for op in tree.subgraphs[0].operators]
    assert [op.operator for op in quantized.operators] == names
    outside = [op.operator for op in quantized.operators if not op.is_delegated]
    assert outside == ["SOFTMAX"]  # XNNPACK has no INT8 one
    assert quantized.operators[0].precision == "int8"
    assert quantized.operators[0].kernels == ("Convolution (NHWC, QC8) IGEMM",)
    assert floating.operators[0].kernels == ("Convolution (NHWC, F32) IGEMM",)
    weights = quantized.operators[0].constant_bytes, floating.operators[0].constant_bytes
    assert weights[1] == 4 * (3 * 3 * 16 + 16) and weights[0] == 3 * 3 * 16 + 4 * 16


def test_layers_stand_side_by_side(both: Profile) -> None:
    quantized, floating = both.models
    assert len(both.pairs) == len(quantized.operators) == 24
    for ours, theirs in both.pairs:
        assert quantized.operators[ours].operator == floating.operators[theirs].operator
    assert both.memory.bytes_per_s > 1e8
    assert "profile.too_short" in [issue.code for issue in both.issues]
    assert both.validity == "degraded"


def test_layers_are_paired_whatever_is_fused_or_packed(
    both: Profile, int8_mobilenet: Path, float_file: Path
) -> None:
    """A file of quantization-aware training clamps by its ranges; an FP16 one unpacks weights."""
    quantized, floating = flatbuffer.read(int8_mobilenet), flatbuffer.read(float_file)
    options = [operator.builtinOptions for operator in quantized.subgraphs[0].operators]
    fused = [item for item in options if getattr(item, "fusedActivationFunction", 0)]
    assert len(fused) > 5
    for item in fused:
        item.fusedActivationFunction = 0
    assert tuple(sorted(pair_layers(quantized, floating).items())) == both.pairs
    packed, plain = (flatbuffer.parse(dense(dtype), dtype) for dtype in ("float16", "float32"))
    assert pair_layers(packed, plain) == {2: 0, 3: 1, 4: 2}
    assert pair_layers(plain, packed) == {0: 2, 1: 3, 2: 4}


def test_what_is_paired_is_counted(both: Profile) -> None:
    shown = show_profile(both)
    assert "24 of 24 operators paired with the second model's" in shown
    assert "without a counterpart" not in shown
    left = replace(both, pairs=both.pairs[:-1])
    counted = "23 of 24 operators paired with the second model's; without a counterpart: SOFTMAX"
    assert counted in " ".join(click.unstyle(show_profile(left)).split())


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One convolution stays in float, between conversions."""
    path = tmp_path_factory.mktemp("island") / "mixed.tflite"
    api.convert(
        models.path("fmnist_cnn.keras"), path, effort="fast", keep_float=["type:CONV_2D"],
        data=models.path("fashion_mnist_calibration.npz"),
    )  # fmt: skip
    return path


def test_float_islands_and_conversions_are_told(island: Path) -> None:
    result = profile_models(island, runs=RUNS)
    (model,) = result.models
    found = [op for op in model.operators if op.is_island]
    assert {op.operator for op in found} >= {"CONV_2D"}
    assert all(op.precision == "float32" for op in found)
    assert model.island_ms == pytest.approx(sum(op.time_ms or 0 for op in found))
    conversions = [op for op in model.operators if op.operator in ("QUANTIZE", "DEQUANTIZE")]
    assert conversions
    assert model.conversion_ms == pytest.approx(sum(op.time_ms or 0 for op in conversions))
    reason = next(line for line in result.reasons if line.startswith("Float operators"))
    assert "CONV_2D" in reason and f"of {model.operators_ms:.4f} ms" in reason


def test_a_runtime_without_xnnpack_is_a_reason() -> None:
    operators = [operator(0, "CONV_2D", 1.0, is_delegated=False), operator(1, "ADD", 0.1)]
    assert reasons(operators) == (
        "XNNPACK computes 1 of 2 INT8 operators: the others run on TensorFlow Lite's own kernels "
        "and take 1.0000 ms, 90.9% of 1.1000 ms.",
    )


def test_conversions_and_islands_are_reasons() -> None:
    operators = [
        operator(0, "QUANTIZE", 0.2),
        operator(1, "CONV_2D", 1.0),
        operator(2, "DEQUANTIZE", 0.3),
        operator(3, "EXP", 0.5, precision="float32", is_island=True),
    ]
    assert reasons(operators) == (
        "Conversions, 1 QUANTIZE and 1 DEQUANTIZE, take 0.5000 ms, 25.0% of 2.0000 ms.",
        "Float operators inside the file, 1 EXP, take 0.5000 ms, 25.0% of 2.0000 ms.",
    )


def test_a_kernel_that_is_lost_or_slower_is_a_reason() -> None:
    operators = [
        operator(0, "GELU", 0.4, is_delegated=False),
        operator(1, "CONV_2D", 1.0),
        operator(2, "ADD", 0.6),
    ]
    floats = [operator(0, "GELU", 0.1), operator(1, "CONV_2D", 2.0), operator(2, "ADD", 0.3)]
    assert reasons(operators, floats) == (
        "GELU has no INT8 kernel in XNNPACK: TensorFlow Lite's own takes 0.4000 ms, 20.0% of "
        "2.0000 ms, XNNPACK's FP32 kernel 0.1000 ms.",
        "ADD is slower in INT8 on this processor, inside XNNPACK in both: 1 take 0.6000 ms, 30.0% "
        "of 2.0000 ms, in FP32 0.3000 ms.",
    )


def test_what_the_clock_may_have_made_is_no_reason() -> None:
    operators = [operator(0, "CONV_2D", 0.0100), operator(1, "ADD", 0.0010)]
    floats = [operator(0, "CONV_2D", 0.0200), operator(1, "ADD", 0.0005)]
    assert reasons(operators, floats) == ()


def test_short_operators_are_a_reason_when_little_is_gained() -> None:
    operators = [operator(i, "ADD", 0.0005) for i in range(4)]
    assert reasons(operators, operators) == (
        "The 4 operators take 0.5 us each on average, too short for 8 bits to save much.",
    )


@pytest.mark.parametrize(
    ("size", "told"), [(8_000_000, True), (4_000_000, False), (1_000_000, False)]
)
def test_weights_from_the_memory_are_a_reason(size: int, told: bool) -> None:
    """At more than half of the memory's speed, and only when the cache is too small for them."""
    operators = [operator(0, "FULLY_CONNECTED", 1.0, size=size)]
    expected = (
        "FULLY_CONNECTED is memory bound: 1 read 8.0 MB of weights in 1.0000 ms, 100.0% of "
        "1.0000 ms; that is 8.0 GB/s, and the memory here moves 10.0. Fewer bytes help, faster "
        "arithmetic does not.",
    )
    assert reasons(operators) == (expected if told else ())
    cached = replace(MEMORY, cache_bytes=16 << 20), replace(MEMORY, cache_bytes=None)
    for memory in cached:
        assert reasons(operators, memory=memory) == ()


def operator(
    index: int,
    name: str,
    time_ms: float,
    *,
    precision: str = "int8",
    is_delegated: bool = True,
    is_island: bool = False,
    size: int = 0,
) -> OperatorTime:
    return OperatorTime(
        index, f"t{index}", name, precision, ("kernel",), is_delegated, time_ms, 0.0, is_island,
        constant_bytes=size,
    )  # fmt: skip


def reasons(
    operators: Sequence[OperatorTime],
    floats: Sequence[OperatorTime] = (),
    memory: MemorySpeed = MEMORY,
) -> tuple[str, ...]:
    baseline = made(floats) if floats else None
    pairs = [(op.index or 0, op.index or 0) for op in operators] if floats else []
    return find_reasons(made(operators), baseline, pairs, memory)


def made(operators: Sequence[OperatorTime]) -> ModelProfile:
    total = sum(op.time_ms or 0 for op in operators)
    shared = [replace(op, share=(op.time_ms or 0) / total) for op in operators]
    return ModelProfile(
        FileRef("it", 1, ""), RuntimeInfo("ai-edge-litert", "2.3.0"), 1, total, total, 0.0,
        tuple(shared), (), (), 0.0, 0.0,
    )  # fmt: skip


# ---------------------------------------------------------------- which operator did it


def events(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "kind": "delegate", "operator": None} for name in names]


def test_xnnpack_steps_find_their_operators(int8_mobilenet: Path) -> None:
    """A helper before its operator, and a vanished reshape."""
    tree = flatbuffer.read(int8_mobilenet)
    graph = tree.subgraphs[0]
    graph.operators = [graph.operators[i] for i in (0, 2, 22)]  # CONV, DEPTHWISE, FULLY_CONNECTED
    names = ("Convolution (NHWC, QC8) IGEMM", "Convolution (NHWC, QC8) DWConv",
             "Static Reshape (ND, QS8)", "Fully Connected (NC, QS8, QC8W) GEMM")  # fmt: skip
    assert map_events(tree, events(*names)) == [0, 1, 2, 2]
    assert map_events(tree, events(*names, "Sinus (NC, F32)")) == [0, 1, 2, 2, None]


def test_what_tensorflow_lite_computes_itself_is_told_by_it(int8_mobilenet: Path) -> None:
    tree = flatbuffer.read(int8_mobilenet)
    own = [{"name": "SOFTMAX", "kind": "builtin", "operator": 23}]
    mapped = map_events(tree, [*events("Convolution (NHWC, QC8) IGEMM"), *own])
    assert mapped == [0, 23]


# ---------------------------------------------------------------- what is refused


def test_wrong_models_are_refused(
    float_file: Path, island: Path, int8_mobilenet: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"profile takes one model or two, not 3"):
        profile_models([float_file] * 3)
    with pytest.raises(UsageError, match=r"profile needs at least 1 run and 1 thread, not 0 and 1"):
        profile_models(float_file, runs=0)
    with pytest.raises(DataError):
        profile_models([int8_mobilenet, island], runs=1)


def test_a_model_that_the_runtime_refuses_is_told(int8_mobilenet: Path, tmp_path: Path) -> None:
    tree = flatbuffer.read(int8_mobilenet)
    index = flatbuffer.indices(tree.subgraphs[0].operators[0].inputs)[1]
    tree.subgraphs[0].tensors[index].shape = np.array([16, 5, 5, 1], np.int32)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(DeviceError) as caught:
        profile_models(broken, runs=1)
    assert caught.value.message.startswith(f"{broken} cannot be profiled on local: ")
    assert caught.value.hint == "Check with edgeq bench whether the model runs there at all."


def test_a_reason_is_the_runtimes_own(tmp_path: Path) -> None:
    path = tmp_path / "mystery.tflite"
    path.write_bytes(mystery())
    with pytest.raises(DeviceError) as caught:
        profile_models(path, runs=1)
    assert caught.value.message == (
        f"{path} cannot be profiled on local: LiteRtGetCompiledModelOutputTensorLayouts returned "
        "status 3 (Node number 0 (Mystery) failed to prepare)."
    )


def test_a_fused_lstm_is_timed(tmp_path: Path) -> None:
    """LiteRT's reader refuses its state, and its interpreter runs it."""
    path = tmp_path / "lstm.tflite"
    path.write_bytes(fused_lstm())
    (model,) = profile_models(path, runs=3).models
    (timed,) = model.operators
    assert (timed.operator, timed.kernels) == (
        "UNIDIRECTIONAL_SEQUENCE_LSTM", ("UNIDIRECTIONAL_SEQUENCE_LSTM",)
    )  # fmt: skip
    assert timed.time_ms is not None


def test_intermediate_tensors_are_hidden_from_the_reader(shared: Path) -> None:
    path = shared / "mnist_lstm" / "trained_lstm_int8.tflite"
    (model,) = profile_models(path, runs=3).models
    assert [op.operator for op in model.operators if op.time_ms is not None] == [
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"
    ]  # fmt: skip


def test_an_old_litert_is_refused(int8_mobilenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq.profiling import operator_times

    old = RuntimeInfo("ai-edge-litert", "1.4.0")
    monkeypatch.setattr(operator_times, "choose_runtime", lambda *given: old)
    with pytest.raises(DeviceError) as caught:
        profile_models(int8_mobilenet)
    assert caught.value.message == (
        "ai-edge-litert 1.4.0 on local does not report the time of each operator; 2.3 does."
    )


# ---------------------------------------------------------------- the command


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["profile", *map(str, arguments)], standalone_mode=False)


def test_the_command_shows_the_longest_operators(
    int8_mobilenet: Path, float_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # however long a slow machine's figures are
    done = run(int8_mobilenet, float_file, "--runs", RUNS)
    assert done.exception is None
    head, where, *lines = done.stdout.splitlines()
    assert head == f"{int8_mobilenet} against {float_file}, {RUNS} inferences of each"
    assert where.startswith("local: ") and "ai-edge-litert" in where and "1 thread" in where
    columns = next(line for line in lines if "layer" in line).split()
    assert columns == ["#", "layer", "operator", "ms", "share", "ms", "FP32", "gain", "kernel"]
    assert any("and 14 operators with" in line for line in lines)
    every = run(int8_mobilenet, "--runs", RUNS, "--all").stdout
    assert "--all" not in every and every.count("CONV_2D") >= 17


def test_the_record_holds_every_operator(int8_mobilenet: Path, tmp_path: Path) -> None:
    record = tmp_path / "profile.json"
    done = run(int8_mobilenet, "--runs", RUNS, "--json", "-o", record,
               "--device", f"local:{sys.executable}")  # fmt: skip
    assert done.exception is None
    found = json.loads(done.stdout)
    assert json.loads(record.read_text()) == found
    assert len(found["models"][0]["operators"]) == 24
    assert found["facts"]["device"] == f"local:{sys.executable}"


def test_a_record_does_not_replace_the_model(int8_mobilenet: Path) -> None:
    before = int8_mobilenet.read_bytes()
    done = run(int8_mobilenet, "-o", int8_mobilenet)
    assert isinstance(done.exception, UsageError)
    assert int8_mobilenet.read_bytes() == before
