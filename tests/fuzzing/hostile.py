"""Model files made to do harm: run a command, write or read outside, open a socket, or never end.

Each is a few lines over a sound file. What they would do is seen from outside (see `watch.py`):
payloads read OUTSIDE/canary, write OUTSIDE/written, start a shell, and open a socket.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import marshal
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny_models as tiny
from tests.fuzzing import samples
from tests.fuzzing.mutations import _varint, nested, read_zip, write_zip


@dataclass(frozen=True)
class Hostile:
    """One model file or folder, and the command that is given it.

    Attributes:
        make: its files; large ones are made when they are needed.
    """

    name: str
    make: Callable[[], Mapping[str, bytes]]
    command: tuple[str, ...]
    needs: str | None = None


@dataclass(frozen=True)
class Place:
    """Where sound files lie, and what must not be touched."""

    samples: Path
    outside: Path

    @property
    def canary(self) -> str:
        return str(self.outside / "canary")

    @property
    def written(self) -> str:
        return str(self.outside / "written")

    @property
    def code(self) -> str:
        """An expression that does everything at once."""
        return (
            f"[__import__('os').system('id > {self.written}'), open({self.canary!r}).read(), "
            f"__import__('socket').socket()]"
        )


def every(folder: Path, outside: Path) -> list[Hostile]:
    """All of them."""
    place = Place(folder, outside)
    makers: tuple[Callable[[Place], Iterator[Hostile]], ...] = (
        _keras,
        _h5,
        _saved_models,
        _pt2,
        _onnx,
        _tflite,
    )
    found = [item for make in makers for item in make(place)]
    # Names become those of files and cases, each once.
    return [
        replace(item, name=f"{re.sub(r'[^A-Za-z0-9.-]', '_', item.name)}-{number}")
        for number, item in enumerate(found)
    ]


def choose(models: Sequence[Hostile], count: int, seed: int) -> list[Hostile]:
    """Some of them, as many of each kind as their share; all when there are no more."""
    if count >= len(models):
        return list(models)
    kinds: dict[str, list[Hostile]] = {}
    for item in models:
        kinds.setdefault(item.name.partition("-")[0], []).append(item)
    for items in kinds.values():
        random.Random(seed).shuffle(items)
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return [item for item in mixed if item is not None][:count]


def _of(
    name: str, files: Mapping[str, bytes], command: tuple[str, ...], needs: str | None = None
) -> Hostile:
    return Hostile(name, lambda: files, command, needs)


def _convert(name: str) -> tuple[str, ...]:
    """A conversion that needs no samples, so that the model is what it fails for."""
    return "convert", name, "--scheme", "fp16", "-o", "out.tflite"


# ---------------------------------------------------------------- Keras 3


def _layer(kind: str, /, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "config": {"name": "evil", **config},
    }


def _sequential(*layers: Any, name: str = "s") -> dict[str, Any]:
    first = _layer("InputLayer", batch_shape=[None, 4], dtype="float32", sparse=False)
    first["config"]["name"] = "x"
    config = {
        "name": name,
        "trainable": True,
        "layers": [first, *layers],
        "build_input_shape": [None, 4],
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": config,
    }


def _code(place: Place) -> bytes:
    return marshal.dumps(eval(f"lambda x: [{place.code}, x][1]").__code__)


def _lambda3(place: Place) -> dict[str, Any]:
    code = base64.b64encode(_code(place)).decode()
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}


def _function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _evil_layers(place: Place) -> Iterator[tuple[str, Any]]:
    code = _lambda3(place)
    evil = _layer("Lambda", function=code)
    yield "lambda", evil
    yield "lambda-src", {**evil, "module": "keras.src.layers.core.lambda_layer"}
    yield "lambda-registered", {**evil, "registered_name": "Lambda"}
    yield "time-distributed", _layer("TimeDistributed", layer=evil)
    yield "wrapper", _layer("Wrapper", layer=evil)
    yield "bidirectional", _layer("Bidirectional", layer=evil)
    yield "rnn", _layer("RNN", cell=evil)
    yield "stacked", _layer("StackedRNNCells", cells=[evil])
    yield "pipeline", _layer("Pipeline", layers=[evil])
    yield "random-apply", _layer("RandomApply", layer=evil)
    yield "spectral", _layer("SpectralNormalization", layer=evil)
    yield "nested", _sequential(evil, name="inner")
    yield "nested-twice", _sequential(_sequential(evil, name="inner"), name="middle")
    for field in (
        "activation",
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "kernel_constraint",
        "activity_regularizer",
        "dtype",
    ):
        yield f"dense-{field}", _layer("Dense", **{"units": 2, field: code})
    for module, name in (
        ("os", "system"),
        ("builtins", "exec"),
        ("subprocess", "getoutput"),
        ("keras.utils", "get_file"),
        ("keras.models", "model_from_json"),
        ("keras.saving", "load_model"),
        ("keras.src.saving.saving_lib", "load_model"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("numpy", "load"),
    ):
        yield (
            f"activation-{module}.{name}",
            _layer("Dense", units=2, activation=_function(module, name)),
        )
    yield (
        "popen",
        {
            "module": "subprocess",
            "class_name": "Popen",
            "registered_name": None,
            "config": {"args": ["sh", "-c", f"id > {place.written}"]},
        },
    )
    yield (
        "get-file",
        {
            "module": "keras.utils",
            "class_name": "get_file",
            "registered_name": None,
            "config": {"fname": "x", "origin": "http://127.0.0.1:9/x"},
        },
    )
    yield "path", {"module": "pathlib", "class_name": "Path", "registered_name": None, "config": {}}
    yield "tfsm", _layer("TFSMLayer", filepath=str(place.samples / "hostile_saved/write_file"))
    yield (
        "torch-wrapper",
        _layer("TorchModuleWrapper", module=base64.b64encode(_pickled(place)).decode()),
    )
    yield "jax", _layer("JaxLayer", call_fn=code)
    yield "flax", _layer("FlaxLayer", module=code, method=code)
    for name in ("StringLookup", "IntegerLookup", "TextVectorization"):
        yield f"{name}-file", _layer(name, vocabulary=place.canary)
    yield "lookup-net", _layer("StringLookup", vocabulary="http://127.0.0.1:9/vocabulary")
    yield (
        "typespec",
        _layer(
            "InputSpec",
            config={
                "class_name": "__typespec__",
                "spec_name": "system",
                "module": "os",
                "config": ["id"],
            },
        ),
    )
    yield "bytes", _layer("Dense", units={"class_name": "__bytes__", "config": {"value": "A" * 99}})
    yield "huge-dense", _layer("Dense", units=2**31)
    yield "endless-dense", _layer("Dense", units=10**12)
    yield "huge-repeat", _layer("RepeatVector", n=10**10)
    yield "huge-reshape", _layer("Reshape", target_shape=[2**20, 2**20, 2**20])
    yield "huge-embedding", _layer("Embedding", input_dim=10**12, output_dim=1000)
    yield "negative", _layer("Dense", units=-5)
    yield "not-a-number", _layer("Dense", units=float("nan"))
    yield "name", _layer("Dense", units=2, name="\x1b]0;x\x07</script>'\"`$(id)`")


def _keras(place: Place) -> Iterator[Hostile]:
    sound = read_zip((place.samples / "tiny.keras").read_bytes())

    def file(config: Any, **members: bytes) -> Mapping[str, bytes]:
        text = config if isinstance(config, bytes) else json.dumps(config).encode()
        return {"m.keras": write_zip([*{**sound, "config.json": text, **members}.items()])}

    for name, layer in _evil_layers(place):
        yield _of(f"keras-{name}", file(_sequential(layer)), _convert("m.keras"))
    evil = _layer("Lambda", function=_lambda3(place))
    compiled = {
        **_sequential(_layer("Dense", units=2)),
        "compile_config": {"loss": _lambda3(place), "optimizer": evil},
    }
    yield _of("keras-compiled", file(compiled), _convert("m.keras"))
    text = json.dumps(_sequential(_layer("Dense", units=2))).encode()
    yield _of("keras-deep", file(b"[" * 200_000 + b"]" * 200_000), _convert("m.keras"))
    deep = _layer("Dense", units=2)
    for number in range(150):
        deep = _sequential(deep, name=f"s{number}")
    yield _of("keras-nested-150", file(deep), _convert("m.keras"))
    wide = _sequential(*[_layer("ReLU")] * 20_000)
    yield _of("keras-20000-layers", file(wide), _convert("m.keras"))
    members = [
        *{**sound, "config.json": text}.items(),
        ("config.json", json.dumps(_sequential(evil)).encode()),
    ]
    yield _of("keras-twice", {"m.keras": write_zip(members)}, _convert("m.keras"))
    for name in ("../../escape", f"{place.written}", "assets/../../../escape"):
        yield _of(f"keras-name-{name[:9]}", file(text, **{name: b"x"}), _convert("m.keras"))
    bomb = lambda: {"m.keras": _bomb(text, sound["metadata.json"])}  # noqa: E731
    yield Hostile("keras-bomb", bomb, _convert("m.keras"))


def _bomb(text: bytes, metadata: bytes) -> bytes:
    """A Keras file of 1.5 MB whose configuration has 1.5 GB."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w", force_zip64=True) as stream:
            stream.write(text)
            for _ in range(1500):
                stream.write(b" " * (1 << 20))
        archive.writestr("metadata.json", metadata)
    return target.getvalue()


