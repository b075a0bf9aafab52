"""Labels that lie beside the samples: boxes, masks, values and classes, from the files people have.

| labels | for | one sample's label |
|---|---|---|
| a COCO JSON file | images | boxes [most boxes, 6]: class, x1, y1, x2, y2, 1 for a crowd |
| a folder of YOLO text files | images | the same; a missing file is an image without objects |
| a folder of mask images | images | classes of pixels [height, width] of the model's input |
| a CSV file: file, value, ... | images | one number or class name, or several numbers |
| an `.npy` file | any samples | the row at the sample's position |

Boxes are from 0 to 1 over the image's width and height, so that resizing keeps them true. Rows of
class -1 fill up to the largest number of boxes. `classes.txt` beside YOLO files names the classes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeq.converters.samples.data_file import DataFile, unreadable
from edgeq.converters.samples.folders import FolderSource
from edgeq.converters.samples.image_files import IMAGE_SUFFIXES, decode_mask
from edgeq.converters.samples.input_shapes import Array, image_shape
from edgeq.converters.samples.numpy_files import Column, readable, require_label_column
from edgeq.converters.samples.relabelled import Labels, Relabelled
from edgeq.converters.samples.sources import Source, plain_label
from edgeq.converters.samples.tables import read_label_table
from edgeq.errors import DataError, UsageError, nearest_path
from edgeq.files.npy import read_header
from edgeq.files.reading import read_file
from edgeq.issues import make_issue
from edgeq.metrics.letterbox import find_letterbox, to_whole
from edgeq.values import Issue, Preprocessing, TensorSpec
from edgeq.wording import list_some

_MOST_BYTES = 1_000_000_000
_MOST_BOXES = 10_000
_IGNORED = 255  # pixels of a mask that do not count, here around a letterboxed image
_NO_BOX = (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_KNOWN = (
    "Known: a COCO JSON file, a folder of YOLO .txt files or of mask images, a .csv file of "
    "file names and values, an .npy file."
)
Box = tuple[float, ...]


@dataclass(frozen=True)
class LabelledData:
    """Samples, and where their labels are.

    Attributes:
        data: see `open_samples`.
        labels: a file or folder, see this module.
    """

    data: Any
    labels: str | Path


def relabel(
    source: Source,
    labels: str | Path,
    inputs: Sequence[TensorSpec],
    preprocessing: Sequence[Preprocessing] = (),
) -> Source:
    """Give a source the labels of a file or folder.

    Args:
        source: images, or for an `.npy` file any samples.
        labels: see this module.
        inputs: the model's; masks are resized to an image input.
        preprocessing: boxes and masks are moved like the pixels of a letterboxed image.

    Raises:
        DataError: the labels are missing, unreadable, or do not belong to the samples.
    """
    path, name = Path(labels), str(labels)
    size = next((how.resize for how in preprocessing if how.pad is not None), None)
    if not path.exists():
        raise DataError(f"There is no file or folder {name}.", hint=f"{nearest_path(path)}{_KNOWN}")
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in (".npy", ".json", ".csv"):
        raise DataError(f"{name} is not a kind of labels that edgeq reads.", hint=_KNOWN)
    if suffix == ".npy" and not path.is_dir():
        found = _read_array(path, name, source)
    elif not isinstance(source, FolderSource):
        raise UsageError(
            f"{name} labels images by their names, and {source.name} is not a folder of images.",
            hint="Store labels as y in the .npz, as a label column, or in an .npy file.",
        )
    elif path.is_dir():
        found = _read_folder(path, name, source, inputs, size)
    elif suffix == ".json":
        found = _read_coco(path, name, source, size)
    else:
        found = _read_table(path, name, source)
    return Relabelled(source, found, f"{source.name} with {name}")


# ---------------------------------------------------------------- arrays and tables


def _read_array(path: Path, name: str, source: Source) -> Labels:
    file = DataFile(path, name)  # refuses pipes and devices
    with readable(name), file.open() as stream:
        header = read_header(stream, name, file.size)
    count = header.count if source.count is None and header.shape else source.count or 0
    require_label_column(Column("", header, name), count, source.name)
    if header.dtype.kind in "US":
        raise DataError(
            f"{name} holds texts.", hint="Store numbers: class i of the model is label i."
        )
    array = np.memmap(
        path, header.dtype, mode="r", offset=header.start, shape=header.shape,
        order="F" if header.is_fortran else "C",
    )  # fmt: skip
    return Labels(lambda index: plain_label(array[index]), bytes.fromhex(file.digest()))


def _read_table(path: Path, name: str, source: FolderSource) -> Labels:
    digest = bytes.fromhex(DataFile(path, name).digest())
    by_file, class_names = read_label_table(path, name)
    rows = [by_file[file] for file in _match([*by_file], source, name)]
    return Labels(rows.__getitem__, digest, class_names)


# ---------------------------------------------------------------- boxes


def _read_coco(path: Path, name: str, source: FolderSource, size: tuple[int, int] | None) -> Labels:
    content = _read(path, name)
    try:
        document = json.loads(content)
        images = {
            row["id"]: (str(row["file_name"]), float(row["width"]), float(row["height"]))
            for row in document["images"]
        }
        categories = {row["id"]: str(row["name"]) for row in document["categories"]}
        classes = {kind: number for number, kind in enumerate(sorted(categories))}
        boxes: dict[str, list[Box]] = {file: [] for file, _, _ in images.values()}
        for row in document["annotations"]:
            file, width, height = images[row["image_id"]]
            left, top, across, down = map(float, row["bbox"])
            corners = (left / width, top / height, (left + across) / width, (top + down) / height)
            crowd = float(row.get("iscrowd", 0))
            if not all(map(math.isfinite, (*corners, crowd))):
                raise ValueError(f"a box of {file} is not finite")
            boxes[file].append((float(classes[row["category_id"]]), *corners, crowd))
    except (
        ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{name} is not a COCO file of boxes: {type(error).__name__} {error}.",
            hint="It needs images (id, file_name, width, height), categories (id, name) and "
            "annotations (image_id, category_id, bbox).",
        ) from error
    names = tuple(categories[kind] for kind in classes)
    last, shown = len(names) - 1, list_some(names)
    order = f"The categories of {name} became classes 0 to {last} by their ids: {shown}."
    return Labels(
        _pad([boxes[file] for file in _match([*boxes], source, name)], name),
        hashlib.sha256(content).digest(), names, (make_issue("data.class_names", order),),
        _box_fitter(size),
    )  # fmt: skip


def _read_folder(
    path: Path,
    name: str,
    source: FolderSource,
    inputs: Sequence[TensorSpec],
    size: tuple[int, int] | None,
) -> Labels:
    """A folder of YOLO text files or of masks."""
    files = sorted(
        PurePosixPath(file.relative_to(path))
        for file in path.rglob("*")
        if not file.name.startswith(".") and file.is_file()
    )
    texts = [file for file in files if file.suffix.lower() == ".txt" and file.stem != "classes"]
    masks = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if bool(texts) == bool(masks):
        what = "both .txt files and images" if texts else "neither .txt files nor images"
        raise DataError(f"{name} holds {what}, so it is not clear what labels it has.", hint=_KNOWN)
    if masks:
        return _read_masks(path, name, masks, source, inputs, size)
    return replace(_read_yolo(path, name, texts, source), fit=_box_fitter(size))


def _read_yolo(
    path: Path, name: str, texts: Sequence[PurePosixPath], source: FolderSource
) -> Labels:
    by_stem = _by_stem(texts, name)
    found: list[list[Box]] = []
    digest = hashlib.sha256()
    for file in source.files:
        text = _find_stem(file, by_stem)
        if text is None:  # an image without objects
            found.append([])
            continue
        content = _read(path / text, f"{name}/{text}")
        digest.update(str(text).encode() + b"\0" + hashlib.sha256(content).digest())
        found.append(_parse_yolo(content, f"{name}/{text}"))
    if not any(found):
        raise DataError(
            f"No image of {source.name} has a label in {name}, e.g. {source.files[0]}.",
            hint="A text file has the name of its image, with .txt.",
        )
    highest = int(max(box[0] for boxes in found for box in boxes))
    names, issues = _read_classes(path, name, highest, digest)
    return Labels(_pad(found, name), digest.digest(), names, issues)


def _read_classes(
    path: Path, name: str, highest: int, digest: hashlib._Hash
) -> tuple[tuple[str, ...], tuple[Issue, ...]]:
    """Names of classes in `classes.txt`, which annotation tools write; empty without it."""
    file, where = path / "classes.txt", f"{name}/classes.txt"
    if not file.is_file():
        return (), ()
    content = _read(file, where)
    digest.update(b"classes.txt\0" + hashlib.sha256(content).digest())
    lines = content.decode("utf-8-sig", "replace").rstrip().splitlines()
    names = tuple(line.strip() for line in lines)
    if len(names) <= highest:
        raise DataError(
            f"{where} names {len(names)} classes, but a box of {name} has the class {highest}.",
            hint="Write one name in each line, in the order of the classes, or remove the file.",
        )
    order = f"The lines of {where} name the classes 0 to {len(names) - 1}: {list_some(names)}."
    return names, (make_issue("data.class_names", order),)


def _parse_yolo(content: bytes, where: str) -> list[Box]:
    """Boxes of one file: class, centre x, centre y, width, height, from 0 to 1, in each line."""
    boxes: list[Box] = []
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            kind, x, y, width, height = (float(field) for field in fields)
        except ValueError:
            kind = math.nan
        if not (0 <= kind < math.inf and kind == int(kind)) or not all(
            map(math.isfinite, (x, y, width, height))
        ):
            raise DataError(
                f"Line {number} of {where} is {line.strip()[:60]!r}, not a box.",
                hint="A line is: class x_center y_center width height, from 0 to 1.",
            )
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        boxes.append((kind, *corners, 0.0))
    return boxes


def _box_fitter(
    size: tuple[int, int] | None,
) -> Callable[[Array, Sequence[int]], Array] | None:
    """From shares of an image to shares of the letterboxed one; None if it is stretched."""
    if size is None:
        return None

    def fit(boxes: Array, shape: Sequence[int]) -> Array:
        moved: Array = boxes.copy()
        moved[:, 1:5] = to_whole(boxes[:, 1:5], size, shape)
        return moved

    return fit


def _pad(boxes: Sequence[Sequence[Box]], name: str) -> Callable[[int], Array]:
    """Labels of one shape: the largest number of boxes; rows of class -1 are empty."""
    most = max((len(of) for of in boxes), default=0)
    if most > _MOST_BOXES:
        raise DataError(f"An image of {name} has {most} boxes; edgeq takes at most {_MOST_BOXES}.")
    empty = [_NO_BOX] * max(most, 1)
    return lambda index: np.array([*boxes[index], *empty][: len(empty)], np.float32)


# ---------------------------------------------------------------- masks


def _read_masks(
    path: Path,
    name: str,
    masks: Sequence[PurePosixPath],
    source: FolderSource,
    inputs: Sequence[TensorSpec],
    size: tuple[int, int] | None,
) -> Labels:
    by_stem = _by_stem(masks, name)
    files = []
    digest = hashlib.sha256()
    for file in source.files:
        mask = _find_stem(file, by_stem)
        if mask is None:
            raise DataError(
                f"Image {file} of {source.name} has no mask in {name}.",
                hint="A mask has the name of its image; only the suffix may differ.",
            )
        content = _read(path / mask, f"{name}/{mask}")
        digest.update(str(mask).encode() + b"\0" + hashlib.sha256(content).digest())
        files.append(mask)
    shape = image_shape(inputs[0]) if len(inputs) == 1 else None

    def read(index: int) -> NDArray[np.uint8]:
        where = f"{name}/{files[index]}"
        own = shape[:2] if shape is not None and size is None else None
        return decode_mask(_read(path / files[index], where), where, own)

    def fit(mask: Array, shape: Sequence[int]) -> Array:
        assert size is not None
        top, left, height, width = find_letterbox(size, shape)
        whole = np.full(size, _IGNORED, np.uint8)
        picture = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        whole[top : top + height, left : left + width] = np.asarray(picture)
        return whole

    return Labels(read, digest.digest(), fit=None if size is None else fit)


# ---------------------------------------------------------------- files and their names


def _read(path: Path, name: str) -> bytes:
    try:
        return read_file(path, _MOST_BYTES)
    except OSError as error:
        raise unreadable(name, error) from error


def _match(labelled: Sequence[str], source: FolderSource, name: str) -> list[str]:
    """Find the label of each image: by its path in the folder, or by its file name."""
    known = set(labelled)
    by_name: dict[str, str | None] = {}
    for text in labelled:
        last = PurePosixPath(text).name
        by_name[last] = None if last in by_name else text
    found = []
    for file in source.files:
        match = file if file in known else by_name.get(PurePosixPath(file).name)
        if match is None:
            raise DataError(
                f"Image {file} of {source.name} has no label in {name}.",
                hint="Labels name images by their file names, each only once.",
            )
        found.append(match)
    return found


def _by_stem(files: Sequence[PurePosixPath], name: str) -> dict[str, PurePosixPath]:
    found: dict[str, PurePosixPath] = {}
    for file in files:
        if file.stem in found:
            raise DataError(
                f"{name} holds two labels for images named {file.stem}: {found[file.stem]} and "
                f"{file}."
            )
        found[file.stem] = file
    return found


def _find_stem(file: str, by_stem: dict[str, PurePosixPath]) -> PurePosixPath | None:
    return by_stem.get(PurePosixPath(file).stem)
