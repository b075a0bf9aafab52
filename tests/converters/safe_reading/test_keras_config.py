"""The content of a Keras configuration: hostile ones refused by name, real ones accepted.

The configurations are data; nothing here opens a file or imports Keras.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.safe_reading import keras_config, keras_names
from edgeq.converters.safe_reading.functions import FUNCTIONS
from tests.conftest import make_once

UNLISTED = "which is not on the list of what edgeq loads"
NO_TENSORS = "which is not on the list of functions of tensors"

# marshal.dumps of a code object, as Keras writes it; never run here.
CODE = "4wEAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
LAMBDA_MODEL = json.dumps({"class_name": "Lambda", "config": {"function": [CODE, None, None]}})


def layer(class_name: Any, *, inbound: Any = (), around: Any = None, **config: Any) -> Any:
    """A layer as in `.h5`; `around` adds the values beside its config in `.keras`."""
    return {
        "name": "evil",
        "class_name": class_name,
        "config": {"name": "evil", **config},
        "inbound_nodes": list(inbound),
        **(around or {}),
    }


def model(*layers: Any) -> dict[str, Any]:
    return {
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": [
                {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4]}},
                *layers,
            ],
        },
    }


def function(module: str | None, name: Any, registered: Any = "function") -> dict[str, Any]:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered,
    }


def dense(**config: Any) -> Any:
    return layer("Dense", **{"units": 4, **config})


# The kinds of published vulnerabilities, each by what its file holds.
PUBLISHED = {
    "CVE-2024-3660 marshalled Lambda in .h5": (
        layer("Lambda", function=[CODE, None, None], function_type="lambda"),
        "has the class 'Lambda', which holds Python code",
    ),
    "CVE-2025-1550 function of any module": (
        dense(activation=function("subprocess", "check_output")),
        f"names the function 'subprocess.check_output', {UNLISTED}",
    ),
    "CVE-2025-1550 class of any module": (
        layer("Popen", around={"module": "subprocess", "registered_name": None}, args=["id"]),
        f"has the class 'Popen', {UNLISTED}",
    ),
    "CVE-2025-8747 get_file through Lambda": (
        layer("Lambda", function=function("keras.utils", "get_file"), arguments={"origin": "u"}),
        "has the class 'Lambda', which holds Python code",
    ),
    "CVE-2025-8747 load_model as a layer": (
        layer("function", around=function("keras.models", "load_model")),
        f"names the function 'keras.models.load_model', {UNLISTED}",
    ),
    "CVE-2025-9905 lambda in .h5": (
        dense(activation={"class_name": "__lambda__", "config": {"value": CODE}}),
        "holds Python code",
    ),
    "CVE-2025-9906 safe mode switched off": (
        layer("function", around=function("keras.config", "enable_unsafe_deserialization")),
        f"names the function 'keras.config.enable_unsafe_deserialization', {UNLISTED}",
    ),
    "CVE-2025-12058 vocabulary file": (
        layer("StringLookup", vocabulary="/etc/passwd"),
        "would read its vocabulary from '/etc/passwd'",
    ),
    "CVE-2025-12060 get_file that unpacks": (
        dense(kernel_initializer=function("keras.utils", "get_file", "get_file")),
        f"names the function 'keras.utils.get_file', {UNLISTED}",
    ),
    "CVE-2025-49655 pickled PyTorch module": (
        layer("TorchModuleWrapper", module=CODE, around={"module": "keras.layers"}),
        "has the class 'TorchModuleWrapper', which holds a pickled PyTorch module",
    ),
    "CVE-2026-1462 SavedModel elsewhere": (
        layer("TFSMLayer", filepath="/tmp/other", around={"module": "keras.layers"}),
        "has the class 'TFSMLayer', which opens a SavedModel elsewhere on the disk",
    ),
}

VARIATIONS = {
    "TFOpLambda of model_from_json": (
        layer(
            "TFOpLambda",
            function="keras.models.model_from_json",
            inbound=[["_CONSTANT_VALUE", -1, LAMBDA_MODEL, {}]],
        ),
        f"calls 'keras.models.model_from_json', {NO_TENSORS}",
    ),
    "TFOpLambda of py_function": (
        layer("TFOpLambda", function="py_function"),
        f"calls 'py_function', {NO_TENSORS}",
    ),
    "TFOpLambda of compat.v1.py_func": (
        layer("TFOpLambda", function="compat.v1.py_func"),
        f"calls 'compat.v1.py_func', {NO_TENSORS}",
    ),
    "TFOpLambda of io.write_file": (
        layer("TFOpLambda", function="io.write_file"),
        f"calls 'io.write_file', {NO_TENSORS}",
    ),
    "TFOpLambda of raw_ops.ReadFile": (
        layer("TFOpLambda", function="raw_ops.ReadFile"),
        f"calls 'raw_ops.ReadFile', {NO_TENSORS}",
    ),
    "TFOpLambda of load_op_library": (
        layer("SlicingOpLambda", function="load_op_library"),
        f"calls 'load_op_library', {NO_TENSORS}",
    ),
    "TFOpLambda of a sampler with a vocabulary file": (
        layer("TFOpLambda", function="nn.fixed_unigram_candidate_sampler"),
        f"calls 'nn.fixed_unigram_candidate_sampler', {NO_TENSORS}",
    ),
    "TFOpLambda of print, which can write to a file": (
        layer("TFOpLambda", function="print"),
        f"calls 'print', {NO_TENSORS}",
    ),
    "TFOpLambda of import_graph_def": (
        layer("TFOpLambda", function="graph_util.import_graph_def"),
        f"calls 'graph_util.import_graph_def', {NO_TENSORS}",
    ),
    "TFOpLambda of a name in other letters": (
        layer("TFOpLambda", function="Math.Add"),
        f"calls 'Math.Add', {NO_TENSORS}",
    ),
    "TFOpLambda of a name with letters that look the same": (
        layer("TFOpLambda", function="math.\u0430dd"),
        f"calls 'math.\u0430dd', {NO_TENSORS}",
    ),
    "TFOpLambda whose function is not text": (
        layer("TFOpLambda", function=["math.add"]),
        f"calls ['math.add'], {NO_TENSORS}",
    ),
    "a listed function that is given a model's JSON": (
        layer("TFOpLambda", function="identity", inbound=[["x", 0, 0, {"input": LAMBDA_MODEL}]]),
        "holds a text that is itself the JSON of a model",
    ),
    "a model's JSON with escapes, behind blanks": (
        dense(note=' \n{"\\u0063lass_name": "Lambda", "config": {}}'),
        "holds a text that is itself the JSON of a model",
    ),
    "class method of a reader": (
        layer("ClassMethod", cls_symbol="data.TFRecordDataset", method_name="from_tensors"),
        f"calls 'data.TFRecordDataset.from_tensors', {NO_TENSORS}",
    ),
    "attribute of a value": (
        layer("InstanceProperty", attr_name="__class__"),
        f"reads '__class__' of a tensor, {UNLISTED}",
    ),
    "method of a value": (
        layer("InstanceMethod", attr_name="tofile"),
        f"reads 'tofile' of a tensor, {UNLISTED}",
    ),
    "operator that reads a file": (
        layer("TensorFlowOpLayer", node_def={"name": "r", "op": "ReadFile", "input": ["x"]}),
        f"is the operator 'ReadFile', {UNLISTED}",
    ),
    "operator as bytes": (
        layer("TensorFlowOpLayer", node_def="\n\u0001r\u0012\bReadFile"),
        "holds an operator in a form that cannot be checked",
    ),
    "operator with a function": (
        layer(
            "TensorFlowOpLayer",
            node_def={"op": "PartitionedCall", "attr": {"f": {"func": {"name": "g"}}}},
        ),
        "is the operator 'PartitionedCall' with its own function",
    ),
    "Lambda in TimeDistributed": (
        layer("TimeDistributed", layer=layer("Lambda", function=[CODE, None, None])),
        "has the class 'Lambda', which holds Python code",
    ),
    "Lambda as the backward layer of Bidirectional": (
        layer("Bidirectional", layer=layer("LSTM"), backward_layer=layer("Lambda")),
        "has the class 'Lambda', which holds Python code",
    ),
    "Lambda among the cells of an RNN": (
        layer("RNN", cell=layer("StackedRNNCells", cells=[layer("Lambda")])),
        "has the class 'Lambda', which holds Python code",
    ),
    "Lambda in a model in a model": (
        model(layer("Sequential", layers=[layer("Lambda")])),
        "has the class 'Lambda', which holds Python code",
    ),
    "Lambda in a call's arguments": (
        {**dense(), "inbound_nodes": [{"args": [layer("Lambda")], "kwargs": {}}]},
        "has the class 'Lambda', which holds Python code",
    ),
    "Lambda under the name of another class": (
        layer("Dense", around={"module": "keras.layers", "registered_name": "Lambda"}),
        f"has the class 'Lambda', {UNLISTED}",
    ),
    "Lambda of an internal module": (
        layer("Lambda", around={"module": "keras.src.layers.core.lambda_layer"}),
        "has the class 'Lambda', which holds Python code",
    ),
    "cell wrapper with marshalled code": (
        layer("ResidualWrapper", residual_fn=[CODE], residual_fn_type="lambda"),
        "has the class 'ResidualWrapper', which can hold Python code",
    ),
    "listed class of another module": (
        layer("Dense", around={"module": "mymodule.layers", "registered_name": None}),
        f"has the class 'mymodule.layers.Dense', {UNLISTED}",
    ),
    "module that only begins like Keras": (
        layer("Dense", around={"module": "keras_evil.layers"}),
        f"has the class 'keras_evil.layers.Dense', {UNLISTED}",
    ),
    "module of Keras that makes no layers": (
        layer("Dense", around={"module": "keras.src.utils.file_utils"}),
        f"has the class 'keras.src.utils.file_utils.Dense', {UNLISTED}",
    ),
    "module that is not text": (
        layer("Dense", around={"module": {"a": 1}}),
        f"has the class \"{{'a': 1}}.Dense\", {UNLISTED}",
    ),
    "class name in other letters": (layer("lambda"), f"has the class 'lambda', {UNLISTED}"),
    "class name with a dot": (
        layer("Layer.Lambda", around={"module": "keras.layers"}),
        f"has the class 'Layer.Lambda', {UNLISTED}",
    ),
    "class name that is not text": (
        layer(["Lambda"]),
        "has the class name ['Lambda'], which is not text",
    ),
    "function of the module of layers": (
        layer("deserialize", config=layer("Lambda")),
        f"has the class 'deserialize', {UNLISTED}",
    ),
    "edgeq's mark on another class": (
        layer("Lambda", around={"registered_name": "edgeq>Lambda"}),
        "has the class 'Lambda', which holds Python code",
    ),
    "edgeq's layer of another module": (
        layer("FakeQuantize", around={"registered_name": "edgeq>FakeQuantize", "module": "os"}),
        f"has the class 'edgeq>FakeQuantize', {UNLISTED}",
    ),
    "vocabulary as bytes": (
        layer("TextVectorization", vocabulary={"class_name": "__bytes__", "value": "/etc/passwd"}),
        "would read its vocabulary from {'class_name': '__bytes__', 'value': '/etc/passwd'}",
    ),
    "weights of a vocabulary from an address": (
        layer("IntegerLookup", vocabulary=[1], idf_weights="http://host/weights"),
        "would read its idf_weights from 'http://host/weights'",
    ),
    "type of an input from another module": (
        layer(
            "InputLayer",
            type_spec={
                "class_name": "__typespec__", "spec_name": "TensorSpec", "module": "os",
                "config": [], "registered_name": None,
            },
        ),
        f"has an input of the type 'TensorSpec', {UNLISTED}",
    ),
    "unknown type of an input": (
        layer("InputLayer", type_spec={"class_name": "TypeSpec", "type_spec": "x.Y"}),
        f"has an input of the type 'x.Y', {UNLISTED}",
    ),
    "activation by an unknown name": (
        dense(activation="deserialize"),
        f"names the activation 'deserialize', {UNLISTED}",
    ),
    "regularizer by an unknown name": (
        dense(kernel_regularizer="system"),
        f"names the regularizer 'system', {UNLISTED}",
    ),
    "initializer that is an object": (
        dense(bias_initializer={"class_name": "system", "module": "os", "config": {"command": ""}}),
        f"has the class 'system', {UNLISTED}",
    ),
    "constraint that is a function": (
        dense(kernel_constraint=function("builtins", "eval", "eval")),
        f"names the function 'builtins.eval', {UNLISTED}",
    ),
    "function registered under another name": (
        dense(activation=function("builtins", "relu", "system")),
        f"names the function 'system', {UNLISTED}",
    ),
    "function whose name is not text": (
        dense(activation=function("builtins", {"a": 1})),
        f"names the function \"builtins.{{'a': 1}}\", {UNLISTED}",
    ),
    "operation that calls Python": (
        layer("Map", around={"module": "keras.src.ops.core", "registered_name": "Map"}),
        "has the class 'Map', which calls a Python function",
    ),
    "layer of TensorFlow Hub": (
        layer("KerasLayer", handle="https://host/model"),
        f"has the class 'KerasLayer', which {keras_names.REFUSED['KerasLayer']}",
    ),
    "object where nobody looks": (
        {**model(), "build_config": {"input_shape": [layer("Lambda")]}},
        "has the class 'Lambda', which holds Python code",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*PUBLISHED, *VARIATIONS])
def test_hostile_configurations_are_refused_by_the_layers_name(name: str) -> None:
    evil, what = {**PUBLISHED, **VARIATIONS}[name]
    found = keras_config.find(model(layer("Flatten", name="first"), evil), frozenset())
    assert found is not None
    assert (found.where, found.what) == ("layer 'evil'", what)


@pytest.mark.parametrize(
    "config",
    [
        "a text", None, 7, [], {}, {"class_name": None}, {"class_name": {}, "config": {}},
        {"class_name": "Dense"}, {"class_name": "Dense", "config": None},
        {"class_name": "TFOpLambda", "config": None}, {"class_name": "function"},
        {"class_name": "TypeSpec"}, {"class_name": "TensorFlowOpLayer", "config": []},
        {"class_name": "Dense", "config": {}, "registered_name": ["x"]},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": []}}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "Add", "attr": [1]}}},
        {"class_name": "ClassMethod", "config": {"cls_symbol": "RaggedTensor", "method_name": []}},
    ],
)  # fmt: skip
def test_no_shape_of_a_configuration_breaks_the_check(config: Any) -> None:
    keras_config.find(config, frozenset())


# ---------------------------------------------------------------- what people have


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configurations of all classes of the installed Keras and tf_keras."""
    script = Path(__file__).with_name("make_every_layer.py")

    def make(folder: Path) -> None:
        command = [sys.executable, str(script), str(folder / "every.json")]
        subprocess.run(command, check=True, capture_output=True)

    folder = make_once(tmp_path_factory, "every-layer", make)
    loaded: dict[str, Any] = json.loads((folder / "every.json").read_text())
    return loaded


