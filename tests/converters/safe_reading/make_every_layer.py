"""Write what Keras 3 and tf_keras save of all their classes: python make_every_layer.py OUT.json.

Each configuration in each format: {"keras.layers Dense v3": {...}, ...}; classes that need more
than simple arguments are listed under "left out".
"""

import contextlib
import inspect
import json
import sys
from pathlib import Path

import keras
import tf_keras
from keras.src.legacy.saving import serialization as keras_legacy
from keras.src.ops.operation import Operation
from tf_keras.src.layers import serialization as tf_keras_layers
from tf_keras.src.saving.legacy import serialization as tf_keras_legacy
from tf_keras.src.saving.legacy.saved_model import json_utils

# Tried one after the other.
ARGUMENTS = (
    ((), {}),
    ((2,), {}),
    ((2, 2), {}),
    ((2, 2, 2), {}),
    (((2, 2),), {}),
    ((0.5,), {}),
    ((0.5, 0.5), {}),
    (("relu",), {}),
    ((["float32"],), {}),
    ((2, 2, "i"), {}),
)
MODULES = (
    "layers", "initializers", "regularizers", "constraints", "dtype_policies", "quantizers",
    "mixed_precision", "layers.experimental", "layers.experimental.preprocessing",
)  # fmt: skip


def special(package, name):
    """Arguments of the classes that take layers, or more than numbers."""
    layers = package.layers
    table = {
        "Bidirectional": lambda: ((layers.LSTM(2),), {}),
        "TimeDistributed": lambda: ((layers.Dense(2),), {}),
        "Wrapper": lambda: ((layers.Dense(2),), {}),
        "SpectralNormalization": lambda: ((layers.Dense(2),), {}),
        "RNN": lambda: (([layers.GRUCell(2), layers.LSTMCell(2)],), {}),
        "StackedRNNCells": lambda: (([layers.GRUCell(2)],), {}),
        "Pipeline": lambda: (([layers.RandomFlip()],), {}),
        "EinsumDense": lambda: (("ab,bc->ac", 2), {}),
        "Dot": lambda: ((1,), {}),
        "Discretization": lambda: ((), {"bin_boundaries": [0.0, 1.0]}),
        "StringLookup": lambda: ((), {"vocabulary": ["a", "b"]}),
        "IntegerLookup": lambda: ((), {"vocabulary": [1, 2]}),
        "TextVectorization": lambda: ((), {"vocabulary": ["a", "b"]}),
        "HashedCrossing": lambda: ((5,), {}),
        "DTypePolicyMap": lambda: ((), {}),
        "QuantizedDTypePolicy": lambda: (("int8", "float32"), {}),
        "Int4DTypePolicy": lambda: (("int4/128", "float32"), {}),
        "GPTQDTypePolicy": lambda: (("gptq/4/128", "float32"), {}),
        "AWQDTypePolicy": lambda: (("awq/4/128", "float32"), {}),
        "QuantizedFloat8DTypePolicy": lambda: (("float8", "float32"), {}),
        "InputLayer": lambda: (((3,),), {}),
        "MultiHeadAttention": lambda: ((2, 2), {}),
        "GroupQueryAttention": lambda: ((2, 2, 2), {}),
        "Lambda": lambda: ((abs,), {}),
    }
    return [table[name]()] if name in table else []


def make(package, name, cls):
    for positional, named in (*special(package, name), *ARGUMENTS):
        with contextlib.suppress(Exception):
            return cls(*positional, **named)
    return None


def classes(package):
    for path in MODULES:
        module = package
        for part in path.split("."):
            module = getattr(module, part, None)
        for name, cls in sorted(vars(module).items()) if module else ():
            if inspect.isclass(cls):
                yield f"{package.__name__}.{path} {name}", name, cls
    if package is tf_keras:
        tf_keras_layers.populate_deserializable_objects()
        for name, cls in sorted(tf_keras_layers.LOCAL.ALL_OBJECTS.items()):
            if inspect.isclass(cls):
                yield f"tf_keras {name}", name, cls


def operations():
    for path in ("core", "numpy", "nn", "math", "linalg", "image", "einops"):
        for name, cls in sorted(vars(getattr(keras.src.ops, path)).items()):
            if inspect.isclass(cls) and issubclass(cls, Operation):
                yield f"keras.src.ops.{path}", name


def main(out: Path) -> None:
    made, left_out = {}, []
    ways = {
        keras: (keras.saving.serialize_keras_object, keras_legacy.serialize_keras_object),
        tf_keras: (tf_keras.saving.serialize_keras_object, tf_keras_legacy.serialize_keras_object),
    }
    for package, (new, old) in ways.items():
        for title, name, cls in classes(package):
            item = make(package, name, cls)
            kept = 0
            for version, serialize in (("new", new), ("old", old)):
                with contextlib.suppress(Exception):
                    text = json.dumps(serialize(item), default=json_utils.get_json_type)
                    made[f"{title} {version}"] = json.loads(text)
                    kept += item is not None
            if not kept:
                left_out.append(title)
    for module, name in operations():
        made[f"{module} {name}"] = {"module": module, "class_name": name, "config": {"name": "x"},
                                    "registered_name": name}  # fmt: skip
    out.write_text(json.dumps({"made": made, "left out": left_out}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
