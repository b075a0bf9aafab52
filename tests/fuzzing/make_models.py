"""Small sound models and hostile ones: `python make_models.py WHAT FOLDER OUTSIDE`.

WHAT is tensorflow, torch or onnx: the framework that this Python has. Files appear in FOLDER;
payloads try to read OUTSIDE/canary and to write OUTSIDE/written. It knows nothing of edgeq.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.update({"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"})


def make_tensorflow(folder: Path, outside: Path) -> None:
    import keras
    import numpy as np
    import tensorflow as tf
    import tf_keras

    keras.utils.set_random_seed(0)
    for kit, name in ((keras, "tiny.keras"), (keras, "tiny.h5"), (tf_keras, "legacy.h5")):
        image = kit.Input((8, 8, 1), batch_size=1, name="image")
        hidden = kit.layers.Conv2D(4, 3, activation="relu", name="seen")(image)
        hidden = kit.layers.GlobalAveragePooling2D(name="mean")(hidden)
        model = kit.Model(image, kit.layers.Dense(3, activation="softmax", name="class")(hidden))
        convolution, dense = model.get_layer("seen"), model.get_layer("class")
        kernel = convolution.get_weights()[0]
        kernel[..., 0] = 1 / 9  # the first channel is brightness, which tells the classes apart
        convolution.set_weights([kernel, np.zeros(4)])
        scores = np.zeros((4, 3))
        scores[0] = -40, 0, 40
        dense.set_weights([scores, np.array([6, 0, -12])])
        kit.Model.save(model, folder / name)
    keras_model = keras.saving.load_model(folder / "tiny.keras")
    keras_model.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras_model)
    (folder / "tiny.tflite").write_bytes(converter.convert())
    _make_saved_models(tf, folder / "hostile_saved", outside)


def _make_saved_models(tf: Any, folder: Path, outside: Path) -> None:
    """Graphs with operators that reach outside; each is a SavedModel that TensorFlow would run."""
    folder.mkdir(exist_ok=True)
    canary, written = str(outside / "canary"), str(outside / "written")
    raw = tf.raw_ops

    def length(text: Any) -> Any:
        return tf.cast(tf.strings.length(text), tf.float32)

    def python(x: Any) -> Any:
        Path(written).write_text("python")
        return x

    bodies = {
        "read_file": lambda x: x + length(raw.ReadFile(filename=canary)),
        "write_file": lambda x: _after(tf, raw.WriteFile(filename=written, contents="x"), x),
        "save": lambda x: _after(
            tf,
            raw.SaveV2(prefix=written, tensor_names=["a"], shape_and_slices=[""], tensors=[x]),
            x,
        ),
        "restore": lambda x: (
            x
            + raw.RestoreV2(
                prefix=canary, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
            )[0]
        ),
        "matching": lambda x: x + length(raw.MatchingFiles(pattern=f"{outside}/*"))[0],
        "print": lambda x: _after(tf, tf.print(x, output_stream=f"file://{written}"), x),
        "debug": lambda x: raw.DebugIdentityV2(input=x, debug_urls=[f"file://{outside}"]),
        "py_func": lambda x: tf.ensure_shape(tf.numpy_function(python, [x], tf.float32), [1, 4]),
        "eager_py": lambda x: tf.ensure_shape(tf.py_function(python, [x], tf.float32), [1, 4]),
        "while": lambda x: tf.while_loop(lambda y: tf.reduce_all(y > -1e9), _next, [x])[0],
        "huge": lambda x: x + tf.reduce_sum(tf.ones([1 << 20, 1 << 16]) * x[0, 0]),
        "random_file": lambda x: (
            x
            + length(
                raw.ReaderReadV2(
                    reader_handle=raw.WholeFileReaderV2(), queue_handle=_queue(tf, canary)
                ).value
            )
        ),
        "lines": lambda x: x + length(tf.data.TextLineDataset(canary).take(1).get_single_element()),
        "csv": lambda x: (
            x + tf.data.experimental.CsvDataset(canary, [0.0]).take(1).get_single_element()[0]
        ),
        "records": lambda x: (
            x + length(tf.data.TFRecordDataset(canary).take(1).get_single_element())
        ),
        "cache": lambda x: (
            x + tf.data.Dataset.from_tensors(1.0).cache(written).get_single_element()
        ),
        "summary": lambda x: _after(tf, tf.summary.create_file_writer(written).init(), x),
        "assertion": lambda x: _after(tf, tf.debugging.assert_less(x, -1e30), x),
    }
    for name, body in bodies.items():
        module = tf.Module()
        function = tf.function(body, input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
        module.serve = function
        try:
            tf.saved_model.save(module, str(folder / name), {"serving_default": function})
        except Exception as error:  # noqa: BLE001 - this TensorFlow does not make that one
            print(f"{name}: {error}"[:200], file=sys.stderr)
    vocabulary = outside / "canary"
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    module = tf.Module()
    module.table = table
    module.serve = tf.function(
        lambda x: x + tf.cast(table.lookup(tf.as_string(x)), tf.float32),
        input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")],
    )
    tf.saved_model.save(module, str(folder / "table"), {"serving_default": module.serve})


def _next(x: Any) -> list[Any]:
    return [x * 0 + 1]


def _after(tf: Any, operation: Any, x: Any) -> Any:
    with tf.control_dependencies([operation] if operation is not None else []):
        return tf.identity(x)


def _queue(tf: Any, path: str) -> Any:
    queue = tf.raw_ops.FIFOQueueV2(component_types=[tf.string])
    with tf.control_dependencies(
        [tf.raw_ops.QueueEnqueueV2(handle=queue, components=[tf.constant(path)])]
    ):
        return tf.identity(queue)


def make_torch(folder: Path, outside: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    program = torch.export.export(model, (torch.randn(1, 1, 8, 8),))
    torch.export.save(program, folder / "tiny.pt2")
    sizes = {"input": {0: torch.export.Dim("batch", max=64)}}
    program = torch.export.export(model, (torch.randn(4, 1, 8, 8),), dynamic_shapes=sizes)
    torch.export.save(program, folder / "dynamic.pt2")
    torch.save(model, folder / "pickled.pt")
    del outside


def make_onnx(folder: Path, outside: Path) -> None:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["scores"], transB=1),
    ]
    value = helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("image", kind, [1, 1, 8, 8])],
        [value("scores", kind, [1, 3])],
        [constant("w1", 4, 1, 3, 3), constant("w2", 3, 4), constant("b2", 3)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "tiny.onnx")
    del outside


if __name__ == "__main__":
    make = {"tensorflow": make_tensorflow, "torch": make_torch, "onnx": make_onnx}
    made = Path(sys.argv[2])
    made.mkdir(parents=True, exist_ok=True)
    make[sys.argv[1]](made, Path(sys.argv[3]))
