"""The requests of the confined child that checks a package, and the answers of its parent.

The child may start no program, so its parent runs the model on devices, the Java compiler and
tflite-micro. The child sends only bytes and arrays, never a path or a command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from edgeq.children.foreign import Channel
from edgeq.fit.arena import ArenaMeasurement
from edgeq.packaging.container.manifest import Manifest
from edgeq.packaging.contract.values import Arrays
from edgeq.packaging.verification.checks import Check


class Job(Struct, frozen=True, tag=True):
    """The first message to the child.

    Attributes:
        path: of the package.
        key: public key in PEM that the package must be signed with.
        devices: names to run the vectors on, requested by index; None when nothing is to run.
    """

    path: str
    key: str | None
    devices: tuple[str, ...] | None


class Judged(Struct, frozen=True, tag=True):
    """The last message of the child."""

    manifest: Manifest
    checks: Annotated[tuple[Check, ...], Meta(min_length=1)]


class Tensor(Struct, frozen=True):
    """An array."""

    dtype: Annotated[str, Meta(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))\Z")]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, lt=1 << 31)], ...], Meta(max_length=32)]
    content: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> Tensor:
        """The message for an array."""
        return cls(array.dtype.name, array.shape, array.tobytes())

    def array(self) -> NDArray[Any]:
        """The array of the message.

        Raises:
            ValueError: the number of bytes does not fit the shape.
        """
        expected = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if expected != len(self.content):
            raise ValueError(
                f"an array of {self.shape} {self.dtype} needs {expected} bytes, not "
                f"{len(self.content)}"
            )
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


Tensors = dict[str, Tensor]


class Infer(Struct, frozen=True, tag=True):
    """Run a model on the device with this index in `Job.devices`; answered by `Outputs`."""

    device: int
    model: bytes
    inputs: Tensors


class Outputs(Struct, frozen=True, tag=True):
    """Output tensors by name."""

    arrays: Tensors


class CompileJava(Struct, frozen=True, tag=True):
    """Run `Tools.compile_java`; answered by `Jar`."""

    sources: dict[str, bytes]


class Jar(Struct, frozen=True, tag=True):
    """An archive of classes."""

    content: bytes


class MeasureArena(Struct, frozen=True, tag=True):
    """Run `Tools.measure_arena`; answered by `Arena`."""

    model: bytes
    samples: tuple[tuple[Tensor, ...], ...]
    output_count: Annotated[int, Meta(ge=0, lt=1 << 16)]
    shown_as: str


class Arena(Struct, frozen=True, tag=True):
    """An `ArenaMeasurement`."""

    version: str
    outputs: tuple[tuple[Tensor, ...], ...]
    arena_bytes: int
    recorded_bytes: int
    persistent_bytes: int


Request = Infer | CompileJava | MeasureArena
FromChild = Request | Judged


def pack(arrays: Arrays) -> Tensors:
    """The messages for arrays."""
    return {name: Tensor.of(array) for name, array in arrays.items()}


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The arrays of messages.

    Raises:
        ValueError: the number of bytes does not fit a shape.
    """
    return {name: tensor.array() for name, tensor in tensors.items()}


class Asker:
    """The child's end: each method sends a request, and raises the `EdgeqError` in its answer."""

    def __init__(self, parent: Channel):
        self._parent = parent

    def _ask(self, request: Request, kind: type[Any]) -> Any:
        self._parent.send(request)
        return self._parent.receive(kind)

    def infer(self, model: bytes, inputs: Arrays, device: int) -> dict[str, NDArray[Any]]:
        """Output tensors of a model on a device."""
        return unpack(self._ask(Infer(device, model, pack(inputs)), Outputs).arrays)

    def compile_java(self, sources: Mapping[str, bytes]) -> bytes:
        """`Tools.compile_java`."""
        content: bytes = self._ask(CompileJava(dict(sources)), Jar).content
        return content

    def measure_arena(
        self, model: bytes, samples: Sequence[Sequence[NDArray[Any]]], outputs: int, shown_as: str
    ) -> ArenaMeasurement:
        """`Tools.measure_arena`."""
        packed = tuple(tuple(map(Tensor.of, sample)) for sample in samples)
        found = self._ask(MeasureArena(model, packed, outputs, shown_as), Arena)
        arrays = tuple(tuple(item.array() for item in sample) for sample in found.outputs)
        return ArenaMeasurement(
            found.version,
            arrays,
            found.arena_bytes,
            found.recorded_bytes,
            found.persistent_bytes,
        )
