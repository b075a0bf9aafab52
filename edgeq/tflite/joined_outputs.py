"""Outputs that a file gives in parts (`convert --split-outputs`), and how the parts are joined.

The file's metadata `edgeq.joins` says it, so that everything that runs the file can join them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.values import JoinedOutput, TensorSpec

JOINS_KEY = "edgeq.joins"


def read_joins(tree: Any, shown_as: str) -> tuple[JoinedOutput, ...]:
    """Return the outputs that a file gives in parts, () for other files.

    Args:
        tree: the schema's `ModelT`.
        shown_as: the file in messages.

    Raises:
        SourceError: this metadata is not what edgeq writes, or does not fit the outputs.
    """
    raw = flatbuffer.metadata(tree, JOINS_KEY)
    if raw is None:
        return ()
    try:
        joins = msgspec.json.decode(raw, type=tuple[JoinedOutput, ...])
        _, outputs = flatbuffer.interface(tree)
        join_specs(outputs, joins)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{shown_as} is damaged: its metadata {JOINS_KEY} cannot be read: "
            f"{str(error).rstrip('.')}.",
            hint="Convert the model again.",
        ) from error
    return joins


def set_joins(tree: Any, joins: Sequence[JoinedOutput]) -> None:
    """Store in a file how its outputs are joined."""
    if joins:
        flatbuffer.set_metadata(tree, JOINS_KEY, msgspec.json.encode(joins))


def join_specs(
    outputs: Sequence[TensorSpec], joins: Sequence[JoinedOutput]
) -> tuple[TensorSpec, ...]:
    """Return the outputs with the joined ones, in float32, in the places of their first parts.

    Raises:
        ValueError: a part is missing, or has another number of values.
    """
    sizes = {spec.name: int(np.prod(spec.shape[1:])) for spec in outputs}
    first, parts = {}, set()
    for join in joins:
        names = [name for block in join.blocks for name, _ in block.parts]
        taken = {n: block.repeat * run for block in join.blocks for n, run in block.parts}
        wrong = [name for name in names if sizes.get(name) != taken[name] or name in parts]
        if wrong or len(set(names)) < len(names) or not names:
            raise ValueError(f"the parts of {join.name!r} are {names}, not outputs")
        if sum(taken.values()) != np.prod(join.shape[1:]):
            raise ValueError(f"the parts of {join.name!r} do not fill its shape {join.shape}")
        first[names[0]] = TensorSpec(join.name, join.shape, "float32")
        parts |= set(names)
    return tuple(
        first.get(spec.name, spec)
        for spec in outputs
        if spec.name not in parts or spec.name in first
    )


def join_outputs(
    outputs: Mapping[str, NDArray[Any]], joins: Sequence[JoinedOutput]
) -> dict[str, NDArray[Any]]:
    """Join what a file gave in parts.

    Args:
        outputs: name to [batch, ...] in real units.

    Returns:
        As `join_specs` orders them.
    """
    first: dict[str, tuple[str, NDArray[Any]]] = {}
    parts: set[str] = set()
    for join in joins:
        names = [name for block in join.blocks for name, _ in block.parts]
        count = len(outputs[names[0]])
        blocks = [
            np.concatenate(
                [outputs[name].reshape(count, block.repeat, run) for name, run in block.parts],
                axis=2,
            ).reshape(count, -1)
            for block in join.blocks
        ]
        joined = np.concatenate(blocks, axis=1).reshape(count, *join.shape[1:])
        first[names[0]] = join.name, joined
        parts |= set(names)
    return dict(
        first.get(name, (name, values))
        for name, values in outputs.items()
        if name not in parts or name in first
    )