# Abstract, or for training: no model holds them.
NOT_LISTED = {
    "BaseRandomLayer", "PreprocessingLayer", "LossScaleOptimizer", "_RNNCellWrapper",
    "InstanceMethod", "InstanceProperty",  # made with an argument that tensors do not have
}  # fmt: skip
# On the list, but the script cannot make them; other tests cover them.
LEFT_OUT = {
    "Permute", "STFTSpectrogram", "STFT", "STFTInitializer", "stft", "Regularizer", "Quantizer",
    "Policy", "Functional", "ClassMethod", "SlicingOpLambda", "TFOpLambda", "TensorFlowOpLayer",
}  # fmt: skip


def test_all_classes_of_keras_and_tf_keras_are_listed_or_refused_with_a_reason(
    every: dict[str, Any],
) -> None:
    assert len(every["made"]) > 1400
    names = {title.split()[1] for title in every["made"]}
    assert {"Dense", "MultiHeadAttention", "Bidirectional", "ConvLSTM2D", "SyncBatchNormalization",
            "DTypePolicyMap", "OrthogonalRegularizer"} <= names  # fmt: skip
    refused = {
        title.split()[1]
        for title, config in every["made"].items()
        if keras_config.find(config, frozenset()) is not None
    }
    assert refused <= set(keras_names.REFUSED) | NOT_LISTED
    left_out = {title.split()[1] for title in every["left out"]}
    assert left_out <= set(keras_names.REFUSED) | NOT_LISTED | LEFT_OUT
    assert not set(keras_names.REFUSED) & keras_names.CLASSES


