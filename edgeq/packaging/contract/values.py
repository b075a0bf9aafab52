"""The contract between a model and its generated code, and golden vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from edgeq.converters.samples.sounds.front_end import clip_length
from edgeq.values import FileRef, FrontEnd, Issue, JoinedOutput, Preprocessing, TensorSpec
from edgeq.values.showing import bounded

SCHEMA = "edgeq.package/1"

Files = Mapping[str, bytes]  # path inside the package, with /, to content
Arrays = Mapping[str, NDArray[Any]]  # tensor name to values


@bounded
@dataclass(frozen=True)
class InputContract:
    """One input.

    Attributes:
        identifier: name in generated code, in snake case; made by `naming.unique`.
        spec: dtype, shape with the batch dimension, scale and zero point.
        preprocessing: from a raw sample to real values; None when samples go in unchanged.
        image: (height, width, channels) when the shape is that of an image with channels last;
            `image_inputs.confirm_images` also asks the samples.
        front_end: how a sound becomes the features that `preprocessing` prepares; None for other
            inputs.
    """

    identifier: str
    spec: TensorSpec
    preprocessing: Preprocessing | None
    image: tuple[int, int, int] | None
    front_end: FrontEnd | None = None

    @property
    def sound_length(self) -> int:
        """Number of samples of a sound for this input, 0 for other inputs."""
        return (clip_length(self.front_end, self.spec) or 0) if self.front_end else 0

    @property
    def declared(self) -> Preprocessing | None:
        """The preprocessing with the front end, as data sets are fed."""
        if self.front_end is None:
            return self.preprocessing
        how = self.preprocessing or Preprocessing(input=self.spec.name)
        return replace(how, sound=self.front_end)


@bounded
@dataclass(frozen=True)
class OutputContract:
    """One output.

    Attributes:
        identifier: name in generated code, in snake case.
        labels: name of each class along the last axis; empty without names.
    """

    identifier: str
    spec: TensorSpec
    labels: tuple[str, ...]


@bounded
@dataclass(frozen=True)
class Contract:
    """The facts that code around the model needs.

    Attributes:
        name: package name in snake case, e.g. "fmnist_mobilenet".
        version: release, e.g. "1.4.0".
        model: the `.tflite`.
        min_runtime_version: TensorFlow Lite release, None when the file does not state it.
        operators: (name, highest version) of every operator in the file, sorted.
        joins: outputs that the file gives in parts.
        join_identifiers: their names in generated code, in snake case.
        decoding: `--decode` text, None without.
        boxes: name of the decoded boxes in generated code and golden vectors.
        box_labels: name of each class of the boxes; empty without names.
    """

    name: str
    version: str
    model: FileRef
    inputs: tuple[InputContract, ...]
    outputs: tuple[OutputContract, ...]
    min_runtime_version: str | None
    operators: tuple[tuple[str, int], ...]
    joins: tuple[JoinedOutput, ...] = ()
    join_identifiers: tuple[str, ...] = ()
    decoding: str | None = None
    boxes: str = "boxes"
    box_labels: tuple[str, ...] = ()

    @property
    def preprocessing(self) -> tuple[Preprocessing, ...]:
        """The preprocessing of those inputs that have one, as the package's code does it."""
        return tuple(item.preprocessing for item in self.inputs if item.preprocessing is not None)

    @property
    def declared(self) -> tuple[Preprocessing, ...]:
        """The preprocessing with front ends, as data sets are fed."""
        return tuple(item.declared for item in self.inputs if item.declared is not None)

    @property
    def letterboxed(self) -> tuple[str, tuple[int, int]] | None:
        """The first input that keeps the proportions of a picture: its name, height and width.

        Labels follow its pixels.
        """
        for item in self.inputs:
            how = item.preprocessing
            if how is not None and how.resize is not None and how.pad is not None:
                return item.spec.name, how.resize
        return None


@dataclass(frozen=True, eq=False)
class Vector:
    """One real sample and the outputs that the model computes from it.

    Attributes:
        index: of the sample in its dataset.
        label: None without labels.
        raw: input name to the sample as it is in the dataset, before preprocessing; of a sound,
            the features of its front end, float32 [frames, values].
        inputs: input name to the input tensor [1, ...] in its own dtype.
        outputs: output name to the output tensor [1, ...] in its own dtype.
        real: output name to the same in real units, float32.
        results: what is computed from them: joined outputs [1, ...], float32, and boxes
            [1, at_most, 6], float64 (see `edgeq.metrics.boxes.decode`).
        picture: see `results.place_picture`.
        sounds: input name to the sound that `raw` was computed from, float32 [samples].
    """

    index: int
    label: int | None
    raw: Arrays
    inputs: Arrays
    outputs: Arrays
    real: Arrays
    results: Arrays = field(default_factory=dict)
    picture: Arrays = field(default_factory=dict)
    sounds: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden vectors, and how far another machine may differ from them.

    Attributes:
        data: name of the dataset's file.
        data_sha256: SHA-256 of its contents.
        tolerances: output name to the largest accepted difference: in steps of an integer output,
            in the unit of a float one. Measured: how far TensorFlow Lite's own kernels differ from
            XNNPACK on these vectors, plus one step (or one part in 100,000).
        doubts: about the samples, found when they were chosen.
        class_names: as in `DataRef`, when they were chosen.
        feature_tolerances: input name to the precision ("float64", "float32") of an arithmetic,
            to how far the features that it computes from `Vector.sounds` may be from `Vector.raw`;
            see `golden.sounds`.
    """

    data: str
    data_sha256: str
    vectors: tuple[Vector, ...]
    tolerances: Mapping[str, float]
    doubts: tuple[Issue, ...] = ()
    class_names: tuple[str, ...] = ()
    feature_tolerances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
