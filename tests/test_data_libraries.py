"""Data sets of other libraries: what edgeq reads from them, and the names of their classes.

One child process imports them all. TensorFlow and Keras are in this environment, PyTorch and
Hugging Face `datasets` (with pandas and PyArrow) in the one with PyTorch. `tensorflow_datasets`,
torchvision and Polars are in neither. Without `tensorflow_datasets`, its elements are tested
("like-tfds"), but neither a builder, nor `load` with its info, nor `as_numpy`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.commands import find_torch_packages

# Each makes `data`; `images` are uint8 [6, 4, 4, 3], `labels` are 0 0 1 1 2 2, `pictures` is a
# folder of class folders.
_SETS = {
    "keras": """
import keras
data = keras.utils.image_dataset_from_directory(
    pictures, image_size=(4, 4), shuffle=False, verbose=False, batch_size=4)
""",
    "keras-mapped": """
import tensorflow as tf, keras
data = keras.utils.image_dataset_from_directory(
    pictures, image_size=(4, 4), shuffle=False, verbose=False).map(lambda x, y: (x, 2 - y))
""",
    "keras-one-hot": """
import keras
data = keras.utils.image_dataset_from_directory(
    pictures, image_size=(4, 4), shuffle=False, verbose=False, label_mode="categorical")
""",
    "keras-generator": """
import keras
from keras.src.legacy.preprocessing.image import ImageDataGenerator
data = ImageDataGenerator().flow_from_directory(
    pictures, target_size=(4, 4), class_mode="sparse", shuffle=False)
""",
    "like-tfds": """
import tensorflow as tf
data = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
""",
    "like-tfds-split": """
import tensorflow as tf
data = {"train": tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}).batch(4)}
""",
    "two-splits": """
import tensorflow as tf
data = [tf.data.Dataset.from_tensor_slices(images)] * 2
""",
    "ragged": """
import tensorflow as tf
data = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1.0, 2.0], [3.0]])).batch(2)
""",
    "sparse": """
import tensorflow as tf
data = tf.data.Dataset.from_tensor_slices(tf.sparse.from_dense([[0.0, 1.0]]))
""",
    "text-labels": """
import tensorflow as tf
data = tf.data.Dataset.from_tensor_slices((images, ["ant"] * 6))
""",
    "datasets": """
import datasets
from PIL import Image
named = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
columns = {"image": [Image.fromarray(image) for image in images], "label": labels}
data = datasets.Dataset.from_dict(columns, features=named)
""",
    "datasets-undecoded": """
import datasets
from PIL import Image
named = datasets.Features({"image": datasets.Image(decode=False)})
data = datasets.Dataset.from_dict({"image": [Image.fromarray(images[0])]}, features=named)
""",
    "datasets-unlabelled": """
import datasets
named = datasets.Features({"image": datasets.Array3D((4, 4, 3), "uint8"),
                           "label": datasets.ClassLabel(names=NAMES)})
data = datasets.Dataset.from_dict({"image": images, "label": [-1] * 6}, features=named)
""",
    "datasets-loader": """
import datasets, torch
named = datasets.Features({"image": datasets.Array3D((4, 4, 3), "uint8"),
                           "label": datasets.ClassLabel(names=NAMES)})
data = datasets.Dataset.from_dict({"image": images, "label": labels}, features=named)
data = torch.utils.data.DataLoader(data.with_format("torch"), batch_size=4)
""",
    "torch": """
import torch
class Folder(torch.utils.data.Dataset):
    classes, class_to_idx = NAMES, {name: index for index, name in enumerate(NAMES)}
    __len__ = lambda self: 6
    __getitem__ = lambda self, index: (images[index], labels[index])
data = torch.utils.data.DataLoader(torch.utils.data.Subset(Folder(), [0, 1, 2]), batch_size=2)
""",
    "torch-contradiction": """
import torch
class Folder(torch.utils.data.Dataset):
    classes, class_to_idx = NAMES, {name: index for index, name in enumerate(sorted(NAMES))}
    __len__ = lambda self: 6
    __getitem__ = lambda self, index: (images[index], labels[index])
data = Folder()
""",
    "torchvision": """
import torchvision
data = torchvision.datasets.ImageFolder(pictures)
""",
    "torchvision-changed": """
import torchvision
data = torchvision.datasets.ImageFolder(pictures, target_transform=lambda label: 2 - label)
""",
    "pandas": """
import pandas
data = pandas.DataFrame({"height": [1.5, 2.5], "age": [3, 4], "label": ["cow", "ant"]})
inputs = TABLE
""",
    "pandas-one": """
import pandas
data = pandas.DataFrame({"height": [1.5, 2.5], "age": [3, 4], "y": [1, 0]})
inputs = ROWS
""",
    "pandas-chunks": """
