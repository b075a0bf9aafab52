"""From `edgeq.toml` to a plan: every key, every mistake with its line."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import tomlkit

from edgeq import models
from edgeq.cli.commands.run import _FLAGS, command
from edgeq.errors import EdgeqError
from edgeq.pipeline.keys import KEYS, TUNED
from edgeq.pipeline.plan import Plan, PlannedDevice, read_plan
from edgeq.pipeline.stages import STAGES, comparison_record
from edgeq.pipeline.steps import Step
from edgeq.values import ConvertOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "project.md"
HEAD = '[model]\nsource = "model.keras"\n'
DATA = '[data]\ncalibration = "samples.npz"\n'

Read = Callable[[str], Plan]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read a text as the edgeq.toml of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    shutil.copy(models.path("fmnist_cnn.keras"), "model.keras")
    Path("samples.npz").touch()

    def read_text(text: str) -> Plan:
        Path("edgeq.toml").write_text(text)
        return read_plan(Path("edgeq.toml"))

    return read_text


def test_what_is_not_set_has_a_default(read: Read) -> None:
    plan = read(HEAD + DATA)
    assert plan.convert == ConvertOptions()
    assert (plan.source, plan.baseline) == (Path("model.keras"), Path("model.keras"))
    assert plan.output == Path("build/model.tflite")
    assert (plan.calibration, plan.test, plan.preprocess) == ("samples.npz", None, None)
    assert plan.devices == (PlannedDevice("local", "local", None),)
    assert (plan.tune, plan.has_policy, plan.latency) == (None, False, True)


def test_keys_become_options(read: Read) -> None:
    plan = read(
        HEAD + 'batch = "dynamic"\nunsafe_deserialization = true\nint16 = ["a"]\n'
        "input_shape = { image = [1, -1] }\n" + DATA + "samples = 9\nseed = 3\n"
        "[run]\nthreads = 2\nmin_time = 0\n"
    )
    assert plan.convert == ConvertOptions(
        batch=0, trusted=True, int16=("a",), input_shapes=(("image", (1, -1)),), samples=9, seed=3
    )
    assert (plan.bench.threads, plan.bench.min_time_s) == (2, 0)


def test_a_search_has_its_budget_and_its_device(read: Read) -> None:
    plan = read(HEAD + DATA + '[tune]\nmax_drop = 1\nobjective = "size"\ndevice = "pi@board"\n')
    assert plan.tune is not None
    assert (plan.tune.convert.max_drop_points, plan.tune.objective) == (1.0, "size")
    assert plan.tune_device.address == "pi@board"


def test_devices_are_those_of_the_file(read: Read) -> None:
    named = '[devices.a]\naddress = "pi@a"\npython = "p"\n[devices.b]\naddress = "pi@b"\n'
    expected = (PlannedDevice("a", "pi@a", "p"), PlannedDevice("b", "pi@b", None))
    assert read(HEAD + DATA + named).devices == expected
    chosen = read(HEAD + DATA + named + '[run]\ndevices = ["b", "local"]\n').devices
    assert [device.address for device in chosen] == ["pi@b", "local"]


def test_records_of_devices_never_share_a_file(read: Read) -> None:
    plan = read(HEAD + DATA)
    names = ["pi4", "pi@board", "pi_board", "local:/usr/bin/python3"]
    paths = [comparison_record(plan, PlannedDevice(name, name, None)) for name in names]
    assert paths[0] == Path("build/model.compare-pi4.json")
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {Path("build")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DATA, "edgeq.toml does not name a model. "
         "Write [model] and below it source = \"model.keras\"; "
         "edgeq init MODEL does."),
        (HEAD, "edgeq.toml does not name data, and scheme int8 calibrates on a few hundred "
         "samples. Set "
         'calibration = "samples.npz" in [data], or pass --data samples.npz.'),
        ('[model]\nsource = "nothere"\n',
         "edgeq.toml, line 2: source: nothere does not exist. Check the path."),
        (HEAD + 'sceme = "int8"\n', "edgeq.toml, line 3: unknown key 'sceme'. Did you mean "
         "'scheme'? "
         f"Known: {', '.join(KEYS['model'])}."),
        (HEAD + 'keep-float = ["a"]\n',
         "edgeq.toml, line 3: unknown key 'keep-float'. Did you mean "
         f"'keep_float'? Known: {', '.join(KEYS['model'])}."),
        (HEAD + "samples = 3\n",
         "edgeq.toml, line 3: samples is not allowed in [model]. It belongs in [data]."),
        (HEAD + "max_drop = 3\n",
         "edgeq.toml, line 3: max_drop is not allowed in [model]. It belongs "
         "in [tune]. To judge the result instead of searching, set max_drop_points in [policy]."),
        (HEAD + 'io = "int7"\n', "edgeq.toml, line 3: io must be one of int8, uint8, int16, "
         "float32, not 'int7'. Did you mean 'int8'? For example: io = \"float32\""),
        (HEAD + "corrections = \"bas\"\n",
         "edgeq.toml, line 3: Unknown correction 'bas'; use "
         "auto, none or some of equalize, saturate, bias, rounding, refit, clip, ties. "
         "Did you mean 'bias'?"),
        (HEAD + 'output = "model"\n' + DATA,
         "edgeq.toml, line 3: output must end in .tflite, not 'model'. "
         'For example: output = "build/model.tflite"; all other files go to its folder.'),
        (HEAD + "batch = 0\n", 'edgeq.toml, line 3: batch must be a whole number above 0, or '
         '"dynamic", not 0. For example: batch = "dynamic"'),
        (HEAD + 'io = "int16"\n', "edgeq.toml, line 3: --io int16 cannot be combined with "
         "--scheme int8. Use int8 or uint8 or float32."),
        (HEAD + "allow_float = 1\n",
         "edgeq.toml, line 3: allow_float must be true or false, not 1. "
         "For example: allow_float = true"),
        (HEAD + 'input_shape = "image=1"\n', "edgeq.toml, line 3: input_shape must be a table from "
         "an input's name to its sizes, -1 for a dynamic one, not 'image=1'. For example: "
         "input_shape = { image = [1, 224, 224, 3] }"),
        (HEAD + DATA + "preprocess = 'scale=1/255'\n", "edgeq.toml, line 5: preprocess must be a "
         "list of texts, not 'scale=1/255'. For example: preprocess = [\"scale=1/255\"]"),
        (HEAD + DATA + "preprocess = ['scale=1/255', 'mean=a']\n", "edgeq.toml, line 5: "
         "--preprocess mean=a: 'a' is not a number or fraction such as 1/255."),
        (HEAD + DATA + "preprocess = ['scal=1/255']\n", "edgeq.toml, line 5: --preprocess "
         "scal=1/255 has the unknown key 'scal'. Did you mean 'scale'? Known: resize, "
         "letterbox, pad, channels, exif, scale, offset, mean, std, sound."),
        (HEAD + "keep_float = ['(']\n" + DATA, "edgeq.toml, line 3: keep_float '(' cannot be read "
         "as a regular expression: missing ), unterminated subpattern at position 0."),
        (HEAD + "int16 = ['type:CONV_2D', '[']\n" + DATA, "edgeq.toml, line 3: int16 '[' cannot be "
         "read as a regular expression: unterminated character set at position 0."),
        (HEAD + DATA + "[run]\ndevices = ['nosuch']\n", "edgeq.toml, line 6: Unknown device "
         "'nosuch'; known forms are local, local:/path/to/python, user@host, ssh://user@host:port, "
         "a host of ~/.ssh/config, adb, adb:SERIAL, emulated:arm64. For a board over SSH, add "
         "its user, such as pi@nosuch"),
        (HEAD + DATA + "[run]\nthreads = 0\n", "edgeq.toml, line 6: threads must be a whole number "
         "from 1 to 256, not 0. For example: threads = 4"),
        (HEAD + DATA + "[run]\nmin_time = inf\n", "edgeq.toml, line 6: min_time must be a number "
         "that is 0 or more, not inf. For example: min_time = 1"),
        (HEAD + DATA + "[run]\nbaseline_records = ['r.json']\n",
         "edgeq.toml, line 6: there is no record r.json."),
        (HEAD + DATA + "[tune]\n", "[tune] has no budget. Set max_drop = 0.5 (points), "
         "min_sqnr = 25 (dB), or both."),
        (HEAD + 'effort = "fast"\n' + DATA + "[tune]\nmax_drop = 1\n", "edgeq.toml, line 3: effort "
         "is not allowed together with [tune], which chooses it. Remove effort, or [tune]."),
        (HEAD + DATA + "[package]\n", "edgeq.toml, line 5: [package] does not name a target. "
         "For example: targets = [\"android\"]; targets are android, ios, c, python."),
        (HEAD + DATA + "[package]\ntargets = ['andriod']\n", "edgeq.toml, line 6: targets must be "
         "a list of some of android, ios, c, python, not ['andriod']. For example: "
         "targets = [\"android\", \"python\"]"),
        (HEAD + DATA + "[package]\ntargets = ['c']\nlabels = 'no.txt'\n",
         "edgeq.toml, line 7: labels: there is no file no.txt."),
        (HEAD + DATA + "[package]\ntargets = ['c']\nform = 'zefyr'\n", "edgeq.toml, line 7: form "
         "must be one of cmake, arduino, esp-idf, zephyr, platformio, not 'zefyr'. Did you mean "
         "'zephyr'? For example: form = \"esp-idf\""),
        (HEAD + DATA + "[package]\ntargets = ['ios']\nform = 'zephyr'\n", "edgeq.toml, line 7: "
         "form 'zephyr' is for target c, which targets does not name. Add \"c\" to targets, or "
         "remove form."),
        (HEAD + DATA + "[devices.a]\nadress = 'x'\n",
         "Device 'a' in edgeq.toml has no address. Write: address = \"ssh://user@host\""),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(read: Read, text: str, message: str) -> None:
    with pytest.raises(EdgeqError) as caught:
        read(text)
    assert str(caught.value) == message


def test_the_examples_of_all_keys_are_read() -> None:
    for known in KEYS.values():
        for name, key in known.items():
            key.read(tomlkit.parse(f"{name} = {key.example}").unwrap()[name])
    assert set(TUNED) <= set(KEYS["model"])


def test_the_page_lists_every_key_with_an_example_that_is_read() -> None:
    section, listed = "", set()
    rows = re.findall(r"^\| (?:`\[(\w+)\]`)? ?\| `(\w+)` \| `(.+?)` \|", PAGE.read_text(), re.M)
    for named, name, example in rows:
        section = named or section
        KEYS[section][name].read(tomlkit.parse(f"{name} = {example}").unwrap()[name])
        listed.add((section, name))
    assert listed == {(section, name) for section, known in KEYS.items() for name in known}


def test_the_page_lists_every_stage_and_every_option() -> None:
    page = PAGE.read_text()
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \|$", page, re.M) == [s.name for s in STAGES]
    flags = {flag for _, flag in _FLAGS.values()}
    known = {
        option.opts[-1]
        for option in command.params
        if isinstance(option, click.Option) and (option.help or "").startswith("Instead of")
    }
    assert flags == known
    assert all(f"`{flag}`" in page for flag in flags)


def test_every_option_of_a_step_counts_for_its_key(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("test.npz").touch()
    data = DATA + 'test = "test.npz"\n'

    def steps(text: str) -> dict[str, Step]:
        plan = read(text)
        planned = [stage.plan(plan) for stage in STAGES]
        return {step.name: step for part in planned if not isinstance(part, str) for step in part}

    plain = steps(HEAD + data)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "elsewhere")
        elsewhere = steps(HEAD + data)
    assert elsewhere["compare local"].options != plain["compare local"].options
    for section, key, changed in (
        ("model", 'statistic = "mse"', ["convert"]),
        ("model", "batch = 2", ["baseline", "convert"]),
        ("data", 'preprocess = ["scale=1/255"]', ["convert", "compare local"]),
        ("data", "samples = 7", ["convert"]),
        ("data", "test_samples = 7", ["compare local"]),
        ("run", "threads = 2", ["compare local"]),
        ("run", "latency = false", ["compare local"]),
    ):
        text = (HEAD + data + "[run]\n").replace(f"[{section}]\n", f"[{section}]\n{key}\n")
        now = steps(text)
        assert [name for name in plain if now[name].options != plain[name].options] == changed, key
