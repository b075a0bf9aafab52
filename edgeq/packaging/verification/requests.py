"""What the confined child that judges a package asks of its parent, and how each is answered.

The child may start no program, so its parent runs the model on devices, the Java compiler and
tflite-micro for it. Bytes and arrays are all that it hands over: it names no path and no command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from edgeq.children.foreign import Channel
from edgeq.packaging.container.manifest import Manifest
from edgeq.packaging.targets.c.tflite_micro import Measured
from edgeq.packaging.verification.checks import Check

Arrays = Mapping[str, NDArray[Any]]


class Job(Struct, frozen=True, tag=True):
    """What the child is told first.

    Attributes:
        key: public key in PEM that the package must be signed with.
        devices: names to run the vectors on, which are asked for by their place; None when nothing
            is to run.
    """

    path: str
    key: str | None
    devices: tuple[str, ...] | None


class Judged(Struct, frozen=True, tag=True):
    """What the child tells last."""

    manifest: Manifest
    checks: Annotated[tuple[Check, ...], Meta(min_length=1)]


class Tensor(Struct, frozen=True):
    """An array."""

    dtype: Annotated[str, Meta(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))\Z")]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, lt=1 << 31)], ...], Meta(max_length=32)]
    content: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> Tensor:
        """An array as a message."""
        return cls(array.dtype.name, array.shape, array.tobytes())

    def array(self) -> NDArray[Any]:
        """The same back.

        Raises:
            ValueError: it has another number of bytes than its shape.
        """
        if math.prod(self.shape) * np.dtype(self.dtype).itemsize != len(self.content):
            raise ValueError(f"an array of shape {self.shape} has {len(self.content)} bytes")
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


Tensors = dict[str, Tensor]


class Infer(Struct, frozen=True, tag=True):
    """Run a model on the device at a place of `Job.devices`; answered by `Outputs`."""

    device: int
    model: bytes
    inputs: Tensors


class Outputs(Struct, frozen=True, tag=True):
    """By name."""

    arrays: Tensors


class CompileJava(Struct, frozen=True, tag=True):
    """See `Tools`; answered by `Jar`."""

    sources: dict[str, bytes]


class Jar(Struct, frozen=True, tag=True):
    """An archive of classes."""

    content: bytes


class MeasureArena(Struct, frozen=True, tag=True):
    """See `Tools`; answered by `Arena`."""

    model: bytes
    samples: tuple[tuple[Tensor, ...], ...]
    output_count: Annotated[int, Meta(ge=0, lt=1 << 16)]
    shown_as: str


class Arena(Struct, frozen=True, tag=True):
    """See `micro.Measured`."""

    version: str
    outputs: tuple[tuple[Tensor, ...], ...]
    arena_bytes: int
    recorded_bytes: int


Request = Infer | CompileJava | MeasureArena
Told = Request | Judged


def pack(arrays: Arrays) -> Tensors:
    """Arrays as messages."""
    return {name: Tensor.of(array) for name, array in arrays.items()}


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The same back.

    Raises:
        ValueError: see `Tensor.array`.
    """
    return {name: tensor.array() for name, tensor in tensors.items()}


class Asker:
    """The child's end: each method asks, and raises the `EdgeqError` that it is answered with."""

    def __init__(self, parent: Channel):
        self._parent = parent

    def _ask(self, request: Request, kind: type[Any]) -> Any:
        self._parent.send(request)
        return self._parent.receive(kind)

    def infer(self, model: bytes, inputs: Arrays, device: int) -> dict[str, NDArray[Any]]:
        """See `Infer`."""
        return unpack(self._ask(Infer(device, model, pack(inputs)), Outputs).arrays)

    def compile_java(self, sources: Mapping[str, bytes]) -> bytes:
        """See `Tools`."""
        content: bytes = self._ask(CompileJava(dict(sources)), Jar).content
        return content

    def measure_arena(
        self, model: bytes, samples: Sequence[Sequence[NDArray[Any]]], outputs: int, shown_as: str
    ) -> Measured:
        """See `Tools`."""
        packed = tuple(tuple(map(Tensor.of, sample)) for sample in samples)
        found = self._ask(MeasureArena(model, packed, outputs, shown_as), Arena)
        arrays = tuple(tuple(item.array() for item in sample) for sample in found.outputs)
        return Measured(found.version, arrays, found.arena_bytes, found.recorded_bytes)
