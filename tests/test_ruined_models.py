"""Real conversions: a file that ruins one part is found and the part named, a sound one is not.

With `--io int8` the models are ruined; without, their ends stay in float, and nothing is lost.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.accuracy.verdict import (
    find_lost,
    judge_comparison,
    total_sqnr_db,
    worst_part,
)
from edgeq.cli.commands.convert import command, read_options
from edgeq.comparison.compare import _has_other_causes
from edgeq.conversion.convert import convert_model
from edgeq.conversion.proof import check_gates
from edgeq.converters.graph.ends import is_layer
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.errors import GateError
from edgeq.issues import make_issue
from edgeq.render.comparison import show_comparison
from edgeq.values import Conversion, ConvertOptions
from tests.conftest import make_once

# The part that is lost, without the output's name.
RUINED = {
    "scores-beside-boxes": "[:, 4:7]",
    "scores-of-anchors": "[:, 4:7, :]",
    "an-offset": "",
    "offsets": "",
    "one-of-eight": "[:, 3]",
    "one-time-step": "[:, 3, :]",
    "one-step-of-a-series": "[:, 7, :]",
    "one-keypoint": "[:, 7, :]",
    "one-of-three-outputs": "b",
    "deviation-beside-mean": "[:, 1]",
    "masks-beside-depth": "[:, :, :, 1:3]",
    "the-middle-of-a-stack": "[:, 1, :]",
}
SOUND = (
    "1000-classes", "rare-classes", "logits-of-1000-classes", "features",
    "labels-that-go-together", "numbers-of-like-size", "tanh-of-unlike-size", "sparse-heatmap",
    "sparse-map-without-a-sigmoid", "background-of-zeros", "series", "two-outputs",
)  # fmt: skip


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    script = Path(__file__).with_name("make_ruined_models.py")
    return make_once(
        tmp_path_factory, "ruined",
        lambda made: subprocess.run([sys.executable, script, made], check=True),
    )  # fmt: skip


def convert(
    model: Path, folder: Path, tensorflow: TensorFlowProcess, shape: list[int], **more: Any
) -> Conversion:
    samples = np.random.default_rng(2).normal(size=(300, *shape)).astype(np.float32)
    np.savez(folder / "calibration.npz", x=samples[:150])
    np.savez(folder / "test.npz", x=samples[150:])
    made = convert_model(
        model, folder / "m.tflite", data=folder / "calibration.npz",
        test_data=folder / "test.npz", preprocess=[],
        options=ConvertOptions(effort="fast", **more), verbose=False,
        on_progress=lambda step, done, total: None, tensorflow=tensorflow,
    )  # fmt: skip
    assert made.quality is not None
    is_lost = model.parent.name == "ruined" and more.get("io") == "int8"
    assert any(issue.code == "convert.low_quality" for issue in made.issues) == is_lost
    return made


def typed(line: str, tensorflow: TensorFlowProcess) -> Conversion:
    """What a printed command makes, read as a shell and click read it."""
    _, _, *words = shlex.split(line)
    given = command.make_context("convert", words).params
    return convert_model(
        given["model"], given["output"], data=given["data"], test_data=given["test_data"],
        preprocess=given["preprocess"], options=read_options(given), verbose=False,
        on_progress=lambda step, done, total: None, tensorflow=tensorflow,
    )  # fmt: skip


def shape_of(name: str) -> list[int]:
    of_images = {"scores-of-anchors", "masks-beside-depth", "background-of-zeros"}
    if name in of_images or name.startswith("sparse"):
        return [8, 8, 3]
    return [12, 4] if "series" in name else [16]


@pytest.mark.parametrize("name", RUINED)
def test_what_is_ruined_is_named(
    name: str, models: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    path = models / "ruined" / f"{name}.keras"
    made = convert(path, tmp_path, tensorflow, shape_of(name), io="int8")
    quality = made.quality
    assert quality is not None
    part = worst_part(quality)
    assert part is not None and part.sqnr_db is not None
    assert part.sqnr_db < 3
    assert total_sqnr_db(quality) > 15
    assert part.where.endswith(RUINED[name]) and ("[" in part.where) == ("[" in RUINED[name])
    assert find_lost(quality)[0].startswith(f"{part.where} is lost: its values vary by ")
    verdict, reasons = judge_comparison(quality, None)
    assert (verdict, reasons[0]) == ("no", find_lost(quality)[0])
    (way,) = made.ways_out
    assert way.keeps and "--io" not in way.command
    again = typed(way.command, tensorflow)
    assert again.quality is not None and find_lost(again.quality) == () and again.ways_out == ()
    proof = again.certificate
    assert (proof.float_islands, proof.problems, proof.wide_inputs) == (0, (), ())
    floats = [op for op in proof.operators if op.precision == "float32"]
    assert floats and {op.output for op in floats} == set(proof.wide_outputs)
    assert not any(is_layer(op.name) for op in floats)
    noted = [issue.message for issue in again.issues if issue.code == "convert.wide_outputs"]
    is_wide = [spec.dtype == "float32" for spec in proof.outputs]
    assert len(noted) == sum(is_wide) == 1 and part.where in noted[0]


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_not_accused(
    name: str, models: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    made = convert(models / "sound" / f"{name}.keras", tmp_path, tensorflow, shape_of(name))
    quality = made.quality
    assert quality is not None
    assert find_lost(quality) == () and made.ways_out == ()
    assert {op.precision for op in made.certificate.operators} == {"int8"}
    assert {spec.dtype for spec in made.certificate.outputs} == {"int8"}
    assert judge_comparison(quality, None)[0] == "check"  # there are no labels


def test_compare_tries_ways_out_of_a_file_that_another_tool_made(
    models: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    """No record lies beside it, so edgeq's own conversion comes first; a gate names one, too."""
    model = models / "ruined" / "scores-beside-boxes.keras"
    made = convert(model, tmp_path, tensorflow, [16], io="int8")
    (tmp_path / "m.tflite.json").unlink()
    (tmp_path / "m.tflite").rename(tmp_path / "other.tflite")
    found = edgeq.compare(
        model, tmp_path / "other.tflite", tmp_path / "test.npz", latency=False
    )  # fmt: skip
    assert found.verdict == "no" and made.quality is not None
    (way,) = found.ways_out
    doubt = make_issue("data.not_normalized", "It is fed 0 to 255.")
    assert not _has_other_causes(found)
    assert _has_other_causes(replace(found, issues=(doubt,)))  # no way out of a wrong input
    assert way.keeps and way.command in show_comparison(found)
    assert way.command == shlex.join(
        ["edgeq", "convert", str(model), "--data", str(tmp_path / "test.npz"), "-o",
         str(tmp_path / "other.tflite")]
    )  # fmt: skip
    with pytest.raises(GateError, match=r"SQNR is .* below the required 20 dB") as caught:
        convert(model, tmp_path, tensorflow, [16], min_sqnr_db=20.0, io="int8")
    assert "it keeps everything: edgeq convert " in (caught.value.hint or "")
    assert not (tmp_path / "m.tflite").exists()
    # What keeps everything and misses the gate as well would fail when it is typed.
    beyond = replace(made, options=replace(made.options, min_sqnr_db=70.0))
    with pytest.raises(GateError) as caught:
        check_gates(beyond)
    assert caught.value.hint is None