ACCEPTED = {
    "function by object": dense(activation=function("builtins", "relu", "relu")),
    "function of keras.ops": dense(activation=function("keras.ops", "silu", "silu")),
    "old Sequential": {"class_name": "Sequential", "config": [dense(), dense(activation="relu")]},
    "nested": model(layer("Functional", layers=[dense()]), layer("TimeDistributed", layer=dense())),
    "tf_keras function": layer("TFOpLambda", function="math.reduce_mean"),
    "slice": layer("SlicingOpLambda", function="__operators__.getitem"),
    "version 1 function": layer("TFOpLambda", function="compat.v1.transpose"),
    "raw operator": layer("TFOpLambda", function="raw_ops.AddV2"),
    "operator of TensorFlow 2.3": layer(
        "TensorFlowOpLayer",
        node_def={"op": "Mul", "input": ["x", "y"], "attr": {"T": {"type": "DT_FLOAT"}}},
        constants={"1": 2.0},
    ),
    "ragged": layer("ClassMethod", cls_symbol="RaggedTensor", method_name="from_row_splits"),
    "ragged attribute": layer("InstanceProperty", attr_name="flat_values"),
    "input's type": layer(
        "InputLayer",
        type_spec={"class_name": "TypeSpec", "type_spec": "tf.RaggedTensorSpec", "serialized": []},
    ),
    "module of Keras 2.12": layer("Functional", around={"module": "keras.engine.functional"}),
    "mixed precision": dense(dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}}),
    "quantized": dense(
        dtype={
            "module": "keras.dtype_policies", "class_name": "QuantizedDTypePolicy",
            "config": {"mode": "int8", "source_name": "float32"}, "registered_name": None,
        }
    ),
    "TensorFlow's initializer": dense(
        bias_initializer={
            "module": "tensorflow.python.ops.init_ops_v2", "class_name": "Constant",
            "config": {"value": 1}, "registered_name": "Constant",
        }
    ),
    "vocabulary in the file": layer("StringLookup", vocabulary=["a", "[]", '{"a": 1}']),
    "edgeq's own": layer("QuantizedDense", around={"registered_name": "edgeq>QuantizedDense"}),
    "edgeq's own in .h5": layer("edgeq>FakeQuantize"),
    "keras.applications": layer(
        "CustomScaleLayer", around={"registered_name": "Custom>CustomScaleLayer"}
    ),
    "training configuration": {**model(dense()), "compile_config": {"loss": layer("MyLoss")}},
    "of a model inside": model({**model(dense()), "compile_config": {"loss": layer("MyLoss")}}),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_keras_saves_is_accepted(name: str) -> None:
    assert keras_config.find(ACCEPTED[name], frozenset()) is None