# ---------------------------------------------------------------- HDF5

_LEGACY_FUNCTIONS = (
    "keras.models.model_from_json",
    "keras.models.load_model",
    "keras.utils.get_file",
    "keras.layers.deserialize",
    "keras.saving.deserialize_keras_object",
    "io.read_file",
    "io.write_file",
    "io.gfile.GFile",
    "io.matching_files",
    "raw_ops.ReadFile",
    "raw_ops.WriteFile",
    "numpy_function",
    "py_function",
    "saved_model.load",
    "load_op_library",
    "load_library",
    "data.TextLineDataset",
    "summary.create_file_writer",
    "train.load_checkpoint",
    "print",
    "keras.activations.deserialize",
    "os.system",
    "compat.v1.py_func",
    "debugging.enable_check_numerics",
    "keras.preprocessing.image.load_img",
    "distribute.cluster_resolver.TPUClusterResolver",
)


def _h5(place: Place) -> Iterator[Hostile]:
    legacy = _legacy_lambda(place)
    inner = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [legacy]}})
    for name in _LEGACY_FUNCTIONS:
        argument = inner if "json" in name or "deserialize" in name else place.canary
        node = ["_CONSTANT_VALUE", -1, argument, {}]
        yield _of(
            f"h5-op-{name}",
            {
                "m.h5": _h5_file(
                    _graph(
                        {"class_name": "TFOpLambda", "config": {"name": "op", "function": name}},
                        node,
                    )
                )
            },
            _convert("m.h5"),
        )
    for version, layer in itertools.product(
        ("2.15.0", "3.5.0"),
        (
            legacy,
            {"class_name": "TimeDistributed", "config": {"name": "t", "layer": legacy}},
            {"class_name": "Sequential", "config": {"name": "i", "layers": [legacy]}},
            {
                "class_name": "Lambda",
                "config": {
                    "name": "l",
                    "function": "system",
                    "module": "os",
                    "function_type": "function",
                },
            },
        ),
    ):
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": [_input2(), layer]}}
        yield _of(f"h5-lambda-{version}", {"m.h5": _h5_file(config, version)}, _convert("m.h5"))
    for _, layer in itertools.islice(_evil_layers(place), 0, 40, 4):
        yield _of("h5-3", {"m.h5": _h5_file(_sequential(layer), "3.5.0")}, _convert("m.h5"))
    for name, change in _odd_h5(place).items():
        yield _of(f"h5-{name}", {"m.h5": _changed_h5(place, change)}, _convert("m.h5"))


