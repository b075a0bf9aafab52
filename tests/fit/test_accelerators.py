"""Arm Ethos-U by Vela, and the Edge TPU by its documented list."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeq.children.child import TIME_LIMIT
from edgeq.children.other_python import OtherPython
from edgeq.cli import cli
from edgeq.converters.proof.certificate import certify
from edgeq.errors import MissingExtraError, SourceError
from edgeq.fit import edge_tpu, vela
from edgeq.records.reading import read_record
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import EthosFit
from edgeq.values.fitting import ETHOS_FIGURES
from tests.fit.installations import install
from tests.tiny_models import INT8, add_one, graph, model, operator, tensor
from tests.tiny_models import Operator as Op

SMALL = vela.EthosTarget("ethos-u55-128")


def rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    (path,) = folder.glob(pattern)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256"])
def test_figures_are_those_of_velas_own_summary(
    vela_python: OtherPython, shared: Path, tmp_path: Path, accelerator: str
) -> None:
    path = shared / "kws" / "kws_ref_model.tflite"
    done = subprocess.run(
        [vela_python.python, "-m", "ethosu.vela", str(path), "--accelerator-config", accelerator,
         "--output-dir", str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (summary,) = rows(tmp_path, "*_summary_*.csv")
    found = vela.compile_model(read_model(path), vela.EthosTarget(accelerator))
    assert len(found.figures) > 40
    assert found.figures == {name: summary[name] for name in found.figures}
    assert int(found.figures["cycles_total"]) > 10_000
    assert (found.system_config, found.memory_mode) == (
        summary["system_config"], summary["memory_mode"],
    )  # fmt: skip
    assert f"NPU operators = {found.npu_operators} " in done.stdout
    assert f"CPU operators = {found.cpu_operators} " in done.stdout
    assert found.vela == vela_python.version


def test_a_float_model_stays_on_the_processor(vela_python: OtherPython, shared: Path) -> None:
    found = vela.compile_model(read_model(shared / "mlperf_tiny" / "ad01_fp32.tflite"), SMALL)
    assert found.npu_operators == 0 and found.cpu_operators == len(found.on_cpu) == 10
    assert found.on_cpu[0].startswith("FullyConnected functional_1/activation/Relu")


def test_a_memory_mode_of_the_user(vela_python: OtherPython, shared: Path, tmp_path: Path) -> None:
    """By the command, with its record."""
    record = tmp_path / "fit.json"
    done = CliRunner().invoke(
        cli,
        ["fit", str(shared / "mlperf_tiny" / "vww_96_int8.tflite"), "--ethos-u", "ethos-u55-128",
         "--vela-config", "Arm/vela.ini", "--system-config", "Ethos_U55_High_End_Embedded",
         "--memory-mode", "Sram_Only", "-o", str(record)],
        standalone_mode=False,
    )  # fmt: skip
    assert done.exception is None
    fit = read_record(record).value
    assert fit.ethos_u.memory_mode == "Sram_Only" and fit.boards == () and fit.needs is None
    assert f"{fit.ethos_u.figures['cycles_total']} (" in done.stdout


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        (("Ethos_U55_High_End_Embedded", "Nonsense", "Arm/vela.ini"), ".*Nonsense", None),
        (("x", "y", "nosuch.ini"), "Reading input file 'nosuch.ini': File not found", None),
        ((None, None, "Arm/vela.ini"), "", "Add --system-config and --memory-mode of that file."),
    ],
)
def test_vela_refuses_in_its_own_words(
    vela_python: OtherPython, options: tuple[str | None, ...], said: str, hint: str | None
) -> None:
    target = vela.EthosTarget("ethos-u55-128", *options)
    with pytest.raises(SourceError, match=f"^Vela .* does not compile m: {said}") as caught:
        vela.compile_model(parse_model(add_one(), "m"), target)
    assert "ethosu.vela.errors" not in caught.value.message and not caught.value.message.endswith(
        '".'
    )
    assert caught.value.hint == hint


def test_a_compilation_that_takes_too_long(
    vela_python: OtherPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIME_LIMIT, "0.1")
    with pytest.raises(SourceError, match=r"^Vela did not finish m in 0\.1 s\.") as caught:
        vela.compile_model(parse_model(add_one(), "m"), SMALL)
    assert caught.value.hint == "Set EDGEQ_TIME_LIMIT_S to allow more."


def test_a_configuration_of_the_user_is_found_from_the_current_folder(
    vela_python: OtherPython, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vela itself runs in another folder."""
    file = read_model(shared / "kws" / "kws_ref_model.tflite")
    memory = "".join(
        f"{area}_clock_scale=1.0\n{area}_burst_length=32\n{area}_max_reads=4\n"
        f"{area}_max_writes=4\n{area}_read_latency=32\n{area}_write_latency=32\n"
        for area in ("Sram", "OffChipFlash")
    )
    (tmp_path / "own.ini").write_text(
        "[System_Config.Own]\ncore_clock=123e6\naxi0_port=Sram\naxi1_port=OffChipFlash\n"
        f"{memory}[Memory_Mode.Own]\nconst_mem_area=Axi1\narena_mem_area=Axi0\n"
        "cache_mem_area=Axi0\n"
    )
    monkeypatch.chdir(tmp_path)
    found = vela.compile_model(file, vela.EthosTarget("ethos-u55-128", "Own", "Own", "own.ini"))
    assert (found.system_config, float(found.figures["core_clock"])) == ("Own", 123e6)


