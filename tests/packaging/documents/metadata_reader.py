"""Not a test: what readers of the standard say about files; runs under EDGEQ_METADATA_PYTHON.

Prints one JSON list with an object for each file: the metadata, the names and contents of the
associated files, and, where a colour is given, what two classifiers make of an image of it.

    metadata_reader.py FILE... [--color R,G,B]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python import vision as tasks
from tflite_support import metadata
from tflite_support.task import vision as support


def read(path: Path) -> dict[str, Any]:
    shown = metadata.MetadataDisplayer.with_model_file(str(path))
    names = shown.get_packed_associated_file_list()
    return {
        "metadata": json.loads(shown.get_metadata_json()),
        "files": {name: shown.get_associated_file_buffer(name).decode() for name in names},
    }


def classify_with_mediapipe(path: Path, pixels: np.ndarray) -> Any:
    options = tasks.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    try:
        with tasks.ImageClassifier.create_from_options(options) as classifier:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            (found,) = classifier.classify(image).classifications
            return {item.category_name: item.score for item in found.categories}
    except (ValueError, RuntimeError) as error:
        return str(error)


def classify_with_support(path: Path, pixels: np.ndarray) -> Any:
    try:
        classifier = support.ImageClassifier.create_from_file(str(path))
        image = support.TensorImage.create_from_array(pixels)
        (found,) = classifier.classify(image).classifications
        return {item.category_name: item.score for item in found.categories}
    except (ValueError, RuntimeError) as error:
        return str(error)


parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="+", type=Path)
parser.add_argument("--color")
given = parser.parse_args()
entries = []
for file in given.files:
    entry = read(file)
    if given.color:
        color = np.array(given.color.split(","), np.uint8)
        image = np.tile(color, (8, 8, 1))  # of the size of the test models: no resizing
        entry["mediapipe"] = classify_with_mediapipe(file, image)
        entry["support"] = classify_with_support(file, image)
    entries.append(entry)
print(json.dumps(entries))
