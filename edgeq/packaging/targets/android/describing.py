"""What the templates are filled with: names, literals and statements of one model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeq.errors import PackageError
from edgeq.escaping import markdown
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.image_inputs import see_images
from edgeq.packaging.contract.values import Contract, Ingredients, InputContract, OutputContract
from edgeq.packaging.targets.android.literals import real, shown, string
from edgeq.tflite import flatbuffer
from edgeq.values import Preprocessing, TensorSpec

GROUP = "edgeq"
# LiteRT 1.4 has the Interpreter, and native libraries for pages of 16 KB. Some of LiteRT 2 came
# without that class (google-ai-edge/LiteRT issue 4775).
_RUNTIME = "com.google.ai.edge.litert:litert:1.4.2"
_RUNTIME_RUNS = (2, 20)
# For models that say they need a newer TensorFlow Lite than LiteRT 1.4 was made beside.
_NEWER_RUNTIME = "com.google.ai.edge.litert:litert:2.3.0"
_MIN_SDK, _NEWER_MIN_SDK = 23, 24
# A class file counts to 65,535 and a method to 64 KB, of which a label takes 2 and 8 bytes.
_MOST_LABELS = 30_000
_LABELS_IN_A_METHOD = 1000
_CODE = ("Tensors", "Codec", "Result", "Model")

Names = dict[str, Any]


def describe(ingredients: Ingredients) -> Names:
    """The model's part of what the templates need.

    Raises:
        PackageError: an input takes several samples at a time, or there are too many labels.
    """
    contract = see_images(ingredients.contract, ingredients.golden)
    tree = flatbuffer.parse(ingredients.model, contract.model.path)
    graph = tree.subgraphs[0]
    inputs = [
        _input(item, _tensor_name(graph, graph.inputs[place]))
        for place, item in enumerate(contract.inputs)
    ]
    outputs = [
        _output(item, _tensor_name(graph, graph.outputs[place]))
        for place, item in enumerate(contract.outputs)
    ]
    if sum(item["label_count"] for item in outputs) > _MOST_LABELS:
        raise PackageError(f"A class of Java holds {_MOST_LABELS} labels at most.")
    key = _signature(tree, contract)
    return {
        **_names(contract, any(item["label_count"] for item in outputs)),
        "inputs": inputs,
        "outputs": outputs,
        "has_images": any(item["image"] for item in inputs),
        "signature": None if key is None else string(key),
        "sha256": contract.model.sha256,
        "license": ingredients.license,
        "data": shown(ingredients.golden.data),
    }


def _names(contract: Contract, has_labels: bool) -> Names:
    base = naming.pascal(contract.name.removesuffix("_model") or contract.name)
    kinds = (*_CODE, "Labels") if has_labels else _CODE
    # With a suffix, none of them is the name of a class that the code uses, such as Interpreter.
    classes = {kind: kind if kind == "Tensors" else f"{base}{kind}" for kind in kinds}
    release = contract.min_runtime_version
    is_newer = release is not None and flatbuffer.release(release)[:2] > _RUNTIME_RUNS
    return {
        "header": f"// Made by edgeq for {contract.name} {contract.version}; do not edit.",
        "name": contract.name,
        "version": contract.version,
        "group": GROUP,
        "package": f"{GROUP}.{contract.name}",
        "folder": f"{GROUP}/{contract.name}",
        "asset": f"{contract.name}.tflite",
        "golden": f"{contract.name}-golden",
        "aar": f"{contract.name}-{contract.version}.aar",
        "pom": f"{contract.name}-{contract.version}.pom",
        "classes": classes,
        "codec_class": classes["Codec"],
        "result_class": classes["Result"],
        "model_class": classes["Model"],
        "labels_class": f"{base}Labels",
        "kotlin_class": f"{base}KotlinModel",
        "runtime": _NEWER_RUNTIME if is_newer else _RUNTIME,
        "min_runtime": None if release is None else shown(release),
        "min_sdk": _NEWER_MIN_SDK if is_newer else _MIN_SDK,
    }


def _tensor_name(graph: Any, index: Any) -> str:
    return flatbuffer.tensor_name(graph, int(index))


def _signature(tree: Any, contract: Contract) -> str | None:
    """The key of the signature that names every input and output, else they are found by tensor."""
    wanted = [{item.spec.name for item in side} for side in (contract.inputs, contract.outputs)]
    for signature in tree.signatureDefs or ():
        if signature.subgraphIndex == 0:
            sides = (signature.inputs or (), signature.outputs or ())
            named = [{flatbuffer.text(entry.name) for entry in side} for side in sides]
            return flatbuffer.text(signature.signatureKey) if named == wanted else None
    return None


def _tensor(spec: TensorSpec, identifier: str, tensor: str) -> Names:
    """What inputs and outputs have in common."""
    dtype = np.dtype(spec.dtype)
    low, high = (0, 1) if dtype.kind in "bf" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return {
        "key": spec.name,
        "shown": shown(spec.name),
        "cell": markdown(spec.name),
        "literal": string(spec.name),
        "tensor": string(tensor),
        "field": naming.camel(identifier),
        "dtype": spec.dtype,
        "shape": "x".join(map(str, spec.shape)) or "a single number",
        "sizes": spec.shape,
        "is_real": bool(spec.scales) or dtype.kind == "f",
        "scale": real(spec.scales[0]) if spec.scales else "",
        "zero_point": spec.zero_points[0] if spec.scales else 0,
        "width": dtype.itemsize,
        "signed": "true" if dtype.kind == "i" else "false",
        "low": low,
        "high": high,
    }


def _input(item: InputContract, tensor: str) -> Names:
    spec, chosen = item.spec, item.preprocessing
    if spec.shape and spec.shape[0] != 1:
        raise PackageError(
            f"Input {spec.name!r} takes {spec.shape[0]} samples at a time; an app has one.",
            hint="Convert with --batch 1.",
        )
    suffix, count = naming.pascal(item.identifier), math.prod(spec.shape[1:])
    channels = None if chosen is None else chosen.channels
    image = item.image
    return {
        **_tensor(spec, item.identifier, tensor),
        "prepare": f"prepare{suffix}",
        "encode": f"encode{suffix}",
        "count": count,
        "bytes": count * np.dtype(spec.dtype).itemsize,
        "image": image,
        "is_preprocessed": chosen is not None,
        "resize": None if chosen is None else chosen.resize,
        "channels": channels,
        # A bitmap has colours; for a model of grey pixels they become grey before anything else.
        "folds": image is not None and image[2] == 1 and channels != "gray",
        "statements": [] if chosen is None else _statements(chosen),
        "steps": _steps(spec, chosen),
        "sample": _sample(spec, chosen, image),
    }


def _statements(chosen: Preprocessing) -> list[str]:
    """The arithmetic in its order, without steps that would do nothing (and lose a sign of 0)."""
    found = []
    if chosen.channels == "bgr":
        found.append("Tensors.reverseChannels(values);")
    if chosen.scale != 1.0:
        found.append(f"Tensors.multiply(values, {real(chosen.scale)});")
    if chosen.offset != 0.0:
        found.append(f"Tensors.add(values, {real(chosen.offset)});")
    if chosen.mean:
        found.append(f"Tensors.subtract(values, {', '.join(map(real, chosen.mean))});")
    if chosen.std:
        found.append(f"Tensors.divide(values, {', '.join(map(real, chosen.std))});")
    return found


def _sample(
    spec: TensorSpec, chosen: Preprocessing | None, image: tuple[int, int, int] | None
) -> str:
    """What a caller has in hand."""
    if image is None:
        is_real = spec.scales or spec.dtype == "float32"
        return f"{math.prod(spec.shape[1:])} {'real' if is_real else 'whole'} values."
    if chosen is not None and chosen.resize is not None:
        return "A picture of any size."
    return f"A picture of {image[0]} rows of {image[1]} pixels."


def _steps(spec: TensorSpec, chosen: Preprocessing | None) -> str:
    """What is done to it, for people."""
    parts = [] if chosen is None else _parts(chosen)
    parts += ["quantized"] if spec.scales else []
    return f"Made ready here: {'; '.join(parts)}." if parts else "As it is."


def _parts(chosen: Preprocessing) -> list[str]:
    parts = []
    if chosen.resize is not None:
        parts.append(f"resized to {chosen.resize[0]}x{chosen.resize[1]}")
    if chosen.channels != "rgb":
        parts.append("made grey" if chosen.channels == "gray" else "reordered to BGR")
    if chosen.scale != 1.0:
        parts.append(f"times {real(chosen.scale)[:-1]}")
    if chosen.offset != 0.0:
        parts.append(f"plus {real(chosen.offset)[:-1]}")
    for word, numbers in (("minus", chosen.mean), ("divided by", chosen.std)):
        if numbers:
            parts.append(f"{word} {', '.join(real(number)[:-1] for number in numbers)}")
    return parts


def _output(item: OutputContract, tensor: str) -> Names:
    spec, suffix = item.spec, naming.pascal(item.identifier)
    common = _tensor(spec, item.identifier, tensor)
    count = math.prod(spec.shape)
    literals = list(enumerate(map(string, item.labels)))
    return {
        **common,
        "bytes": count * common["width"],
        "top": f"top{suffix}",
        "labels": f"of{suffix}",
        "label_count": len(literals),
        "label_chunks": [
            literals[start : start + _LABELS_IN_A_METHOD]
            for start in range(0, len(literals), _LABELS_IN_A_METHOD)
        ],
        "is_classes": bool(literals)
        and common["is_real"]
        and count == (spec.shape[-1] if spec.shape else 1),
        "is_binary": count == 1 and len(literals) == 2,
    }