OTHER_VELA = """
import os
os.mkdir("out")
for name in {files}:
    with open(f"out/{{name}}.csv", "w") as file:
        file.write({text!r})
print("CPU operators = 1 (50%)")
print("NPU operators = 1 (50%)")
"""
SUMMARY = {
    "system_config": "S", "memory_mode": "M", "Target": "CPU", "Original Operator": "Add",
    "Name": "sum", **dict.fromkeys(ETHOS_FIGURES, "1.0"),
}  # fmt: skip


@pytest.fixture
def compile_by_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Mapping[str, str], Sequence[str]], EthosFit]:
    """Compile with a release 99 of Vela, which writes these columns into these files."""
    python = install(tmp_path, "ethos-u-vela", "-S")
    (tmp_path / "ethosu" / "vela").mkdir(parents=True)
    monkeypatch.setenv(vela.VARIABLE, str(python))

    def compile_model(columns: Mapping[str, str], files: Sequence[str]) -> EthosFit:
        text = f"{','.join(columns)}\n{','.join(columns.values())}\n"
        program = OTHER_VELA.format(files=files, text=text)
        (tmp_path / "ethosu" / "vela" / "__main__.py").write_text(program)
        return vela.compile_model(parse_model(add_one(), "m"), SMALL)

    return compile_model


FILES = ("model_summary_S", "model_per-layer")


def without(name: str) -> dict[str, str]:
    return {key: text for key, text in SUMMARY.items() if key != name}


@pytest.mark.parametrize(
    ("columns", "files", "what"),
    [
        (without("cycles_npu"), FILES, "cycles_npu"),
        ({**SUMMARY, "inference_time": "0.1 ms"}, FILES, "inference_time"),
        (without("memory_mode"), FILES, r"'memory_mode' is missing\."),
        (without("Target"), FILES, r"'Target' is missing\."),
        (SUMMARY, FILES[:1], r"there are 0 files model_per-layer\.csv\."),
        (SUMMARY, FILES[1:], r"there are 0 files model_summary_\*\.csv\."),
    ],
)
def test_a_vela_that_states_other_things(
    compile_by_other: Any, columns: dict[str, str], files: tuple[str, ...], what: str
) -> None:
    message = f"Vela 99 does not write what edgeq reads: .*{what}"
    with pytest.raises(MissingExtraError, match=message) as caught:
        compile_by_other(columns, files)
    assert 'pip install "ethos-u-vela<6"' in str(caught.value.hint)


