"""edgeq's own gate: each example model keeps its budgets, and would be stopped if it did not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeq import api, models
from edgeq.cli import cli
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.files import storage
from tests.conftest import Lower

ROOT = Path(__file__).resolve().parents[2]
# The clips of words come from eSpeak NG, and making them takes a minute: benchmarks/tasks.py judges
# these models.
MODELS = sorted(
    path.stem for path in (ROOT / "models").glob("*.keras") if not path.stem.startswith("words_")
)
# The form of their samples, where it is not whole images, and the preprocessing to declare.
SAMPLES = {
    "fmnist_gru": "gru",
    "fmnist_two_input": "two_input",
    "scenes_detector": "boxes",
    "scenes_unet": "masks",
    "scenes_weight": "weights",
}
# Metrics of those that do not classify, and how boxes are read.
METRICS = {"scenes_detector": "map", "scenes_unet": "miou", "scenes_weight": "r2"}
DECODED = {"scenes_detector": "boxes=cxcywh,unit=pixels"}
FED = {"fmnist_mobilenet": ["scale=1/255"], "fmnist_uneven": ["scale=1/255"]}

Records = tuple[Path, Path]
Worse = tuple[str, int, tuple[Any, ...], Callable[[Any], Any]]


def data(name: str, part: str) -> str:
    if name in SAMPLES:
        return f"edgeq.models.data:{SAMPLES[name]}_{part}"
    return str(models.path(f"fashion_mnist_{part}.npz"))


def make_records(
    name: str,
    target: Path,
    compared: Path,
    lower: Lower,
    tensorflow: TensorFlowProcess,
    **settings: Any,
) -> Records:
    """What convert and compare leave of an example model, compared on the whole test set.

    Args:
        target: converted to, unless it is there.
        compared: where the record of compare goes.
    """
    source = Path(lower(models.path(f"{name}.keras")).file.path)
    if not target.exists():
        api.convert(
            source, target, data=data(name, "calibration"), preprocess=FED.get(name, ()),
            tensorflow=tensorflow, **settings,
        )  # fmt: skip
    found = api.compare(
        source, target, data(name, "test"), latency=False, decode=DECODED.get(name),
        metrics=[METRICS[name]] if name in METRICS else (),
    )  # fmt: skip
    storage.write_record(compared, "compare", found)
    return Path(f"{target}.json"), compared


def gate(records: Records, policy: Path) -> Any:
    command = ["gate", *map(str, records), "--policy", str(policy)]
    return CliRunner().invoke(cli, command, standalone_mode=False)


# A model that is worse in one way: the rule that must see it, the record (that of convert, that of
# compare), and what becomes of a figure in it.
WORSE: list[Worse] = [
    ("max_drop_points", 1, ("quality", "drop_points"),
     lambda drop: {"value": 2.0, "low": 1.5, "high": 2.5}),
    ("max_float_islands", 0, ("certificate", "float_islands"), lambda count: count + 1),
    ("runs_on", 0, ("certificate", "min_runtime_version"), lambda version: "2.17.0"),
    # Below every model's budget: the first part need not be the worst one.
    ("min_sqnr_db", 1, ("quality", "outputs", 0, "parts", 0, "sqnr_db"), lambda sqnr: 20.0),
    ("max_size", 0, ("model", "file", "size_bytes"), lambda size: size * 21 // 20),
]  # fmt: skip


def worse_cases(name: str) -> list[Worse]:
    """The cases of a model: one that does not classify loses by its metric."""
    if name not in METRICS:
        return WORSE
    (_, number, _, change), *others = WORSE
    own: Worse = (f"metrics.{METRICS[name]}.max_loss", number, ("losses", 0, "loss"), change)
    return [own, *others]


def worsen(records: Records, case: Worse, folder: Path) -> Records:
    """The same records with one figure that is worse."""
    _, number, place, change = case
    own = [Path(shutil.copy(path, folder)) for path in records]
    plain = json.loads(own[number].read_text())
    inner = plain
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = change(inner[place[-1]])
    own[number].write_text(json.dumps(plain))
    return own[0], own[1]


# One test for each model, not one for each rule: converting is what takes the time, and each worker
# of pytest-xdist would do it again.
@pytest.mark.parametrize("name", MODELS)
def test_each_example_model_keeps_its_budgets_and_none_worse_would(
    name: str,
    lower: Lower,
    tensorflow: TensorFlowProcess,
    int8_mobilenet: Path,
    tmp_path: Path,
) -> None:
    """A change that makes conversions worse stops here."""
    target = int8_mobilenet if name == "fmnist_mobilenet" else tmp_path / f"{name}.tflite"
    records = make_records(name, target, tmp_path / "compare.json", lower, tensorflow)
    own = ROOT / "models" / f"{name}.toml"
    # One that has other limits for what all keep states all of them.
    shared = own if "max_float_islands" in own.read_text() else ROOT / "edgeq.toml"
    for policy in {shared, own}:
        done = gate(records, policy)
        assert done.return_value == 0, done.stdout or done.exception
    (tmp_path / "worse").mkdir()
    for case in worse_cases(name):
        rule = case[0]
        policy = own if rule in ("min_sqnr_db", "max_size") else shared
        done = gate(worsen(records, case, tmp_path / "worse"), policy)
        assert done.return_value == 3, done.stdout
        assert f"FAIL  {rule}" in done.stdout


def test_the_uneven_model_quantized_as_any_tool_does_it_is_stopped(
    lower: Lower, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    records = make_records(
        "fmnist_uneven", tmp_path / "plain.tflite", tmp_path / "compare.json", lower, tensorflow,
        effort="fast", statistic="minmax",
    )  # fmt: skip
    done = gate(records, ROOT / "models" / "fmnist_uneven.toml")
    assert done.return_value == 3, done.stdout
    assert "FAIL  min_sqnr_db" in done.stdout
