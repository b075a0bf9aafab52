"""Whether a model fits a board: the arena is that of a package, and a missing byte is stated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner, Result

from edgeq.children.child import TIME_LIMIT
from edgeq.children.other_python import OtherPython
from edgeq.cli import cli
from edgeq.converters.proof.certificate import certify
from edgeq.errors import PackageError, UsageError
from edgeq.fit import boards, judging, kernel_code, needs, peaks
from edgeq.fit.fit import fit_model
from edgeq.fit.operators import METHODS, list_operators, require_supported
from edgeq.gating.gate import gate
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.golden.sample_doubts import real_range
from edgeq.records.reading import read_record
from edgeq.reporting.report import make_report
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import Board, MicroNeeds
from edgeq.wording import plural
from tests.tiny_models import Operator as Op
from tests.tiny_models import (
    add_one,
    double_int8,
    endless,
    graph,
    model,
    mystery,
    operator,
    subtract,
    tensor,
)

NEEDS = MicroNeeds("0.dev1", 50_000, 57_344, 49_000, 9_000, 40_000, ())
BOARD = Board("b", "B", "", 1 << 20, 256 << 10, "", ())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["fit", *map(str, arguments)], standalone_mode=False)


def status(result: Result) -> Any:
    return result.return_value if result.exception is None else result.exception


@pytest.fixture(scope="module")
def vww(shared: Path) -> Path:
    return shared / "mlperf_tiny" / "vww_96_int8.tflite"


# ---------------------------------------------------------------- the arena


SHARED = (
    "mlperf_tiny/ad01_int8.tflite",
    "mlperf_tiny/ad01_fp32.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
    "kws/kws_ref_model.tflite",
    "mnist_lstm/trained_lstm_int8.tflite",
)
TINY = {"add": add_one, "double": double_int8, "subtract": subtract}


def arena_of_package(path: Path, tmp_path: Path) -> int:
    """The arena that `package --target c` states, for other samples than those of `fit`."""
    inputs, _ = read_model(path).interface
    drawn = np.random.default_rng(1)
    samples = {
        spec.name: drawn.uniform(*real_range(spec), (4, *spec.shape[1:])).astype(np.float32)
        if spec.scales
        else drawn.uniform(-1, 1, (4, *spec.shape[1:])).astype(np.float32)
        for spec in inputs
    }
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **samples)
    made = make_package(path, "c", data=tmp_path / "samples.npz", vectors=2, name="m")
    header = made.files["src/edgeq_m_package.h"].decode()
    return int(header.partition("kArenaBytesMeasured = ")[2].partition(";")[0])


@pytest.mark.parametrize("name", SHARED)
def test_the_arena_is_that_of_the_package(
    tflite_micro: OtherPython, shared: Path, tmp_path: Path, name: str
) -> None:
    path = shared / name
    fit = fit_model(path, boards=["raspberry-pi-pico"])
    assert fit.needs is not None and fit.refusal is None
    assert fit.needs.arena_bytes == arena_of_package(path, tmp_path)
    assert fit.needs.runtime == tflite_micro.version


@pytest.mark.parametrize("name", TINY)
def test_the_arena_of_tiny_models(tflite_micro: OtherPython, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(TINY[name]())
    fit = fit_model(path, boards=["raspberry-pi-pico"])
    assert fit.needs is not None
    assert fit.needs.arena_bytes == arena_of_package(path, tmp_path)


def test_the_arena_of_our_own_model(
    tflite_micro: OtherPython, int8_mobilenet: Path, tmp_path: Path
) -> None:
    """With real samples for the package."""
    fit = fit_model(int8_mobilenet, flash_bytes=1 << 20, ram_bytes=1 << 20)
    made = make_package(int8_mobilenet, "c", vectors=1, name="m")
    header = made.files["src/edgeq_m_package.h"].decode()
    assert fit.needs is not None
    assert f"kArenaBytesMeasured = {fit.needs.arena_bytes};" in header
    assert f"kArenaBytes = {fit.needs.reserved_bytes};" in header
    assert f"kArenaBytesPersistent = {fit.needs.persistent_bytes};" in header


def test_inputs_that_are_made_up_are_valid() -> None:
    inputs, _ = parse_model(double_int8(), "double").interface
    values = needs._example(replace(inputs[0], shape=(-1, 5000)), 0)
    assert values.shape == (1, 5000) and (values.min(), values.max()) == (-128, 127)
    indices = needs._example(replace(inputs[0], dtype="int32"), 0)
    assert indices.dtype == np.int32 and not indices.any()


# ---------------------------------------------------------------- memory over time


def test_the_peak_is_what_the_planner_needs(tflite_micro: OtherPython, shared: Path) -> None:
    """For a model without gaps between tensors: what is not persistent is the peak."""
    file = read_model(shared / "mlperf_tiny" / "pretrainedResnet_quant.tflite")
    reports = certify(file).operators
    found = needs.measure_needs(file, list_operators(reports))
    steps = peaks.list_steps(file, reports)
    assert max(step.alive_bytes for step in steps) == found.recorded_bytes - found.persistent_bytes
    top = max(steps, key=lambda step: step.alive_bytes)
    assert (top.index, top.operator, top.alive_bytes) == (2, "CONV_2D", 49_152)


def test_tensors_live_from_their_operator_to_the_last_reader() -> None:
    """x -> a -> b -> y, and a is read again at the end; 16 floats are 64 bytes.

    An output that is left out, -1, takes none, although -1 is Python's index of the last tensor.
    """
    tensors = [tensor(name, [1, 16]) for name in "xaby"] + [
        tensor("short", [1, 3]),
        tensor("unused", [1, 99]),
    ]
    main = graph(
        tensors,
        [0],
        [3],
        [
            operator(0, [0], [1]),
            operator(0, [1], [2]),
            operator(1, [2], [4, -1]),
            operator(0, [1], [3]),
        ],
    )
    file = parse_model(model([main], [(Op.ABS, 1), "Odd"]), "m")
    steps = peaks.list_steps(file, certify(file).operators)
    found = [step.alive_bytes for step in steps]
    assert found == [64 + 64, 64 + 64, 64 + 64 + 16, 64 + 64]


# ---------------------------------------------------------------- the verdict


def judge(board: Board, model_bytes: int = 100_000, **more: Any) -> Any:
    return judging.judge_board(board, model_bytes, (), NEEDS, **more)


def test_one_byte_decides() -> None:
    exactly = replace(BOARD, flash_bytes=140_000)
    free = {"headroom_flash": 0, "headroom_ram": 0}
    assert judge(exactly, **free).verdict == "fits"
    one_less = judge(replace(exactly, flash_bytes=139_999), **free)
    assert one_less.verdict == "no" and one_less.flash_left_bytes == -1
    assert one_less.reasons == (
        "flash is too small by 1 byte: the model has 100,000 bytes, and the code about 40,000",
    )
    assert judge(exactly, 100_001, **free).verdict == "no"
    small = judge(replace(BOARD, ram_bytes=49_999), **free)
    assert small.verdict == "no" and small.ram_left_bytes == -1
    assert small.reasons == ("RAM is too small by 1 byte: the arena has 50,000 bytes",)
    assert judge(replace(BOARD, ram_bytes=50_000), **free).verdict == "tight"
    assert judge(replace(BOARD, ram_bytes=57_344), **free).verdict == "fits"


def test_room_for_the_program() -> None:
    flash = 140_000 + judging.HEADROOM_FLASH_BYTES
    ram = 57_344 + judging.HEADROOM_RAM_BYTES
    assert judge(replace(BOARD, flash_bytes=flash, ram_bytes=ram)).verdict == "fits"
    tight = judge(replace(BOARD, flash_bytes=flash - 1, ram_bytes=ram - 1))
    assert tight.verdict == "tight"
    assert tight.reasons == (
        "65,535 bytes of flash are left, 1 fewer than your program needs",
        "23,727 bytes of RAM are left, 1 fewer than the margin of the arena (7,344) and your "
        "program need",
    )


def test_a_model_that_the_runtime_refuses_fits_nowhere() -> None:
    found = judging.judge_board(BOARD, 100, (), None, refusal="tflite-micro crashes on it")
    assert (found.verdict, found.reasons) == ("no", ("tflite-micro crashes on it",))
    assert found.ram_left_bytes is None


def test_an_operator_without_a_kernel(tmp_path: Path) -> None:
    """Without tflite-micro: the table of operators says it before anything runs."""
    path = tmp_path / "odd.tflite"
    path.write_bytes(mystery())
    fit = fit_model(path, boards=["raspberry-pi-pico"])
    (missing,) = [item for item in fit.operators if item.lacks]
    assert missing.lacks == "kernel"
    assert fit.needs is None and fit.boards[0].verdict == "no"
    assert fit.boards[0].reasons == (f"no kernel for {missing.name}",)
    with pytest.raises(PackageError, match=f"no kernel for {missing.name}"):
        require_supported(read_model(path))


# ---------------------------------------------------------------- the code of kernels


def test_code_that_operators_share_counts_once() -> None:
    conv, both = (kernel_code.estimate(names)[0] for names in (["CONV_2D"], ["CONV_2D"] * 2))
    assert conv == both
    nothing = kernel_code.estimate([])[0]
    pooling = [kernel_code.estimate([name])[0] for name in ("MAX_POOL_2D", "AVERAGE_POOL_2D")]
    together = kernel_code.estimate(["MAX_POOL_2D", "AVERAGE_POOL_2D"])[0]
    assert nothing < max(pooling) < together < sum(pooling) - nothing
    assert 9732 < nothing < 53_089  # by the documents, and on x86-64


def test_every_operator_has_code() -> None:
    assert kernel_code.estimate(METHODS)[1] == ()
    assert kernel_code.estimate(["CONV_2D", "GELU"])[1] == ("GELU",)


# ---------------------------------------------------------------- the command, record, gate, report


def test_the_command(tflite_micro: OtherPython, vww: Path, tmp_path: Path) -> None:
    record = tmp_path / "fit.json"
    done = run(vww, "--board", "b-l475e-iot01a", "--board", "raspberry-pi-pico", "-o", record)
    assert status(done) == 3
    fit = read_record(record).value
    assert [item.verdict for item in fit.boards] == ["no", "fits"]
    missing = fit.needs.arena_bytes - (96 << 10)
    assert fit.boards[0].reasons[0].startswith(f"RAM is too small by {missing:,} bytes: ")
    assert "Memory peaks at operator 2, CONV_2D: 55,296 bytes" in done.stdout
    shown = CliRunner().invoke(cli, ["show", str(record)]).stdout
    assert "raspberry-pi-pico" in shown
    as_json = json.loads(run(vww, "--board", "raspberry-pi-pico", "--json").stdout)
    assert as_json["kind"] == "fit" and as_json["boards"][0]["verdict"] == "fits"

    # All boards: one that fits is enough.
    done = run(vww)
    assert status(done) == 0
    assert all(name in done.stdout for name in boards.known_boards())
    tight = run(vww, "--flash", "1MB", "--ram", "103680")
    assert status(tight) == 4 and "TIGHT: a board of this size" in tight.stdout
    no = run(vww, "--flash", "1MB", "--ram", "103679")
    assert status(no) == 3 and "RAM is too small by 1 byte: " in no.stdout
    alone = ("--headroom-ram", "0", "--headroom-flash", "0")
    reserved = fit.needs.reserved_bytes
    assert status(run(vww, "--flash", "1MB", "--ram", reserved, *alone)) == 0
    assert status(run(vww, "--flash", "1MB", "--ram", reserved - 1, *alone)) == 4

    # Gate and report read the record.
    policy = tmp_path / "edgeq.toml"
    for board, verdict in (("raspberry-pi-pico", "pass"), ("b-l475e-iot01a", "fail"),
                           ("teensy-41", "cannot-tell")):  # fmt: skip
        policy.write_text(f'[policy]\nfit = "{board}"\n')
        judged = gate([record], policy)
        assert judged.verdict == verdict
        assert judged.rules[0].limit == f"on {board}"
    assert "no record has such a figure" in judged.rules[0].findings[0].reason
    report = make_report([record])
    (section,) = [item for item in report.sections if item.id == "fit"]
    kinds = [block.kind for block in section.blocks]
    assert kinds == ["table", "facts", "facts", "bars", "table"]
    plot: Any = section.blocks[3]
    assert max(group.bars[0].value for group in plot.groups) == 55_296


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--flash", "1MB"), "--flash alone does not describe a board."),
        (("--flash", "much", "--ram", "1"), "--flash must be a size such as"),
        (("--flash", "1M", "--ram", "256"), "bytes (did you mean \"256KB\"?), not '256'."),
        (("--target", "pico"), "Did you mean 'raspberry-pi-pico'? Type --board NAME."),
        (("--board", "pico"), "--board 'pico' is unknown."),
        (("--board", "pico"), "Did you mean 'raspberry-pi-pico'?"),
        (("--board", "ESP32"), "Did you mean 'esp32-devkitm-1'?"),
        (("--system-config", "x"), "--vela-config, --system-config and --memory-mode are for Vela"),
        (("--ethos-u", "ethos-u99"), "Unknown accelerator 'ethos-u99'; use one of ethos-u55-32,"),
        (("--ethos-u", "ETHOS-U65-256"), "Did you mean 'ethos-u65-256'?"),
        (("--ethos-u", ""), "Unknown accelerator ''; use one of"),
        (("--coral", "--headroom-ram", "0"), "--headroom-ram are for boards, and none is"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "m.tflite").write_bytes(add_one())
    done = run(tmp_path / "m.tflite", *arguments)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)


def test_what_the_runtime_says_is_the_reason(tflite_micro: OtherPython, shared: Path) -> None:
    path = shared / "mobilenet_v1_025" / "mobilenet_v1_0.25_224_quant.tflite"
    fit = fit_model(path, boards="teensy-41")
    assert fit.refusal is not None
    assert fit.refusal.startswith(f"tflite-micro {tflite_micro.version} does not run {path}: ")
    assert "Hybrid models are not supported on TFLite Micro. Its kernels" in fit.refusal
    assert fit.refusal.endswith("convert the model again with --scheme int8")
    assert fit.boards[0].verdict == "no"
    assert fit.boards[0].reasons == (fit.refusal,)


def test_a_run_that_takes_too_long_says_nothing_about_the_board(
    tflite_micro: OtherPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.tflite").write_bytes(endless())
    monkeypatch.setenv(TIME_LIMIT, "1")
    done = run(tmp_path / "m.tflite", "--board", "teensy-41")
    assert isinstance(done.exception, PackageError)
    assert done.exception.message == f"tflite-micro did not finish {tmp_path / 'm.tflite'} in 1 s."
    assert done.exception.hint == "Set EDGEQ_TIME_LIMIT_S to allow more."


@pytest.mark.parametrize("dtype", ["STRING", "INT4"])
def test_an_input_without_values_in_numpy_is_an_error(tmp_path: Path, dtype: str) -> None:
    kind = getattr(schema.TensorType, dtype)
    tensors = [tensor("x", [1, 2], kind), tensor("y", [1, 2], kind)]
    content = model([graph(tensors, [0], [1], [operator(0, [0], [1])])], [(Op.RESHAPE, 1)])
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(
        PackageError, match=f"^Input 'x' of .*m.tflite has the dtype {dtype.lower()}: "
    ):
        fit_model(tmp_path / "m.tflite", boards=["teensy-41"])


@pytest.mark.parametrize("count", [0, 1])
def test_few_operators(tmp_path: Path, count: int) -> None:
    tensors = [tensor("x", [1, 2]), tensor("y", [1, 2])]
    steps = [operator(0, [0], [1])] * count
    content = model([graph(tensors, [0], [count], steps)], [(Op.ABS, 1)])
    (tmp_path / "m.tflite").write_bytes(content)
    shown = run(tmp_path / "m.tflite", "--coral").stdout
    assert f"Coral Edge TPU: 0 % of {plural(count, 'operator')}; " in shown
    assert shown.count("precision") == count