def _legacy_lambda(place: Place) -> dict[str, Any]:
    code = base64.encodebytes(_code(place)).decode("ascii")
    return {
        "class_name": "Lambda",
        "config": {
            "name": "evil",
            "trainable": True,
            "dtype": "float32",
            "function": [code, None, None],
            "function_type": "lambda",
            "module": "__main__",
            "output_shape": None,
            "output_shape_type": "raw",
            "output_shape_module": None,
            "arguments": {},
        },
    }


def _input2() -> dict[str, Any]:
    return {
        "class_name": "InputLayer",
        "name": "x",
        "inbound_nodes": [],
        "config": {
            "batch_input_shape": [None, 4],
            "dtype": "float32",
            "sparse": False,
            "ragged": False,
            "name": "x",
        },
    }


def _graph(layer: dict[str, Any], node: list[Any]) -> dict[str, Any]:
    made = {**layer, "name": "op", "inbound_nodes": [node]}
    config = {
        "name": "m",
        "trainable": True,
        "layers": [_input2(), made],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["op", 0, 0]],
    }
    return {"class_name": "Functional", "config": config}


def _h5_file(config: Any, version: str = "2.15.0") -> bytes:
    import h5py

    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        weights = file.create_group("model_weights")
        for group in (file, weights):
            group.attrs["keras_version"], group.attrs["backend"] = version, "tensorflow"
        weights.attrs["layer_names"] = []
        text = json.dumps(config)
        if len(text) < 60_000:
            file.attrs["model_config"] = text
    return target.getvalue()


