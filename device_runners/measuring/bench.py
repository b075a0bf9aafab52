"""Latency on any device: with the agent, or with benchmark_model where no Python can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeq.device_runners.devices.device import Device, OnEvent
from edgeq.device_runners.measuring import benchmark_tool_run, run_job
from edgeq.files.reading import needs_unchanged
from edgeq.values import BenchOptions, BenchResult


@needs_unchanged("models")
def bench(
    models: Sequence[Path],
    device: Device,
    options: BenchOptions,
    inputs: Mapping[str, run_job.Arrays] | None = None,
    on_event: OnEvent | None = None,
) -> BenchResult:
    """Measure models, alternating between them where the agent runs.

    Args:
        models: the others' speed-ups are relative to the first.
        inputs: model path to input name to the exact input tensor; random values by default.

    Raises:
        DeviceError: a model cannot be run there, or there is no program to run it.
        UsageError: options that need the agent, without a Python there.
    """
    shell = device.tool_shell(options.benchmark_model)
    if shell is not None:
        return benchmark_tool_run.bench(models, shell, options, inputs, on_event)
    return run_job.bench(models, device, options, inputs, on_event)