CUSTOM = frozenset(("Twice", "odd>Twice", "swish2"))


@pytest.mark.parametrize(
    "config",
    [
        layer("Twice"),
        layer("odd>Twice"),
        layer("Twice", around={"module": "train", "registered_name": "odd>Twice"}),
        dense(activation="swish2"),
        dense(activation=function("train", "swish2", "swish2")),
        layer("Bidirectional", layer=layer("Twice", cell=dense())),
        # A class of a newer Keras.
        layer("Twice", around={"module": "keras.layers", "registered_name": None}),
    ],
)
def test_the_users_own_objects_are_accepted(config: Any) -> None:
    assert keras_config.find(config, CUSTOM) is None
    found = keras_config.find(config, frozenset())
    assert found is not None
    assert found.own in ("Twice", "swish2")


@pytest.mark.parametrize(
    "config",
    [
        layer("Lambda", around={"registered_name": "odd>Twice"}),
        layer("Twice", around={"module": "os", "registered_name": "other>Twice"}),
        layer("deserialize", around={"registered_name": "odd>Twice"}),
        layer("Twice", inner=layer("Lambda")),
        layer("Twice", around={"module": "os", "registered_name": None}),
    ],
)
def test_names_of_the_users_objects_cover_nothing_else(config: Any) -> None:
    assert keras_config.find(config, CUSTOM) is not None