def _odd_h5(place: Place) -> dict[str, Callable[[Any, Any], None]]:
    """Changes to a sound file: what HDF5 itself can do."""

    def external_link(file: Any, h5: Any) -> None:
        del file["model_weights"]
        file["model_weights"] = h5.ExternalLink(place.canary, "/x")

    def external_bytes(file: Any, h5: Any) -> None:
        path = _first_weights(file, h5)
        shape = file[path].shape
        del file[path]
        file.create_dataset(path, shape, "f4", external=[(place.canary, 0, h5.h5f.UNLIMITED)])

    def soft_cycle(file: Any, h5: Any) -> None:
        del file["model_weights"]
        file["model_weights"] = h5.SoftLink("/model_weights")

    def huge(file: Any, h5: Any) -> None:
        path = _first_weights(file, h5)
        del file[path]
        file.create_dataset(path, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))

    def no_config(file: Any, h5: Any) -> None:
        del file.attrs["model_config"]

    def bad_version(file: Any, h5: Any) -> None:
        file.attrs["keras_version"] = "9" * 5000

    def number_config(file: Any, h5: Any) -> None:
        file.attrs["model_config"] = 5

    def deep_config(file: Any, h5: Any) -> None:
        file.attrs["model_config"] = "[" * 60_000

    return {name: value for name, value in locals().items() if callable(value)}


def _first_weights(file: Any, h5: Any) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5.Dataset) else None)
    return names[0]


def _changed_h5(place: Place, change: Callable[[Any, Any], None]) -> bytes:
    import h5py

    target = io.BytesIO((place.samples / "tiny.h5").read_bytes())
    with h5py.File(target, "r+") as file:
        change(file, h5py)
    return target.getvalue()


# ---------------------------------------------------------------- SavedModel


