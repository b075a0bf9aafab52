"""What the agent reads of a machine: fake /sys, /proc and vcgencmd, for lack of the hardware."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeq.accuracy.verdict import require_comparable
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.measuring import run_job
from edgeq.device_runners.on_board.agent import energy, facts, health, machine, watch
from edgeq.errors import UsageError
from edgeq.values import BenchOptions, FloatModel

CPU = "/sys/devices/system/cpu/cpu{}/"
RAPL = "/sys/class/powercap/intel-rapl:0/"

# A Raspberry Pi 5's answers, shortened: a rail without an ammeter, and two with both.
PMIC = """
cat <<'END'
     3V3_SYS_A current(1)=0.10000000A
     VDD_CORE_A current(7)=2.00000000A
     3V3_SYS_V volt(9)=3.30000000V
     VDD_CORE_V volt(15)=0.90000000V
     EXT5V_V volt(24)=5.15000000V
END
"""
PI = """
case "$1 $2" in
"get_throttled ") echo throttled=$(cat {0}/throttled) ;;
"measure_temp ") echo "temp=71.4'C" ;;
"measure_clock arm") echo "frequency(48)=1800404352" ;;
*) exit 1 ;;
esac
"""

THERMAL_SERVICE = """
cat <<'END'
IsStatusOverride: false
Thermal Status: 3
Current temperatures from HAL:
	Temperature{mValue=71.5, mType=0, mName=CPU0, mStatus=3}
	Temperature{mValue=78.25, mType=0, mName=CPU4, mStatus=3}
	Temperature{mValue=91.0, mType=3, mName=skin, mStatus=0}
END
"""


@pytest.fixture
def pi(board: Any, tmp_path: Path) -> Any:
    """A Raspberry Pi that runs slow for lack of voltage, and has been too hot."""
    (tmp_path / "throttled").write_text("0xd0005")
    board.install("vcgencmd", PI.format(tmp_path))
    return board


@contextmanager
def meanwhile(step: Callable[[], None]) -> Iterator[None]:
    """Repeat a step every 20 ms while the block runs."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.02):
            step()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def write_speeds(board: Any, file: str, speeds: dict[int, int]) -> None:
    for core, speed in speeds.items():
        board.write(CPU.format(core) + file, speed)


