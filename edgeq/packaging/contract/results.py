"""Results beside the outputs: joined parts, and decoded boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, UsageError
from edgeq.metrics import boxes, letterbox
from edgeq.metrics.boxes import Decoding, Table
from edgeq.metrics.decoding import input_size, misfit, parse_decoding
from edgeq.packaging.contract.labels import require_names
from edgeq.packaging.contract.values import Contract
from edgeq.tflite.joined_outputs import join_outputs, join_specs
from edgeq.values import TensorSpec


@dataclass(frozen=True)
class BoxPlan:
    """How generated code reads boxes.

    Attributes:
        decoding: as declared.
        count: boxes of a sample, before any is dropped.
        boxes, scores: where they are in the joined outputs.
        width, height: what boxes are divided by; 1 for fractions.
        first: class of the first probability that counts, behind the objectness.
        classes: number of those that count; None if the model lists the class of each box.
    """

    decoding: Decoding
    count: int
    boxes: Table
    scores: Table
    width: int
    height: int
    first: int
    classes: int | None

    def has_classes(self, count: int) -> bool:
        """Whether so many names can be those of the classes."""
        return count > 0 if self.classes is None else count == self.classes


def joined_specs(contract: Contract) -> tuple[TensorSpec, ...]:
    """The outputs as an application knows them, see `edgeq.tflite.joined_outputs`."""
    return join_specs([item.spec for item in contract.outputs], contract.joins)


def plan_boxes(contract: Contract) -> BoxPlan | None:
    """Return how boxes are read; None without a decoding.

    Raises:
        DataError: the outputs are not boxes and scores.
        UsageError: boxes are in pixels, and no input is an image.
    """
    if contract.decoding is None:
        return None
    found = parse_decoding(contract.decoding)
    shapes = {spec.name: spec.shape[1:] for spec in joined_specs(contract)}
    height, width = input_size(found, [item.spec for item in contract.inputs])
    if found.unit == "fraction":
        height = width = 1
    try:
        count, places, scores = boxes.find_tables(found, shapes)
    except ValueError as error:
        raise misfit(found, error) from error
    if found.scores == "listed":
        return BoxPlan(found, count, places, scores, width, height, 0, None)
    first, classes = 0, scores.columns - (found.objectness == "yes")
    if found.background != "none":
        first, classes = int(found.background == "first"), classes - 1
    if classes < 1:
        raise DataError(f"--decode {contract.decoding} leaves no class of {scores.columns} scores.")
    return BoxPlan(found, count, places, scores, width, height, first, classes)


def label_boxes(contract: Contract, labels: Sequence[str]) -> Contract:
    """The contract of a detector with names of the classes of its boxes.

    Raises:
        UsageError: there are more or fewer than classes, or one is not a name.
    """
    require_names(labels)
    plan = plan_boxes(contract)
    if plan is None or not plan.has_classes(len(labels)):
        raise UsageError(
            f"There are {len(labels)} labels, but the boxes of --decode {contract.decoding} have "
            f"{plan and plan.classes} classes.",
            hint="Write one name in each line of the file, in the order of the classes, without "
            "the background.",
        )
    return replace(contract, box_labels=tuple(labels))


def derive(contract: Contract, real: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Joined outputs [1, ...] in float32 and boxes [1, at_most, 6] in float64, by their names.

    Args:
        real: output name to its real values [1, ...].
    """
    joined = join_outputs(real, contract.joins)
    found: dict[str, NDArray[Any]] = {
        item.name: joined[item.name].astype(np.float32) for item in contract.joins
    }
    plan = plan_boxes(contract)
    if plan is not None:
        size = (plan.height, plan.width)
        found[contract.boxes] = boxes.decode(plan.decoding, joined, size)
    return found


def place_picture(
    contract: Contract, raw: Mapping[str, NDArray[Any]], results: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Locate the picture of a sample in a letterboxed input; empty without such an input.

    Args:
        raw: input name to the raw sample.
        results: of `derive`.

    Returns:
        `size` of the picture: height and width, int32. `region` of the input: top, left, height
        and width in pixels, int32. With a decoding, `boxes` as in the results, but with sides as
        shares of the picture, clipped to it.

    Raises:
        DataError: the raw sample is not a picture.
    """
    if contract.letterboxed is None:
        return {}
    name, whole = contract.letterboxed
    size = raw[name].shape[:2]
    if len(size) < 2 or 0 in size:
        raise DataError(f"Input {name!r} is {size}, not a picture.")
    region = letterbox.find_letterbox(whole, size)
    found = {"size": np.array(size, np.int32), "region": np.array(region, np.int32)}
    if contract.decoding is None:
        return found
    rows = results[contract.boxes].copy()
    rows[..., 1:5] = letterbox.to_image(rows[..., 1:5], whole, size)
    return {**found, "boxes": rows}