def _saved_models(place: Place) -> Iterator[Hostile]:
    for folder in sorted((place.samples / "hostile_saved").iterdir()):
        files = {f"m/{name}": content for name, content in samples.folder_files(folder).items()}
        if "m/saved_model.pb" in files:
            yield _of(f"saved-{folder.name}", files, _convert("m"))
    sound = {
        f"m/{name}": item for name, item in samples.folder_files(place.samples / "saved").items()
    }
    graph = sound["m/saved_model.pb"]
    index = sound["m/variables/variables.index"]
    for name, files in {
        "no-variables": {key: item for key, item in sound.items() if "variables" not in key},
        "keras-metadata": {
            **sound,
            "m/keras_metadata.pb": _message(
                (
                    1,
                    _message(
                        (2, 1),
                        (3, b"root"),
                        (4, b"_tf_keras_sequential"),
                        (
                            5,
                            json.dumps(
                                {
                                    "class_name": "Sequential",
                                    "config": {"layers": [_legacy_lambda(place)]},
                                }
                            ).encode(),
                        ),
                    ),
                )
            ),
        },
        "deep": {**sound, "m/saved_model.pb": _deep(20_000)},
        "twice": {**sound, "m/saved_model.pb": graph + graph},
        "functions": {**sound, "m/saved_model.pb": graph.replace(b"Relu", b"Exit")},
        "read-operator": {**sound, "m/saved_model.pb": graph.replace(b"Softmax", b"ReadFil")},
        "index": {**sound, "m/variables/variables.index": index.replace(b"\x01", b"\xff")},
        "text": {**sound, "m/saved_model.pbtxt": b"saved_model_schema_version: 1\n"},
    }.items():
        yield _of(f"saved-{name}", files, _convert("m"))


# ---------------------------------------------------------------- PyTorch


class _Opens:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def _pickled(place: Place) -> bytes:
    import os

    return pickle.dumps(_Opens(os.system, f"id > {place.written}"))


def _pt2(place: Place) -> Iterator[Hostile]:
    path = place.samples / "dynamic.pt2"
    if not path.exists():
        return
    sound = read_zip(path.read_bytes())
    program = next(name for name in sound if name.endswith("models/model.json"))
    text, root = sound[program].decode(), program.partition("/")[0]
    plain = json.loads(text)
    call = f"open({place.written!r}, 'w')"

    def changed(**fields: Any) -> bytes:
        return json.dumps({**plain, **fields}).encode()

    pickled = _pickled(place)
    members = {
        "guard": (program, changed(guards_code=[f"{call} is not None"])),
        "size": (program, text.replace("Symbol('s", f"[{call},Symbol('s", 1).encode()),
        "attribute": (program, changed(guards_code=["L.__class__.__mro__[1].__subclasses__()"])),
        "import": (program, changed(guards_code=["__import__('os').system('id')"])),
        "walrus": (program, changed(guards_code=["(x := print)('x')"])),
        "format": (program, changed(guards_code=["f'{open}'"])),
        "comprehension": (program, changed(guards_code=["[a for a in ().__class__.__bases__]"])),
        "long-guard": (program, changed(guards_code=["1+" * 100_000 + "1"])),
        "deep-guard": (program, changed(guards_code=["(" * 5000 + "1" + ")" * 5000])),
        "power": (program, changed(guards_code=["9**9**9**9 > 1"])),
        "deep": (program, b'{"a":' * 100_000),
        "number": (program, b"[" + b"9" * 1_000_000 + b"]"),
        "nested": (program, json.dumps(nested(900)).encode()),
        "target": (
            program,
            text.replace("torch.ops.aten.relu.default", "torch.os.system").encode(),
        ),
        "operator": (
            program,
            text.replace("torch.ops.aten.relu.default", "torch.ops.aten.save").encode(),
        ),
        "huge-size": (
            program,
            text.replace('"as_int": 4', '"as_int": 4611686018427387904').encode(),
        ),
        "schema": (program, changed(schema_version={"major": 10**6, "minor": -1})),
        "pickle": (f"{root}/data/sample_inputs/model.pt", pickled),
        "pickled-weights": (f"{root}/data/weights/weight_0", pickled),
        "custom": (f"{root}/data/constants/custom_obj_0", pickled),
        "library": (f"{root}/data/aotinductor/model/model.so", b"\x7fELF" + bytes(64)),
        "escape": (f"{root}/../../escape", b"x"),
        "absolute": (place.written, b"x"),
        "format-name": (f"{root}/archive_format", b"\x00"),
    }
    for name, (member, content) in members.items():
        files = {**sound, member: content}
        yield _of(f"pt2-{name}", {"m.pt2": write_zip([*files.items()])}, _convert("m.pt2"), "torch")
    both = [*sound.items(), (program, changed(guards_code=[call]))]
    yield _of("pt2-twice", {"m.pt2": write_zip(both)}, _convert("m.pt2"), "torch")