def test_the_training_configuration_is_taken_away() -> None:
    inside = {"class_name": "Sequential", "config": {}, "compile_config": {"loss": "mse"}}
    config = {"config": {"layers": [inside]}, "compile_config": {"loss": "mse"}}
    bare = {"class_name": "Sequential", "config": {}}
    assert keras_config.without_training(config) == {"config": {"layers": [bare]}}
    assert keras_config.without_training(config, keep_first=True) == {
        "config": {"layers": [bare]},
        "compile_config": {"loss": "mse"},
    }


def test_functions_that_open_files_or_call_python_are_on_no_list() -> None:
    forbidden = {
        "py_function", "numpy_function", "py_func", "print", "map_fn", "while_loop", "cond", "scan",
        "foldl", "foldr", "vectorized_map", "switch_case", "case", "function", "custom_gradient",
        "load_library", "load_op_library", "load_file_system_library", "import_graph_def",
        "read_file", "write_file", "matching_files", "fixed_unigram_candidate_sampler",
        "get_file", "load_model", "model_from_json", "set_seed", "rnn", "eval", "deserialize",
    }  # fmt: skip
    for names in FUNCTIONS.values():
        assert not names & forbidden
    modules = {"io", "data", "saved_model", "train", "summary", "lookup", "raw_ops", "keras.models",
               "keras.utils", "keras.saving", "keras.config"}  # fmt: skip
    assert not modules & set(FUNCTIONS)