import pandas
table = pandas.DataFrame({"height": [1.5, 2.5, 3.5], "age": [3, 4, 5], "y": [1, 0, 2]})
data = lambda: (table[first : first + 2] for first in (0, 2))
inputs = TABLE
""",
    "pandas-more": """
import pandas
data = pandas.DataFrame({"height": [1.5], "age": [3], "id": [7]})
inputs = TABLE
""",
    "pandas-text": """
import pandas
data = pandas.DataFrame({"height": ["tall"], "age": [3]})
inputs = TABLE
""",
    "pyarrow": """
import pyarrow
data = pyarrow.table({"height": [1.5, 2.5], "age": [3, 4], "label": ["cow", "ant"]})
inputs = TABLE
""",
    "polars": """
import polars
data = polars.DataFrame({"height": [1.5, 2.5], "age": [3, 4], "label": ["cow", "ant"]})
inputs = TABLE
""",
    "tensorflow_datasets": """
import tensorflow_datasets
data = make_builder()
""",
    "tensorflow_datasets-load": """
import tensorflow_datasets
make_builder()
data = tensorflow_datasets.load(
    "tiny", data_dir="made", split="train", as_supervised=True, with_info=True)
""",
    "tensorflow_datasets-numpy": """
import tensorflow_datasets
data = tensorflow_datasets.as_numpy(make_builder().as_dataset(as_supervised=True))
""",
    "tensorflow_datasets-whole": """
import tensorflow_datasets
data = tensorflow_datasets.as_numpy(make_builder().as_dataset(split="train", batch_size=-1))
""",
}
_RUN = """
import json, re, site, sys, warnings
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from PIL import Image
from edgeq.converters.samples.open_samples import open_samples
from edgeq.errors import DataError
from edgeq.values import TensorSpec

for folder in sys.argv[1:]:
    site.addsitedir(folder)
warnings.simplefilter("ignore")
NAMES = ["zebra", "ant", "cow"]  # not in alphabetical order
IMAGE = [TensorSpec("image", (1, 4, 4, 3), "float32")]
TABLE = [TensorSpec("age", (1, 1), "float32"), TensorSpec("height", (1, 1), "float32")]
ROWS = [TensorSpec("row", (1, 2), "float32")]
images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
labels = np.repeat([0, 1, 2], 2)
pictures = "pictures"
for number, image in enumerate(images):
    folder = Path(pictures, ["Cow", "ant", "zebra"][number // 2])
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{number}.png")


def make_builder():
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(4, 4, 3)),
                        "label": tfds.features.ClassLabel(names=NAMES)}
            return tfds.core.DatasetInfo(builder=self, supervised_keys=("image", "label"),
                                         features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, image in enumerate(images):
                yield number, {"image": image, "label": int(labels[number])}

    tfds.core.registered._DATASET_REGISTRY.pop("tiny", None)
    builder = Tiny(data_dir="made")
    builder.download_and_prepare()
    return builder


stated = {}
for name, text in json.loads(Path("sets.json").read_text()).items():
    needed = re.search("^import (.*)", text, re.M)[1].split(",")
    missing = [part.split()[0] for part in needed if find_spec(part.split()[0]) is None]
    if missing:
        stated[name] = {"missing": missing}
        continue
    space = dict(globals(), inputs=IMAGE)
    exec(text, space)
    try:
        samples = open_samples(space["data"], space["inputs"])
        rows = [*samples.iterate(range(samples.count_up_to(50)))]
        inputs = space["inputs"]
        stated[name] = {
            "names": samples.class_names,
            "labels": [np.asarray(row.label).tolist() for row in rows],
            "values": [[row.inputs[spec.name].tolist() for spec in inputs] for row in rows],
            "codes": [issue.code for issue in samples.issues],
        }
    except DataError as error:
        stated[name] = {"error": str(error)}
Path("stated.json").write_text(json.dumps({**stated, "images": images.tolist()}))
"""


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each data set its class names, labels and values, the error, or what is missing."""
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "sets.json").write_text(json.dumps(_SETS))
    command = [sys.executable, "-c", _RUN, *find_torch_packages()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "stated.json").read_text())
    return found