# ---------------------------------------------------------------- ONNX


def _message(*fields: tuple[int, Any]) -> bytes:
    """A protobuf message of numbers and of bytes."""
    made = b""
    for number, value in fields:
        if isinstance(value, int):
            made += _varint(number << 3) + _varint(value & ((1 << 64) - 1))
        else:
            made += _varint(number << 3 | 2) + _varint(len(value)) + value
    return made


def _deep(depth: int) -> bytes:
    made = b""
    for _ in range(depth):
        made = _message((2, made))
    return _message((1, 1), (2, made))


def _value(name: str, *sizes: int) -> bytes:
    shape = _message(*((1, _message((1, size))) for size in sizes))
    return _message((1, name.encode()), (2, _message((1, _message((1, 1), (2, shape))))))


def _node(
    kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...], *more: tuple[int, Any]
) -> bytes:
    return _message(
        *((1, name.encode()) for name in inputs),
        *((2, name.encode()) for name in outputs),
        (4, kind.encode()),
        *more,
    )


def _onnx_graph(
    nodes: list[bytes], constants: list[bytes] | None = None, sizes: tuple[int, ...] = (1, 4)
) -> bytes:
    return _message(
        *((1, node) for node in nodes),
        (2, b"g"),
        *((5, c) for c in constants or ()),
        (11, _value("x", *sizes)),
        (12, _value("y", *sizes)),
    )


def _onnx_model(graph: bytes, *more: tuple[int, Any], opset: int = 17) -> bytes:
    return _message((1, 8), (7, graph), (8, _message((2, opset))), *more)


def _external(location: str, **entries: str) -> bytes:
    items = {"location": location, **entries}
    texts = [_message((1, key.encode()), (2, value.encode())) for key, value in items.items()]
    return _message((1, 4), (2, 1), (8, b"w"), *((13, text) for text in texts), (14, 1))


def _onnx(place: Place) -> Iterator[Hostile]:
    add = _node("Add", ("x", "w"), ("y",))

    def constant(*dims: int, raw: bytes = b"", kind: int = 1) -> bytes:
        return _message(*((1, size) for size in dims), (2, kind), (8, b"w"), (9, raw))

    models = {
        f"external-{number}": _onnx_model(_onnx_graph([add], [_external(location)]))
        for number, location in enumerate(
            (
                place.canary,
                "../../../outside/canary",
                "/etc/passwd",
                "http://127.0.0.1:9/w",
                "",
                ".",
                "a/../../x",
                "\\\\host\\share",
                "|id",
                "/dev/zero",
                "/proc/self/mem",
            )
        )
    }
    models["external-offset"] = _onnx_model(
        _onnx_graph([add], [_external("w.data", offset=str(2**62), length=str(2**62))])
    )
    models["huge-constant"] = _onnx_model(_onnx_graph([add], [constant(2**20, 2**30)]))
    models["negative-constant"] = _onnx_model(_onnx_graph([add], [constant(-4)]))
    models["short-constant"] = _onnx_model(_onnx_graph([add], [constant(1000, raw=b"x")]))
    models["odd-type"] = _onnx_model(_onnx_graph([add], [constant(4, raw=bytes(16), kind=77)]))
    models["huge-input"] = _onnx_model(
        _onnx_graph([_node("Relu", ("x",), ("y",))], sizes=(2**20, 2**20))
    )
    models["cycle"] = _onnx_model(
        _onnx_graph(
            [
                _node("Relu", ("b",), ("a",)),
                _node("Relu", ("a",), ("b",)),
                _node("Add", ("x", "b"), ("y",)),
            ]
        )
    )
    models["itself"] = _onnx_model(_onnx_graph([_node("Relu", ("y",), ("y",))]))
    models["python-operator"] = _onnx_model(
        _onnx_graph([_node("PyOp", ("x",), ("y",), (7, b"ai.onnx.contrib"))]),
        (8, _message((1, b"ai.onnx.contrib"), (2, 1))),
    )
    models["unknown-domain"] = _onnx_model(
        _onnx_graph([_node("Evil", ("x",), ("y",), (7, b"../x"))])
    )
    expand = _message((1, 2), (2, 7), (8, b"w"), (9, struct.pack("<qq", 2**20, 2**22)))
    models["expand"] = _onnx_model(_onnx_graph([_node("Expand", ("x", "w"), ("y",))], [expand]))
    body = _onnx_graph([_node("Identity", ("x",), ("y",))])
    models["loop"] = _onnx_model(
        _onnx_graph(
            [_node("Loop", ("", "", "x"), ("y",), (5, _message((1, b"body"), (6, body), (20, 5))))]
        )
    )
    function = _message(
        (1, b"F"),
        (4, b"x"),
        (5, b"y"),
        (7, _node("F", ("x",), ("y",), (7, b"d"))),
        (9, _message((1, b"d"), (2, 1))),
        (10, b"d"),
    )
    models["recursion"] = _onnx_model(
        _onnx_graph([_node("F", ("x",), ("y",), (7, b"d"))]),
        (25, function),
        (8, _message((1, b"d"), (2, 1))),
    )
    models["deep"] = _deep(20_000)
    models["opset"] = _onnx_model(_onnx_graph([_node("Relu", ("x",), ("y",))]), opset=2**62)
    models["names"] = _onnx_model(
        _onnx_graph([_node("Relu", ("x",), ("y",), (3, b"$(id)`id`\x1b[2J'\""))])
    )
    for name, content in models.items():
        files = {"m.onnx": content, "w.data": bytes(16)}
        yield _of(f"onnx-{name}", files, _convert("m.onnx"), "onnx")