def test_the_columns_that_are_read(compile_by_other: Any) -> None:
    found = compile_by_other(SUMMARY, FILES)
    assert (found.vela, found.on_cpu, found.memory_mode) == ("99", ("Add sum",), "M")
    assert found.figures["cycles_npu"] == "1.0"


@pytest.mark.parametrize("name", ETHOS_FIGURES)
def test_a_record_needs_the_figures_that_are_shown(name: str) -> None:
    figures = dict.fromkeys(ETHOS_FIGURES, "1.5e3")
    fit = EthosFit("5", "ethos-u55-128", "S", "M", 1, 1, ("Add sum",), figures)
    for other in ({}, {name: "fast"}, {name: "nan"}):
        changed = {key: text for key, text in figures.items() if key != name} | other
        with pytest.raises(ValueError, match=f"{name}.* must be a number"):
            replace(fit, figures=changed)


def test_without_vela_the_hint_is_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vela.VARIABLE, "/nowhere/python")
    with pytest.raises(MissingExtraError, match="EDGEQ_VELA_PYTHON=/nowhere/python") as caught:
        vela.compile_model(parse_model(add_one(), "m"), SMALL)
    assert 'pip install "edgeq[vela]"' in str(caught.value.hint)


# ---------------------------------------------------------------- the Edge TPU


def predict(path: Path) -> Any:
    file = read_model(path)
    return edge_tpu.predict(file, certify(file).operators)


def predict_chain(
    *kinds: int | str, shape: Sequence[int] | None = (1, 8), is_input_float: bool = False
) -> Any:
    """The placement of operators behind each other; custom ones by their name."""
    tensors = [
        tensor(f"t{number}", shape or (), INT8, scale=0.1) for number in range(len(kinds) + 1)
    ]
    if is_input_float:
        tensors[0] = tensor("t0", shape or ())
    if shape is None:
        for item in tensors:
            item.shape = None
    operators = [operator(number, [number], [number + 1]) for number in range(len(kinds))]
    codes = [kind if isinstance(kind, str) else (kind, 1) for kind in kinds]
    file = parse_model(model([graph(tensors, [0], [len(kinds)], operators)], codes), "m")
    found = edge_tpu.predict(file, certify(file).operators).operators
    return [(item.place, item.reason) for item in found]


def test_an_int8_model_is_mapped(shared: Path) -> None:
    assert predict(shared / "mlperf_tiny" / "vww_96_int8.tflite").mapped_percent == 100


def test_a_float_model_is_not(shared: Path) -> None:
    found = predict(shared / "mlperf_tiny" / "ad01_fp32.tflite")
    assert found.mapped_percent == 0
    assert {item.reason for item in found.operators} == {"a tensor of float32"}


def test_what_follows_an_operator_of_the_processor_stays_there() -> None:
    """Only one part of a model is mapped."""
    found = predict_chain(Op.LOGISTIC, Op.GELU, Op.LOGISTIC)
    assert found == [
        ("edge tpu", ""),
        ("cpu", "the list does not have it"),
        ("cpu", "it follows GELU, and only one part of a model is mapped"),
    ]


def test_only_a_conversion_of_the_input_may_come_first() -> None:
    assert predict_chain(Op.GELU, Op.LOGISTIC) == [
        ("cpu", "the list does not have it"),
        ("cpu", "it follows GELU, and only one part of a model is mapped"),
    ]
    assert predict_chain(Op.QUANTIZE, Op.LOGISTIC, is_input_float=True) == [
        ("cpu", "a tensor of float32"), ("edge tpu", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(), None])
def test_a_scalar_has_one_element(shape: Sequence[int] | None) -> None:
    assert predict_chain(Op.SOFTMAX, shape=shape) == [("edge tpu", "")]
    assert predict_chain(Op.SOFTMAX, shape=(1, 16_001)) == [
        ("cpu", "an input of more than 16,000 elements")
    ]


def test_a_custom_operator_with_the_name_of_another_is_not_mapped() -> None:
    assert predict_chain("CONV_2D") == [("cpu", "a custom operator")]
