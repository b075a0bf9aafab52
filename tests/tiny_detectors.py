"""A detector that is right by construction, and pictures with labelled boxes for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, schema

SIZE, CELL = 64, 16
CELLS = SIZE // CELL
BOXES = CELLS * CELLS
DECODE = "boxes=cxcywh,unit=pixels"


def _convolve(net: Builder, source: int, weights: Any, bias: Any) -> int:
    """Each cell's mean of red, green and blue, by a matrix [channels, 3], as [1, BOXES, channels].

    Its own convolution for each head, so that each has its own range.
    """
    count = len(weights)
    kernel = np.broadcast_to(
        np.asarray(weights, np.float32)[:, None, None] / CELL**2, (count, CELL, CELL, 3)
    )
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = CELL
    stored = [net.constant(kernel.copy()), net.constant(bias)]
    made = net.add("CONV_2D", [source, *stored], [1, CELLS, CELLS, count], options=options)
    shape = net.constant([1, BOXES, count], "int32")
    return net.add("RESHAPE", [made, shape], [1, BOXES, count])


def heads(net: Builder, source: int) -> tuple[int, int]:
    """Boxes in pixels [1, 16, 4] and scores of two classes [1, 16, 2].

    Red and green are the scores of classes 0 and 1, blue is the size of the box.
    """
    grid = (np.arange(CELLS) + 0.5) / CELLS
    centres = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(1, BOXES, 2)
    offsets = np.concatenate((centres, np.zeros((1, BOXES, 2))), axis=2)
    sides = _convolve(net, source, [[0, 0, 0]] * 2 + [[0, 0, 0.25]] * 2, np.zeros(4))
    boxes = net.add("ADD", [sides, net.constant(offsets)], [1, BOXES, 4])
    boxes = net.add("MUL", [boxes, net.constant(float(SIZE))], [1, BOXES, 4])
    logits = _convolve(net, source, [[12, 0, 0], [0, 12, 0]], [-8, -8])
    return boxes, net.add("LOGISTIC", [logits], [1, BOXES, 2])


def detector(*, transpose: bool = False) -> bytes:
    """The heads in one output [1, 16, 6].

    Args:
        transpose: the output is [1, 6, 16], as some exporters make it.
    """
    net = Builder()
    boxes, scores = heads(net, net.input([1, SIZE, SIZE, 3]))
    joined = schema.ConcatenationOptionsT()
    joined.axis = 2
    found = net.add("CONCATENATION", [boxes, scores], [1, BOXES, 6], options=joined)
    if transpose:
        order = net.constant([0, 2, 1], "int32")
        found = net.add("TRANSPOSE", [found, order], [1, 6, BOXES])
    net.finish(found)
    flatbuffer.set_interface(net.tree, ["image"], ["found"])
    return flatbuffer.serialize(net.tree)


def write_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """`images/` and their labels, `coco.json`: one to four objects a picture.

    An object may be faint, so that its score, and not only its place, counts.
    """
    random = np.random.default_rng(seed)
    (folder / "images").mkdir()
    rows: list[dict[str, Any]] = []
    images = []
    for number in range(count):
        pixels = random.integers(0, 30, (SIZE, SIZE, 3), dtype=np.uint8)
        for place in random.choice(BOXES, random.integers(1, 5), replace=False):
            top, left = (int(place) // CELLS) * CELL, (int(place) % CELLS) * CELL
            kind, blue = int(random.integers(2)), int(random.integers(100, 256))
            cell = np.zeros((CELL, CELL, 3), np.uint8)
            cell[..., kind], cell[..., 2] = random.integers(150, 256), blue
            pixels[top : top + CELL, left : left + CELL] = cell
            side = 0.25 * SIZE * blue / 255
            corner = [left + CELL / 2 - side / 2, top + CELL / 2 - side / 2]
            box = [*corner, side, side]
            rows.append({"image_id": number, "category_id": kind + 1, "bbox": box})
        name = f"{number:03d}.png"
        images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        Image.fromarray(pixels).save(folder / "images" / name)
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "key"}]
    document = {"images": images, "annotations": rows, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(document))
