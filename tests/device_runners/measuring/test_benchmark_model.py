"""Output of benchmark_model, in the forms that people published over the years."""

from __future__ import annotations

import pytest

from edgeq.device_runners.measuring.benchmark_model import command_line, last_error, read_output
from edgeq.errors import DeviceError

COMMAND = command_line(
    "/data/local/tmp/benchmark_model", "/m", threads=2, runs=None, least_runs=30, times_s=(1, 10)
)

# Newer releases, with percentiles; the first line came through logcat.
NEW = """07-08 15:33:50.1 I/tflite  ( 5395): STARTING!
INFO: Initialized session in 6.395ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=153 first=2761 curr=2885 min=2605 max=18080 avg=3243.58 std=2165 p5=2630 median=2761 p95=5331

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169

INFO: Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.58, Inference (avg): 2942.27
INFO: Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.25
"""  # noqa: E501
# Before percentiles; a warm-up of one run, and six digits of an average.
MIDDLE = """count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
"""  # noqa: E501
# Old releases.
OLD = """Initialized session in 0.896ms
count=215 first=12231 curr=2106 min=2065 max=12231 avg=2331.42 std=746

count=459 first=2143 curr=2101 min=2056 max=2656 avg=2177.1 std=124

Average inference timings in us: Warmup: 2331.42, Init: 896, no stats: 2177.1
"""
SAME = """INFO: count=2 curr=12(all same) p5=12 median=12 p95=12
INFO: count=30 curr=11(all same) p5=11 median=11 p95=11
INFO: Inference timings in us: Init: 90, First inference: 12, Warmup (avg): 12, Inference (avg): 11
"""
# LiteRT's program: without --use_xnnpack, which it reports.
LITERT = """WARN: Unconsumed cmdline flags: --use_xnnpack=true
INFO: Initialized session in 3.65ms.
INFO: count=9 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115 p5=55502 median=56000 p95=81913
INFO: count=50 first=106022 curr=105780 min=105416 max=106528 avg=105784 std=260 p5=105485 median=105718 p95=106281
INFO: [benchmark_litert_model.h:92]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:94] Model initialization: 3.65 ms
INFO: [benchmark_litert_model.h:98] Inference (avg):      105.78 ms (50 runs)
INFO: [benchmark_litert_model.h:132] Peak memory:          427.64 MB
"""  # noqa: E501


@pytest.mark.parametrize(
    ("text", "init_ms", "first_ms", "count", "least", "middle", "most", "mean", "spread", "peak"),
    [
        (NEW, 6.395, 2.761, 337, 2.605, 2.781, 20.356, 2.94227, 1.19, 97779712),
        (MIDDLE, 17.187, 3512.391, 50, 2727.568, None, 3189.954, 2950.34, 109.798, None),
        (OLD, 0.896, 12.231, 459, 2.056, None, 2.656, 2.1771, 0.124, None),
        (SAME, 0.09, 0.012, 30, 0.011, 0.011, 0.011, 0.011, 0.0, None),
        (LITERT, 3.65, 81.913, 50, 105.416, 105.718, 106.528, 105.784, 0.26, 448413041),
    ],
)
def test_each_form_is_read(
    text: str, init_ms: float, first_ms: float, count: int, least: float, middle: float | None,
    most: float, mean: float, spread: float, peak: int | None,
) -> None:  # fmt: skip
    found = read_output(text, COMMAND)
    latency = found.latency
    assert (found.init_ms, found.first_ms, found.peak_bytes) == (init_ms, first_ms, peak)
    assert (latency.count, latency.min_ms, latency.p50_ms) == (count, least, middle)
    assert (latency.max_ms, latency.stddev_ms) == (most, spread)
    assert latency.mean_ms == pytest.approx(mean)
    assert (latency.p5_ms is None) == (latency.p95_ms is None) == (middle is None)
    assert (latency.p50_low_ms, latency.p90_ms, latency.p99_ms) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEW.partition("INFO: Inference timings")[0], "printed no result that edgeq can read."),
        ("", "printed no result that edgeq can read."),
        (NEW.replace("(avg): 2942.27", "(avg): 3942.27"),
         "contradicts itself: an average of 2942.27 us, and of 3942.27 us."),
        ("WARN: Unconsumed cmdline flags: --use_xnnpack=true\n" + NEW,
         "does not know --use_xnnpack=true, so it measured something else."),
        ("Unconsumed cmdline flags: --num_threads=2\n" + LITERT,
         "does not know --num_threads=2, so it measured something else."),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_refused(text: str, message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        read_output(text, COMMAND)
    assert caught.value.message == f"{COMMAND[0]} {message}"
    assert caught.value.details == text


def test_runs_are_exact_or_bounded_by_time() -> None:
    assert COMMAND[2:6] == ["--num_threads=2", "--num_runs=30", "--min_secs=1", "--max_secs=10"]
    exact = command_line("b", "m", threads=1, runs=7, least_runs=30, times_s=(1, 10))
    assert exact[3:6] == ["--num_runs=7", "--min_secs=0", "--max_secs=86400"]


def test_the_first_error_is_the_reason() -> None:
    text = (
        "INFO: STARTING!\nERROR: Op builtin_code out of range: 999.\nERROR: Benchmarking failed.\n"
    )
    assert last_error(text) == "Op builtin_code out of range: 999"
    assert last_error("") == "it printed nothing"
