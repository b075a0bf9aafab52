"""What code around a model has to know, and what a package consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeq.packaging.assembly.tools import HERE, Tools
from edgeq.values import FileRef, Issue, Preprocessing, TensorSpec

SCHEMA = "edgeq.package/1"

Files = Mapping[str, bytes]  # path inside the package, with /, to content


@dataclass(frozen=True)
class InputContract:
    """One input.

    Attributes:
        identifier: of the input in generated code, in snake case; see `naming`.
        spec: dtype, shape with the batch dimension, scale and zero point.
        preprocessing: from a raw sample to real values; None when samples go in as they are.
        image: (height, width, channels) when its shape is that of an image with channels last,
            else None; `seeing.see_images` asks the samples as well.
    """

    identifier: str
    spec: TensorSpec
    preprocessing: Preprocessing | None
    image: tuple[int, int, int] | None


@dataclass(frozen=True)
class OutputContract:
    """One output.

    Attributes:
        identifier: see `InputContract`.
        labels: name of each class along the last axis; empty without names.
    """

    identifier: str
    spec: TensorSpec
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Contract:
    """What code around the model has to know.

    Attributes:
        name: of the package in snake case, e.g. "fmnist_mobilenet".
        version: of the release, e.g. "1.4.0".
        model: the `.tflite`.
        min_runtime_version: TensorFlow Lite release, None when the file does not say.
        operators: (name, highest version) of every operator in the file, sorted.
    """

    name: str
    version: str
    model: FileRef
    inputs: tuple[InputContract, ...]
    outputs: tuple[OutputContract, ...]
    min_runtime_version: str | None
    operators: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Vector:
    """One real sample and what the model makes of it.

    Attributes:
        index: of the sample in its data set.
        label: None without labels.
        raw: input name to the sample as it lies in the data set, before preprocessing.
        inputs: input name to the input tensor [1, ...] in its own dtype.
        outputs: output name to the output tensor [1, ...] in its own dtype.
        real: output name to the same in real units, float32.
    """

    index: int
    label: int | None
    raw: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    real: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Golden:
    """Vectors, and how far another machine may be from them.

    Attributes:
        data: name of the data set's file.
        data_sha256: of its contents.
        tolerances: output name to the largest accepted difference: in steps of an integer output,
            in its unit of a float one. Measured: what TensorFlow Lite's own kernels differ from
            XNNPACK on these vectors, and one step (or one part in 100,000) more.
        doubts: about the samples as the model is fed with them, when they were chosen.
        class_names: as in `DataRef`, when they were chosen.
    """

    data: str
    data_sha256: str
    vectors: tuple[Vector, ...]
    tolerances: Mapping[str, float]
    doubts: tuple[Issue, ...] = ()
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What a target makes its files from.

    Attributes:
        model: bytes of the `.tflite` as it ships.
        license: SPDX expression, or None when nobody named one.
        tools: programs that a target may run.
    """

    contract: Contract
    model: bytes
    golden: Golden
    license: str | None
    tools: Tools = HERE
