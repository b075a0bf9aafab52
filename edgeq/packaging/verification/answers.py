"""The parent's answers to the confined child of `verify`; the requests are in `requests.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.children.foreign import Failed, failure
from edgeq.device_runners.devices.device import Device, OnEvent
from edgeq.errors import EdgeqError
from edgeq.files import scratch
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container.archive import require_inside
from edgeq.packaging.verification import requests


class Answerer:
    """The parent's end.

    Args:
        devices: those of `Job.devices`; None when nothing is to run.
    """

    def __init__(self, devices: Sequence[Device] | None, on_event: OnEvent):
        self._devices = devices
        self._on_event = on_event

    def answer(
        self, request: requests.Request
    ) -> requests.Outputs | requests.Jar | requests.Arena | Failed:
        """Do what is requested; an `EdgeqError` is an answer, too.

        Raises:
            ValueError: the request makes no sense, or nothing is to run.
        """
        try:
            if isinstance(request, requests.CompileJava):
                for path in request.sources:
                    require_inside(path, "The list of classes")
                return requests.Jar(LOCAL_TOOLS.compile_java(request.sources))
            if self._devices is None:
                raise ValueError("it requests to run a model, and none is to run")
            if isinstance(request, requests.MeasureArena):
                return _measure(request)
            return self._infer(request, self._devices)
        except EdgeqError as error:
            return failure(error)

    def _infer(self, request: requests.Infer, devices: Sequence[Device]) -> requests.Outputs:
        from edgeq.device_runners.measuring import run_job

        if not 0 <= request.device < len(devices):
            raise ValueError(f"there is no device {request.device}")
        device, inputs = devices[request.device], requests.unpack(request.inputs)
        with scratch.folder() as folder:
            path = folder / "model.tflite"
            path.write_bytes(request.model)
            try:
                ((found,),) = run_job.infer(
                    [path], iter([[inputs]]), device, on_event=self._on_event
                )
            finally:
                device.close()
        return requests.Outputs(requests.pack(found))


def _measure(request: requests.MeasureArena) -> requests.Arena:
    samples = [[item.array() for item in sample] for sample in request.samples]
    found = LOCAL_TOOLS.measure_arena(
        request.model, samples, request.output_count, request.shown_as
    )
    outputs = tuple(tuple(map(requests.Tensor.of, sample)) for sample in found.outputs)
    return requests.Arena(
        found.version,
        outputs,
        found.arena_bytes,
        found.recorded_bytes,
        found.persistent_bytes,
    )
