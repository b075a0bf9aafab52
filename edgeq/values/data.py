"""What samples are, and where a record was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Where and with what a record was made; models and data have their digests in its body.

    Attributes:
        created: UTC, as 2026-11-25T22:10:00Z.
        edgeq: version.
        python: version of the interpreter that ran edgeq.
        system: e.g. "Linux 6.1.0"; of the machine edgeq ran on, not of the device.
        machine: e.g. "x86_64".
        tools: installed there, (name, version).
        environment_sha256: digest of all of these but the moment: equal in equal environments.
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
    """How a raw sample becomes a model input; applied in the order of the attributes.

    The numeric part computes `(x * scale + offset - mean) / std` in float32.

    Attributes:
        input: name of the model input, or None for the only one.
        preset: the name it came from, for the record.
        resize: (height, width) for images, or None.
        channels: "rgb", "bgr" or "gray"; raw images are RGB.
        scale: factor.
        offset: added after scaling.
        mean: per channel or a single value; empty for none.
        std: per channel or a single value; empty for none.
    """

    input: str | None = None
    preset: str | None = None
    resize: tuple[int, int] | None = None
    channels: str = "rgb"
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class DataRef:
    """A data set as it was read.

    Attributes:
        source: what the user named.
        kind: "npz", "npy", "images", "csv", "function" or "arrays" (from Python).
        sha256: digest of the files; for functions and arrays, of the samples consumed.
        sample_count: number of samples there, None when only iteration can tell.
        has_labels: whether each sample carries a label.
        preprocessing: one entry per input that declares any.
        class_names: of the class folders or the labels, where these are names: class i of the model
            was scored as the i-th. Empty for plain numbers, and in records of before this field.
    """

    source: str
    kind: str
    sha256: str
    sample_count: int | None
    has_labels: bool
    preprocessing: tuple[Preprocessing, ...] = ()
    class_names: tuple[str, ...] = ()
