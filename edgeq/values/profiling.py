"""Time per operator of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Validity, require
from edgeq.values.files import FileRef, Issue
from edgeq.values.running import DeviceFacts, RuntimeInfo
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class OperatorTime:
    """One operator's part of an inference.

    Attributes:
        index: in the file's main subgraph; None for work that belongs to no operator of the file.
        name: of its first output; the runtime's name without an index.
        operator: e.g. "CONV_2D".
        precision: see `OperatorReport`; "" without an index.
        kernels: the runtime's names of the kernels that computed it; empty when it ran as part of
            another operator or was removed.
        is_delegated: whether XNNPACK computed it; None without kernels.
        time_ms: per inference; None without kernels.
        share: of the sum of all operators' times, 0 to 1.
        is_island: float in a file that has quantized operators.
        constant_bytes: of its weights and other constants in the file.
    """

    index: int | None
    name: str
    operator: str
    precision: str
    kernels: tuple[str, ...]
    is_delegated: bool | None
    time_ms: float | None
    share: float
    is_island: bool
    constant_bytes: int


@bounded
@dataclass(frozen=True)
class TypeTime:
    """Sum over all operators of one type.

    Attributes:
        operator: e.g. "CONV_2D".
        count: operators that have their own time.
        time_ms: per inference.
        share: of the sum of all operators' times, 0 to 1.
    """

    operator: str
    count: int
    time_ms: float
    share: float


@bounded
@dataclass(frozen=True)
class ModelProfile:
    """Time per operator of one model.

    Attributes:
        runs: inferences that were measured.
        latency_ms: median of whole inferences without the profiler.
        operators_ms: sum of all operators' times.
        resolution_ms: added to each of XNNPACK's times, which are truncated to microseconds.
        operators: in the file's order.
        unmapped: the runtime's work that belongs to no operator of the file.
        types: longest first.
        conversion_ms: time of QUANTIZE and DEQUANTIZE.
        island_ms: time of float operators in a file that has quantized ones.
    """

    model: FileRef
    runtime: RuntimeInfo
    runs: int
    latency_ms: float
    operators_ms: float
    resolution_ms: float
    operators: tuple[OperatorTime, ...]
    unmapped: tuple[OperatorTime, ...]
    types: tuple[TypeTime, ...]
    conversion_ms: float
    island_ms: float


@bounded
@dataclass(frozen=True)
class MemorySpeed:
    """Speed of a machine's memory, and size of its last cache.

    Attributes:
        bytes_per_s: read and written in a copy, by as many threads as the model had.
        cache_bytes: of the last cache before the memory; None when the machine does not report it.
    """

    bytes_per_s: float
    cache_bytes: int | None


@bounded
@dataclass(frozen=True)
class Profile(Shown):
    """Time per operator of one model, or of two side by side.

    Attributes:
        models: the quantized one first if only one is quantized, otherwise as given.
        pairs: indices of the operators that are the same layer in both.
        reasons: why quantization gains nothing in places, from the figures; sentences.
        memory: its speed, measured in the same run.
        validity: "valid", "degraded" or "invalid", from the issues.
    """

    facts: DeviceFacts
    threads: int
    memory: MemorySpeed
    models: Annotated[tuple[ModelProfile, ...], SOME]
    pairs: tuple[tuple[int, int], ...]
    reasons: tuple[str, ...]
    validity: Validity
    issues: tuple[Issue, ...]

    def __post_init__(self) -> None:
        known = [{operator.index for operator in model.operators} for model in self.models[:2]]
        found = [set(side) for side in zip(*self.pairs, strict=True)]
        require(
            all(own <= there for own, there in zip(found, known, strict=False)),
            "pairs must be indices of operators of the models",
        )