def of(stated: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = stated[name]
    if "missing" in found:
        pytest.skip(f"{', '.join(found['missing'])} is not installed")
    return found


@pytest.mark.parametrize(
    ("name", "names", "labels"),
    [
        ("keras", ["Cow", "ant", "zebra"], [0, 0, 1, 1, 2, 2]),
        ("keras-mapped", [], [2, 2, 1, 1, 0, 0]),  # the labels are no longer those of the names
        ("keras-generator", ["Cow", "ant", "zebra"], [0, 0, 1, 1, 2, 2]),
        ("like-tfds", [], [0, 0, 1, 1, 2, 2]),
        ("like-tfds-split", [], [0, 0, 1, 1, 2, 2]),
        ("datasets", ["zebra", "ant", "cow"], [0, 0, 1, 1, 2, 2]),
        ("datasets-loader", ["zebra", "ant", "cow"], [0, 0, 1, 1, 2, 2]),
        ("torch", ["zebra", "ant", "cow"], [0, 0, 1]),
        ("torchvision", ["Cow", "ant", "zebra"], [0, 0, 1, 1, 2, 2]),
        ("torchvision-changed", [], [2, 2, 1, 1, 0, 0]),
        ("tensorflow_datasets-whole", [], None),
        ("tensorflow_datasets-numpy", [], None),
        ("tensorflow_datasets", ["zebra", "ant", "cow"], None),
        ("tensorflow_datasets-load", ["zebra", "ant", "cow"], None),
    ],
)
def test_images_keep_their_labels_and_class_names(
    stated: dict[str, Any], name: str, names: list[str], labels: list[int] | None
) -> None:
    found = of(stated, name)
    assert "error" not in found, found
    assert found["names"] == names
    assert found["codes"] == (["data.class_names"] if names else [])
    known = [json.dumps(image) for image in stated["images"]]
    places = [known.index(json.dumps(value)) for (value,) in integers(found["values"])]
    if labels is None:  # a builder shuffles what it stores
        assert sorted(places) == [0, 1, 2, 3, 4, 5]
        assert found["labels"] == [place // 2 for place in places]
    else:
        assert places == [*range(len(labels))]
        assert found["labels"] == labels


def integers(values: Any) -> Any:
    return [integers(value) for value in values] if isinstance(values, list) else int(values)


def test_one_hot_labels_have_the_same_names(stated: dict[str, Any]) -> None:
    found = of(stated, "keras-one-hot")
    assert found["names"] == ["Cow", "ant", "zebra"]
    assert [label.index(1.0) for label in found["labels"]] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["pandas", "pyarrow", "polars"])
def test_columns_of_a_table_are_inputs_by_name(stated: dict[str, Any], name: str) -> None:
    found = of(stated, name)
    assert found["values"] == [[[3.0], [1.5]], [[4.0], [2.5]]]
    assert (found["labels"], found["names"]) == ([1, 0], ["ant", "cow"])


def test_columns_of_a_table_are_the_values_of_the_only_input(stated: dict[str, Any]) -> None:
    found = of(stated, "pandas-one")
    assert (found["values"], found["labels"]) == ([[[1.5, 3.0]], [[2.5, 4.0]]], [1, 0])


def test_tables_may_come_in_pieces(stated: dict[str, Any]) -> None:
    found = of(stated, "pandas-chunks")
    assert found["values"] == [[[3.0], [1.5]], [[4.0], [2.5]], [[5.0], [3.5]]]
    assert found["labels"] == [1, 0, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two-splits", "<list> holds 2 data sets: 0, 1. Give one of them: data[0]."),
        (
            "ragged",
            "Sample 0 of <tf.data.Dataset> is RaggedTensor, not an array. Give all samples one "
            "shape: x.to_tensor(shape=...).",
        ),
        (
            "sparse",
            "Sample 0 of <tf.data.Dataset> is SparseTensor, not an array. Make it dense: "
            "tf.sparse.to_dense(x).",
        ),
        (
            "text-labels",
            "The label of sample 0 of <tf.data.Dataset> is b'ant', not a number. Yield the index "
            "of the class.",
        ),
        (
            "datasets-undecoded",
            "Sample 0 of <Dataset> is dict, not an array. Decode images first: "
            'dataset.cast_column("image", datasets.Image()).',
        ),
        (
            "datasets-unlabelled",
            "Sample 0 of <Dataset> has the label -1, but <Dataset> names 3 classes. Leave out "
            "labels that are unknown, or those samples.",
        ),
        (
            "torch-contradiction",
            "Class 0 of <Folder> is 'zebra' in its classes, but class_to_idx has 2 for it. Make "
            "both agree, or delete the wrong one of these attributes.",
        ),
        (
            "pandas-more",
            "The DataFrame has a column 'id' that belongs to no input; the model's inputs are "
            "'age', 'height'. Name columns NAME, or NAME[0], NAME[1]... after the inputs, "
            "labels 'y'.",
        ),
        (
            "pandas-text",
            "Column 'height' of the DataFrame holds <U4 values, not numbers.",
        ),
    ],
)
def test_what_is_not_clear_is_refused(stated: dict[str, Any], name: str, message: str) -> None:
    assert of(stated, name)["error"] == message
