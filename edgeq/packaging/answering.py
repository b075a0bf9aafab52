"""What the confined child of `verify` asks for, done outside its sandbox; see `asking.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.children.foreign import Failed, failure
from edgeq.device_runners.device import Device, OnEvent
from edgeq.errors import EdgeqError
from edgeq.files import scratch
from edgeq.packaging import asking
from edgeq.packaging.assembly.tools import HERE
from edgeq.packaging.container.archive import require_inside


class Answerer:
    """The parent's end.

    Args:
        devices: those of `Job.devices`; None when nothing is to run.
    """

    def __init__(self, devices: Sequence[Device] | None, on_event: OnEvent):
        self._devices = devices
        self._on_event = on_event

    def answer(
        self, request: asking.Request
    ) -> asking.Outputs | asking.Jar | asking.Arena | Failed:
        """Do it; its `EdgeqError` is an answer, too.

        Raises:
            ValueError: it makes no sense, or nothing is to run.
        """
        try:
            if isinstance(request, asking.CompileJava):
                return _compile(request)
            if self._devices is None:
                raise ValueError("it wants a model to run, and none is to")
            if isinstance(request, asking.MeasureArena):
                return _measure(request)
            return self._infer(request, self._devices)
        except EdgeqError as error:
            return failure(error)

    def _infer(self, request: asking.Infer, devices: Sequence[Device]) -> asking.Outputs:
        from edgeq.device_runners import measure
        from edgeq.device_runners.board import BoardDevice

        if not 0 <= request.device < len(devices):
            raise ValueError(f"there is no device {request.device}")
        device, inputs = devices[request.device], asking.unpack(request.inputs)
        with scratch.folder() as folder:
            path = folder / "model.tflite"
            path.write_bytes(request.model)
            try:
                ((found,),) = measure.infer(
                    [path], iter([[inputs]]), device, on_event=self._on_event
                )
            finally:
                if isinstance(device, BoardDevice):
                    device.close()
        return asking.Outputs(asking.pack(found))


def _compile(request: asking.CompileJava) -> asking.Jar:
    for path in request.sources:
        require_inside(path, "The list of classes")
    return asking.Jar(HERE.compile_java(request.sources))


def _measure(request: asking.MeasureArena) -> asking.Arena:
    samples = [[item.array() for item in sample] for sample in request.samples]
    found = HERE.measure_arena(request.model, samples, request.output_count, request.shown_as)
    outputs = tuple(tuple(map(asking.Tensor.of, sample)) for sample in found.outputs)
    return asking.Arena(found.version, outputs, found.arena_bytes, found.recorded_bytes)
