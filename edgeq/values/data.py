"""Data sets, preprocessing, and the provenance of a record."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.front_end import FrontEnd
from edgeq.values.showing import bounded


@bounded
@dataclass(frozen=True)
class Provenance:
    """Time, versions and machine of a record; digests of models and data are in its body.

    Attributes:
        created: UTC, e.g. 2026-11-25T22:10:00Z.
        edgeq: version.
        python: version of the interpreter that ran edgeq.
        system: of the machine that edgeq ran on, not of the device, e.g. "Linux 6.1.0".
        machine: e.g. "x86_64".
        tools: those installed there, (name, version).
        environment_sha256: digest of all of these except `created`: equal in equal environments.
    """

    created: str
    edgeq: str
    python: str
    system: str
    machine: str
    tools: tuple[tuple[str, str], ...]
    environment_sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """How a raw sample is turned into a model input, in the order of the attributes.

    The numeric part computes `(x * scale + offset - mean) / std` in float32.

    Attributes:
        input: name of the model input, or None for the only one.
        preset: name of the preset that gave these values, for the record.
        resize: (height, width) for images, or None.
        channels: "rgb", "bgr" or "gray"; raw images are RGB.
        scale: factor.
        offset: added after scaling.
        mean: per channel or a single value; empty for no subtraction.
        std: per channel or a single value; empty for no division.
        pad: None stretches to the size of `resize`; a grey value keeps the proportions, puts the
            image in the middle and fills the rest (letterbox).
        exif: "apply" turns images of files as their EXIF orientation says, "ignore" does not.
        sound: the front end that comes before the numeric part, None for other inputs.
    """

    input: str | None = None
    preset: str | None = None
    resize: tuple[int, int] | None = None
    channels: str = "rgb"
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pad: int | None = None
    exif: str = "ignore"
    sound: FrontEnd | None = None


@bounded
@dataclass(frozen=True)
class DataRef:
    """A data set as it was read.

    Attributes:
        source: as the user named it.
        kind: "npz", "npy", "csv"; for a folder "images", "arrays" or "sounds"; from Python
            "arrays", "function", or "object" for a list, a generator or a library's data set.
        sha256: digest of the files; for Python objects, of the samples that were read.
        sample_count: number of samples, None when it is known only after iteration.
        has_labels: whether each sample has a label.
        preprocessing: one entry per input that declares any.
        class_names: of the class folders, of labels that are names, or stated by a library's data
            set: class i of the model is the i-th. Empty for other labels that are numbers, and in
            records older than this field.
        samples_sha256: digest without labels that `--labels` adds; None without them, and in
            records older than this field.
    """

    source: str
    kind: str
    sha256: str
    sample_count: int | None
    has_labels: bool
    preprocessing: tuple[Preprocessing, ...] = ()
    class_names: tuple[str, ...] = ()
    samples_sha256: str | None = None

    def has_samples_of(self, other: DataRef) -> bool:
        """Whether both have the same samples, whatever labels are beside them."""
        return (self.samples_sha256 or self.sha256) == (other.samples_sha256 or other.sha256)
