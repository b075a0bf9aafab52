"""`edgeq.doctor`: this machine, and machines whose answers are written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeq
from edgeq.device_runners.on_board.agent.facts import machine_facts
from edgeq.errors import SourceError
from edgeq.render.doctor import show_checkup
from edgeq.values import Checkup, FloatModel

Answer = Callable[..., Checkup]

# A Raspberry Pi 4 as it should be.
PI: dict[str, Any] = {
    "system": "Linux 6.1.0", "machine": "aarch64", "cpu_model": "Cortex-A76", "emulator": None,
    "cpu_features": ["asimd", "asimddp"], "core_count": 4, "governor": "performance",
    "core_kinds": [{"numbers": [0, 1, 2, 3], "capacity": None, "max_mhz": 2400.0}],
    "available_bytes": 3_000_000_000, "scratch_folder": "/tmp", "scratch_bytes": 9_000_000_000,
    "python": "3.11.2", "python_path": "/usr/bin/python3", "numpy": "1.26.4",
    "temperature_celsius": 48.0, "throttling": [], "throttled_before": [],
    "energy_meter": "PMIC", "energy_refusal": None, "release": "Debian GNU/Linux 12 (bookworm)",
    "runtimes": [{"name": "ai-edge-litert", "version": "2.3.0"}],
}  # fmt: skip

OLD = {"name": "tflite-runtime", "version": "2.14.0"}


@pytest.fixture
def examine(tmp_path: Path) -> Answer:
    """A machine with these answers: a script in the place of its Python."""

    def look(
        errors: dict[str, Any] | None = None,
        model: Path | None = None,
        gaps: tuple[str, ...] = (),
        **changes: Any,
    ) -> Checkup:
        facts = {**machine_facts(), **PI, **changes}
        (tmp_path / "facts").write_text(json.dumps(facts))
        for runtime in facts["runtimes"]:
            name = runtime["name"]
            plain = {"facts": facts, "error": (errors or {}).get(name), "sandbox": gaps}
            (tmp_path / f"result-{name}").write_text(json.dumps(plain))
        python = tmp_path / "python"
        python.write_text(
            "#!/bin/sh\n"
            f'if [ "$4" = facts ]; then cat {tmp_path}/facts; exit; fi\n'
            """name=$(sed 's/.*"runtime": "\\([^"]*\\)".*/\\1/' "$5/job.json")\n"""
            f'cp "{tmp_path}/result-$name" "$5/result.json"\n'
            """echo '{"event": "end", "result": "result.json"}'\n"""
        )
        python.chmod(0o755)
        return edgeq.doctor(model=model, python=python)

    return look


def found(checkup: Checkup) -> list[tuple[str, str, str | None]]:
    return [(problem.code, problem.message, problem.remedy) for problem in checkup.problems]


def test_this_machine_can_run_models(float_cnn: FloatModel) -> None:
    checkup = edgeq.doctor(model=float_cnn.file.path)
    assert checkup.can_run
    assert checkup.facts.python_path == sys.executable
    first = checkup.runtimes[0]
    assert (first.runtime.name, first.failure, first.runs_model) == ("ai-edge-litert", None, True)
    assert checkup.model is not None
    assert checkup.model.sha256 == float_cnn.file.sha256
    parts = {part.name: part.version for part in checkup.parts}
    assert str(parts["tensorflow"]).startswith("2.21")


def test_a_board_without_a_sandbox_is_told(examine: Answer) -> None:
    checkup = examine(gaps=("the kernel has no Landlock",))
    assert checkup.sandbox_gaps == ("the kernel has no Landlock",)
    ((code, message, _),) = found(checkup)
    assert code == "doctor.no_sandbox"
    assert message.startswith("Model files are opened without a whole sandbox on local:")
    assert message.endswith("python: the kernel has no Landlock.")
    assert checkup.can_run


def test_a_good_board_has_no_problems(examine: Answer) -> None:
    checkup = examine()
    assert (checkup.problems, checkup.can_run, checkup.parts) == ((), True, ())


def test_no_runtime_stops_a_run(examine: Answer) -> None:
    checkup = examine(runtimes=[])
    assert not checkup.can_run
    assert found(checkup) == [(
        "doctor.no_runtime",
        f"{checkup.facts.device} has no TensorFlow Lite runtime to run models with: none.",
        "/usr/bin/python3 -m pip install ai-edge-litert",
    )]  # fmt: skip


@pytest.mark.parametrize("old", [{"machine": "armv7l"}, {"python": "3.9.2"}])
def test_an_old_board_is_told_the_runtime_that_exists_for_it(
    examine: Answer, old: dict[str, str]
) -> None:
    (problem,) = examine(runtimes=[], **old).problems
    assert problem.remedy == "/usr/bin/python3 -m pip install tflite-runtime 'numpy<2'"


def test_tflite_runtime_wants_an_old_numpy(examine: Answer) -> None:
    checkup = examine(runtimes=[OLD], numpy="2.1.0")
    assert not checkup.can_run
    assert found(checkup)[1] == (
        "doctor.runtime_broken",
        "tflite-runtime 2.14.0 needs numpy below 2, there is 2.1.0.",
        "/usr/bin/python3 -m pip install 'numpy<2'",
    )


def test_a_broken_runtime_beside_one_that_works(examine: Answer) -> None:
    error = {"code": "crashed", "message": "the worker was killed by SIGILL", "details": ""}
    checkup = examine({"ai-edge-litert": error}, runtimes=[*PI["runtimes"], OLD])
    assert checkup.can_run
    assert [check.failure for check in checkup.runtimes] == [error["message"], None]
    assert found(checkup) == [(
        "doctor.runtime_broken",
        "the worker was killed by SIGILL.",
        "/usr/bin/python3 -m pip install --force-reinstall ai-edge-litert",
    )]  # fmt: skip


def test_a_model_too_new_for_every_runtime(
    examine: Answer, float_cnn: FloatModel, tmp_path: Path
) -> None:
    from edgeq.tflite import flatbuffer

    tree = flatbuffer.read(Path(float_cnn.file.path))
    flatbuffer.set_metadata(tree, "min_runtime_version", b"2.17.0")
    path = tmp_path / "new.tflite"
    path.write_bytes(flatbuffer.serialize(tree))
    checkup = examine(model=path, runtimes=[OLD])
    assert (checkup.can_run, checkup.min_runtime_version) == (False, "2.17.0")
    assert [code for code, _, _ in found(checkup)] == [
        "doctor.model_refused",
        "doctor.runtime_too_old",
    ]
    assert checkup.problems[1].message == (
        f"tflite-runtime 2.14.0 is too old for {path}, which needs TensorFlow Lite 2.17.0."
    )
    assert checkup.problems[0].remedy == "/usr/bin/python3 -m pip install ai-edge-litert"
    old = examine(model=path, runtimes=[OLD], machine="armv7l").problems
    assert old[0].remedy == "convert with --granularity tensor or another --scheme"
    assert examine(model=path).can_run  # ai-edge-litert counts from 1.0 again


@pytest.mark.parametrize(
    ("changes", "code", "message", "remedy"),
    [
        ({"governor": "powersave"}, "governor",
         "The governor is powersave: the clock is not the highest during a run.",
         "sudo cpupower frequency-set -g performance"),
        ({"governor": "ondemand"}, "governor_varies",
         "The governor is ondemand: the clock is not the highest during a run.",
         "sudo cpupower frequency-set -g performance"),
        ({"throttling": ["under-voltage"], "throttled_before": ["under-voltage"]}, "undervoltage",
         "The supply voltage is too low, and the firmware lowers the clock then.",
         "use a stronger power supply and a shorter cable, then restart the board"),
        ({"throttling": ["clock capped"]}, "throttled",
         "The processor is slowed down right now: clock capped.",
         "let it cool down, or give it a fan"),
        ({"throttled_before": ["throttled"]}, "throttled_before",
         "The processor was slowed down since it was started: throttled.",
         "give it a heat sink or a fan"),
        ({"temperature_celsius": 83.6}, "hot", "The processor has 84 degrees Celsius.",
         "let it cool down, or give it a fan"),
        ({"available_bytes": 90_000_000}, "low_memory", "Only 90 MB of memory are available.",
         "stop other programs, e.g. the desktop: sudo systemctl isolate multi-user.target"),
        ({"scratch_bytes": 5_000_000}, "low_disk", "Only 5 MB are free in /tmp.",
         "free some space, or set TMPDIR to a larger disk"),
        ({"energy_meter": None, "energy_refusal": "/sys/x/energy_uj can be read by root only"},
         "meter_unreadable",
         "Energy is not measured: /sys/x/energy_uj can be read by root only.",
         "sudo chmod a+r /sys/x/energy_uj"),
        ({"cpu_features": ["asimd"]}, "no_dot_product",
         "The processor has no dot product instructions: INT8 gains less speed there.", None),
        ({"emulator": "QEMU user mode"}, "emulated",
         "The processor is emulated (QEMU user mode): outputs are right there, latency is "
         "meaningless.", "measure latency on the board itself"),
    ],
)  # fmt: skip
def test_each_problem_comes_with_what_mends_it(
    examine: Answer, changes: dict[str, Any], code: str, message: str, remedy: str | None
) -> None:
    checkup = examine(**changes)
    assert checkup.can_run
    assert found(checkup) == [(f"doctor.{code}", message, remedy)]


def test_no_folder_for_temporary_files_stops_a_run(examine: Answer) -> None:
    checkup = examine(scratch_folder=None, scratch_bytes=None)
    assert not checkup.can_run
    assert checkup.problems[0].code == "doctor.no_scratch"


def test_what_is_shown(examine: Answer) -> None:
    text = show_checkup(examine(throttling=None, temperature_celsius=None))
    assert "4 (0-3, up to 2400 MHz)" in text
    assert "not known" in text
    assert text.count("not known") == 2  # neither zero degrees nor "not slowed"
    assert "A run is possible there." in text


def test_a_model_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_text("hello")
    with pytest.raises(SourceError, match=r"m\.tflite"):
        edgeq.doctor(model=path)