# ---------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("file", "speeds", "kinds"),
    [
        ("cpu_capacity", {0: 446, 1: 1024}, [[0], [1]]),
        ("cpu_capacity", {0: 1024, 1: 446}, [[1], [0]]),
        ("cpu_capacity", {0: 1024, 1: 1008}, [[0, 1]]),  # binned: RK3588's two A76 clusters
        ("cpufreq/cpuinfo_max_freq", {0: 1_800_000, 1: 2_400_000}, [[0], [1]]),
        ("cpufreq/cpuinfo_max_freq", {0: 5_200_000, 1: 5_000_000}, [[0, 1]]),  # a favoured core
        ("cpu_capacity", {0: 446}, [[0, 1]]),  # half of them tell nothing
    ],
)
def test_cores_fall_into_kinds(
    board: Any, monkeypatch: pytest.MonkeyPatch, file: str, speeds: dict[int, int], kinds: Any
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    write_speeds(board, file, speeds)
    assert [kind["numbers"] for kind in facts.core_kinds()] == kinds


def test_features_are_those_of_every_core(board: Any) -> None:
    board.write("/proc/cpuinfo", "Features\t: fp asimd crc32 asimddp\n\nFeatures\t: fp asimd crc32")
    assert facts.cpu_features() == ["asimd"]
    board.write("/proc/cpuinfo", "flags\t\t: fpu avx2 avx512_vnni amx_int8 vmx flags")
    assert facts.cpu_features() == ["avx2", "avx512_vnni", "amx_int8"]


def test_the_operating_system_and_its_memory(board: Any) -> None:
    assert (facts.release(), machine.available_bytes()) == (None, None)
    board.write("/etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"')
    board.write("/proc/meminfo", "MemTotal: 8000 kB\nMemAvailable:    4000 kB")
    assert facts.release() == "Debian GNU/Linux 12 (bookworm)"
    assert machine.available_bytes() == 4_096_000
    board.install("getprop", '[ "$1" = ro.build.version.release ] && echo 14 || echo')
    assert facts.release() == "Android 14"


def test_an_android_emulator_is_told(board: Any) -> None:
    assert facts.emulator() is None
    board.install("getprop", '[ "$1" = ro.boot.qemu ] && echo 1')
    assert facts.emulator() == "Android emulator"


# ---------------------------------------------------------------- health


def test_a_raspberry_pi_answers_where_sysfs_is_silent(pi: Any) -> None:
    seen = health.health([0])
    assert seen["clock_mhz"] == pytest.approx(1800.404352)
    assert seen["temperature_celsius"] == 71.4
    assert seen["throttling"] == ["under-voltage", "throttled"]
    assert seen["throttled_before"] == ["under-voltage", "throttled", "soft temperature limit"]


def test_sysfs_comes_before_the_firmware(pi: Any) -> None:
    write_speeds(pi, "cpufreq/scaling_cur_freq", {0: 600_000, 1: 1_500_000})
    pi.write("/sys/class/thermal/thermal_zone0/temp", 48_300)
    pi.write("/sys/devices/platform/soc/soc:firmware/get_throttled", "20002")
    seen = health.health([0])
    assert seen["clock_mhz"] == 600.0  # of the core in use
    assert health.health([0, 1])["clock_mhz"] == 1500.0
    assert seen["temperature_celsius"] == 48.3
    assert (seen["throttling"], seen["throttled_before"]) == (["clock capped"], ["clock capped"])


def test_android_tells_its_thermal_status(board: Any) -> None:
    board.install("dumpsys", THERMAL_SERVICE)
    assert health.throttle_states() == (["thermal status severe"], [])
    assert health.temperature_celsius() == 78.25  # of the processor, not of the skin


def test_android_without_throttling(board: Any) -> None:
    board.install("dumpsys", "echo 'Thermal Status: 0'")
    assert health.throttle_states() == ([], [])


def test_what_nobody_tells_is_none(board: Any) -> None:
    board.install("vcgencmd", "echo 'VCHI initialization failed'; exit 255")  # not in group video
    seen = health.health([0])
    told = ("clock_mhz", "temperature_celsius", "throttling", "throttle_count", "busy_s")
    assert [seen[name] for name in told] == [None] * 5


def test_the_clock_that_a_virtual_machine_shows_is_no_measurement(board: Any) -> None:
    board.write("/proc/cpuinfo", "flags : avx2\ncpu MHz : 3100.5\ncpu MHz : 2900.0")
    assert health.clock_mhz([0]) == 3100.5
    board.write("/proc/cpuinfo", "flags : avx2 hypervisor\ncpu MHz : 2596.1")
    assert health.clock_mhz([0]) is None


# ---------------------------------------------------------------- energy


def write_package(board: Any, number: int, name: str, microjoules: int) -> None:
    folder = f"/sys/class/powercap/intel-rapl:{number}/"
    board.write(folder + "name", name)
    board.write(folder + "energy_uj", microjoules)
    board.write(folder + "max_energy_range_uj", 1_000_000)


def test_rapl_sums_packages_and_wraps_around(board: Any) -> None:
    write_package(board, 0, "package-0", 999_000)
    write_package(board, 1, "package-1", 5_000)
    write_package(board, 2, "psys", 7)  # holds the packages: counted twice otherwise
    meter = energy.Meter()
    assert (meter.kind, meter.refusal) == ("RAPL", None)
    assert meter.counters() == [999_000, 5_000]
    assert meter.joules([999_000, 5_000], [1_000, 9_000]) == pytest.approx(0.006)


def test_a_counter_for_root_only_is_not_claimed(board: Any) -> None:
    write_package(board, 0, "package-0", 1)
    (board.root / RAPL.lstrip("/") / "energy_uj").unlink()  # tests may run as root
    meter = energy.Meter()
    assert (meter.kind, meter.counters()) == (None, None)
    assert meter.refusal == f"{RAPL}energy_uj can be read by root only"


def test_the_pmic_sums_the_rails_that_have_both_figures(board: Any) -> None:
    board.install("vcgencmd", PMIC)
    assert energy.Meter().kind == "PMIC"
    assert energy.Meter.watts() == pytest.approx(3.3 * 0.1 + 0.9 * 2)


# ---------------------------------------------------------------- whole runs

LONG = BenchOptions(min_time_s=2.0, max_time_s=2.0)


def test_energy_of_a_run_from_a_counter(board: Any, float_cnn: FloatModel) -> None:
    """The counter runs at 5 W."""
    write_package(board, 0, "package-0", 0)
    began = time.monotonic()

    def count() -> None:
        spent = (time.monotonic() - began) * 5e6
        board.write(RAPL + "energy_uj", int(spent) % 1_000_000)

    with meanwhile(count):
        (run,) = run_job.bench([Path(float_cnn.file.path)], LocalDevice(), LONG).runs
    assert run.energy is not None
    assert run.energy.meter == "RAPL"
    assert run.energy.mean_power_w == pytest.approx(5, rel=0.3)
    assert run.energy.per_inference_mj == pytest.approx(5 * run.latency.mean_ms, rel=0.3)


def test_energy_of_a_run_from_a_power_meter(board: Any, float_cnn: FloatModel) -> None:
    board.install("vcgencmd", PMIC)
    (run,) = run_job.bench([Path(float_cnn.file.path)], LocalDevice(), LONG).runs
    assert run.energy is not None
    assert (run.energy.meter, run.energy.mean_power_w) == ("PMIC", pytest.approx(2.13))
    assert run.energy.per_inference_mj == pytest.approx(2.13 * run.latency.mean_ms)


def test_no_meter_is_no_zero(board: Any, tiny: Any, save: Any) -> None:
    result = run_job.bench([save(tiny.add_one())], LocalDevice(), BenchOptions(runs=30))
    assert result.runs[0].energy is None
    assert result.facts.energy_refusal == "no meter found (RAPL, or a Raspberry Pi 5's PMIC)"


def test_too_low_a_voltage_makes_a_run_invalid(pi: Any, tiny: Any, save: Any) -> None:
    path = save(tiny.add_one())
    result = run_job.bench([path, path], LocalDevice(), BenchOptions(runs=40))
    assert [run.validity for run in result.runs] == ["invalid", "invalid"]
    assert result.speedups == ()
    codes = [issue.code for issue in result.runs[0].issues]
    assert {"bench.undervoltage", "bench.throttled"} <= set(codes)
    assert result.looks[0].throttling == ("under-voltage", "throttled")


def test_an_emulated_board_gives_no_speed_up(board: Any, tiny: Any, save: Any) -> None:
    board.install("getprop", '[ "$1" = ro.boot.qemu ] && echo 1')
    path = save(tiny.add_one())
    result = run_job.bench([path, path], LocalDevice(), BenchOptions(runs=40))
    assert result.facts.emulator == "Android emulator"
    assert [run.validity for run in result.runs] == ["invalid", "invalid"]
    assert result.speedups == ()
    with pytest.raises(UsageError, match=r"Latencies measured on local cannot be compared: This "):
        require_comparable(result)


def test_a_worker_stays_on_its_cores(tiny: Any, save: Any, tmp_path: Path) -> None:
    """The real thing: the kernel's own list for the worker, while it runs."""
    core = machine.own_cores()[-1]
    seen: set[frozenset[int]] = set()

    def look() -> None:
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().split(b"\0")
                if b"worker" in words and words[1].endswith(b"/agent.pyz"):
                    seen.add(frozenset(os.sched_getaffinity(int(status.parent.name))))
            except OSError:
                continue

    options = BenchOptions(cores=str(core), min_time_s=1.0, max_time_s=1.0)
    with meanwhile(look):
        result = run_job.bench([save(tiny.add_one())], LocalDevice(), options)
    assert result.runs[0].cores == (core,)
    assert frozenset([core]) in seen


def test_a_sustained_run_that_gets_hot(board: Any, tiny: Any, save: Any) -> None:
    """Windows of half a second; the clock falls, and the heat rises, after about a second."""
    began = time.monotonic()

    def heat() -> None:
        is_hot = time.monotonic() - began > 2.2
        write_speeds(board, "cpufreq/scaling_cur_freq", dict.fromkeys(
            machine.own_cores(), 1_000_000 if is_hot else 1_800_000))  # fmt: skip
        board.write("/sys/class/thermal/thermal_zone0/temp", 82_000 if is_hot else 55_000)

    heat()
    options = BenchOptions(sustained_s=4.5, window_s=0.75)
    with meanwhile(heat):
        result = run_job.bench([save(tiny.add_one())], LocalDevice(), options)
    (run,) = result.runs
    sustained = run.sustained
    assert sustained is not None
    assert [window.began_s for window in sustained.windows] == [0, 0.75, 1.5, 2.25, 3.0, 3.75]
    assert [window.clock_mhz for window in sustained.windows][::5] == [1800.0, 1000.0]
    assert [window.temperature_celsius for window in sustained.windows][::5] == [55.0, 82.0]
    assert sustained.watched == ("clock",)
    assert sustained.throttled_after_s is not None
    assert 0.5 < sustained.throttled_after_s < 3.0
    assert run.latency.count == sum(window.count for window in sustained.windows) > 10_000
    # at most so many times are kept, however fast the model is
    assert sum(map(len, run.latencies_ms)) <= watch.MAX_RUNS
    assert {issue.code for issue in run.issues} <= {"bench.load"}


# ---------------------------------------------------------------- parts


def test_a_window_keeps_a_uniform_sample() -> None:
    window = watch.Window(2000)
    window.add(range(100_000))
    assert (window.count, len(window.kept)) == (100_000, 2000)
    ordered = sorted(window.kept)
    assert ordered[1000] == pytest.approx(50_000, rel=0.05)
    assert ordered[1800] == pytest.approx(90_000, rel=0.02)


def test_each_runtime_is_imported_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ai_edge_litert.py").write_text("raise ImportError('libfoo.so.1: not found')")
    job = {"protocol": 1, "task": "check", "runtime": "ai-edge-litert"}
    assert LocalDevice().run(job, {}, tmp_path)["error"] is None
    (tmp_path / "result.json").unlink()
    error = LocalDevice().run({**job, "runtime": "tflite-runtime-9000"}, {}, tmp_path)["error"]
    assert error["message"].startswith("tflite-runtime-9000 is not installed (ai-edge-litert")