# ---------------------------------------------------------------- .tflite

_TFLITE_COMMANDS = (
    ("inspect", "m.tflite"),
    ("bench", "m.tflite", "--runs", "30", "--rounds", "3"),
    _convert("m.tflite"),
    ("profile", "m.tflite", "--runs", "20"),
)


def _tflite(place: Place) -> Iterator[Hostile]:
    for number, (name, content) in enumerate(_tflite_models(place)):
        command = _TFLITE_COMMANDS[number % len(_TFLITE_COMMANDS)]
        yield _of(f"tflite-{name}-{command[0]}", {"m.tflite": content}, command)


def _tflite_models(place: Place) -> Iterator[tuple[str, bytes]]:
    schema, op, tensor = tiny.schema, tiny.operator, tiny.tensor
    float_add = tiny.add_one()

    def single(kind: int, x: Any, y: Any, options: Any = None, *constants: Any) -> bytes:
        tensors = [
            x,
            y,
            *(
                tensor(f"c{n}", c.shape, schema.TensorType.INT32, buffer=n + 1)
                for n, c in enumerate(constants)
            ),
        ]
        inputs = [0, *range(2, 2 + len(constants))]
        main = tiny.graph(tensors, [0], [1], [op(0, inputs, [1], options)])
        return tiny.model([main], [(kind, 1)], constants)

    def edited(change: Callable[[Any], None], content: bytes = float_add) -> bytes:
        import flatbuffers

        tree = schema.ModelT.InitFromPackedBuf(content, 0)
        change(tree)
        builder = flatbuffers.Builder(1024)
        builder.Finish(tree.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    yield "bottomless", tiny.bottomless()
    yield "mystery", tiny.mystery()
    for name in (
        "FlexPyFunc",
        "FlexReadFile",
        "FlexWriteFile",
        "TFLite_Detection_PostProcess",
        "../../../lib.so",
        "\x1b[2J<script>",
    ):
        main = tiny.graph([tensor("x", [1]), tensor("y", [1])], [0], [1], [op(0, [0], [1])])
        yield f"custom-{name[:12].strip('./')}", tiny.model([main], [name])
    yield (
        "huge-shape",
        single(
            tiny.Operator.RELU,
            tensor("x", [1 << 15, 1 << 15, 1 << 15]),
            tensor("y", [1 << 15, 1 << 15, 1 << 15]),
        ),
    )
    yield "overflow-shape", single(tiny.Operator.RELU, tensor("x", [1 << 30] * 6), tensor("y", [4]))
    yield (
        "huge-reshape",
        single(
            tiny.Operator.RESHAPE,
            tensor("x", [4]),
            tensor("y", [4]),
            None,
            np.array([2**31 - 1, 2**31 - 1], np.int32),
        ),
    )
    yield (
        "fill",
        single(
            tiny.Operator.TILE,
            tensor("x", [4]),
            tensor("y", [4]),
            None,
            np.array([2**30], np.int32),
        ),
    )
    quantized = tiny.double_int8()
    for name, scale in (
        ("zero", 0.0),
        ("nan", np.nan),
        ("infinite", np.inf),
        ("negative", -1.0),
        ("tiny", 1e-45),
        ("large", 3e38),
    ):
        yield (
            f"scale-{name}",
            edited(
                lambda tree, scale=scale: setattr(
                    tree.subgraphs[0].tensors[0].quantization, "scale", [scale]
                ),
                quantized,
            ),
        )
    for point in (2**62, -(2**63), 128, 1000):
        yield (
            f"point-{point}",
            edited(
                lambda tree, point=point: setattr(
                    tree.subgraphs[0].tensors[1].quantization, "zeroPoint", [point]
                ),
                quantized,
            ),
        )
    yield (
        "axis",
        edited(
            lambda tree: setattr(
                tree.subgraphs[0].tensors[0].quantization, "quantizedDimension", -7
            ),
            quantized,
        ),
    )
    yield (
        "no-points",
        edited(
            lambda tree: setattr(tree.subgraphs[0].tensors[0].quantization, "zeroPoint", None),
            quantized,
        ),
    )
    yield (
        "short-buffer",
        edited(lambda tree: setattr(tree.subgraphs[0].tensors[1], "shape", [1000])),
    )
    yield "no-buffer", edited(lambda tree: setattr(tree.buffers[1], "data", None))
    yield (
        "buffer-outside",
        edited(
            lambda tree: (
                setattr(tree.buffers[1], "data", None),
                setattr(tree.buffers[1], "offset", 2**40),
                setattr(tree.buffers[1], "size", 2**40),
            )
        ),
    )
    yield "cycle", edited(lambda tree: setattr(tree.subgraphs[0].operators[0], "inputs", [2, 2]))
    yield "input-is-output", edited(lambda tree: setattr(tree.subgraphs[0], "outputs", [0]))
    yield "no-inputs", edited(lambda tree: setattr(tree.subgraphs[0], "inputs", []))
    yield "constant-input", edited(lambda tree: setattr(tree.subgraphs[0], "inputs", [1]))
    yield "string-input", edited(lambda tree: setattr(tree.subgraphs[0].tensors[0], "type", 5))
    yield (
        "many-tensors",
        edited(
            lambda tree: setattr(tree.subgraphs[0], "tensors", tree.subgraphs[0].tensors * 20_000)
        ),
    )
    yield "many-graphs", edited(lambda tree: setattr(tree, "subgraphs", tree.subgraphs * 3000))
    yield (
        "long-name",
        edited(lambda tree: setattr(tree.subgraphs[0].tensors[0], "name", "n" * 10_000_000)),
    )
    yield (
        "names",
        edited(
            lambda tree: setattr(
                tree.subgraphs[0].tensors[0],
                "name",
                "\x1b]0;x\x07</script><img src=x onerror=alert(1)>",
            )
        ),
    )
    made = bytearray(float_add)
    yield "root-outside", struct.pack("<I", 0x7FFFFFF0) + bytes(made[4:])
    yield "root-itself", struct.pack("<I", 0) + bytes(made[4:])
    yield "empty-root", struct.pack("<I", len(made) - 4) + bytes(made[4:])
    yield "vectors", bytes(made[:8]) + b"\xff\xff\xff\x3f" * ((len(made) - 8) // 4)
    del place
