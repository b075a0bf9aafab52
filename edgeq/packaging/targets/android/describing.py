"""The values that fill the templates: names, literals and statements of one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.errors import PackageError
from edgeq.escaping import markdown
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.image_inputs import confirm_images
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.android.literals import real, shown, string
from edgeq.packaging.targets.android.sounds import describe_sound
from edgeq.packaging.targets.box_values import describe_boxes, describe_letterbox
from edgeq.tflite import flatbuffer
from edgeq.values import Preprocessing, TensorSpec

GROUP = "edgeq"
# LiteRT 1.4 has the Interpreter, and native libraries for pages of 16 KB. Some releases of LiteRT 2
# came without that class (google-ai-edge/LiteRT issue 4775).
_RUNTIME = "com.google.ai.edge.litert:litert:1.4.2"
_RUNTIME_RUNS = (2, 20)
# For models that state a newer TensorFlow Lite than the one LiteRT 1.4 was made beside.
_NEWER_RUNTIME = "com.google.ai.edge.litert:litert:2.3.0"
_MIN_SDK, _NEWER_MIN_SDK = 23, 24
# A class file has at most 65,535 constants and a method 64 KB; a label takes 2 and 8 bytes.
_MOST_LABELS = 30_000
_LABELS_IN_A_METHOD = 1000
_CODE = ("Tensors", "Codec", "Result", "Model")
_PLAIN = ("Tensors", "Boxes", "FrontEnd")

Names = dict[str, Any]


def describe(given: PackageInputs) -> Names:
    """The model's part of what the templates need.

    Raises:
        PackageError: an input takes several samples at a time, or there are too many labels.
    """
    contract, tree = confirm_images(given.contract, given.golden), given.model.tree
    graph = tree.subgraphs[0]
    inputs = [
        _input(item, flatbuffer.tensor_name(graph, index))
        for item, index in zip(contract.inputs, flatbuffer.indices(graph.inputs), strict=True)
    ]
    outputs = [
        _output(item, flatbuffer.tensor_name(graph, index))
        for item, index in zip(contract.outputs, flatbuffer.indices(graph.outputs), strict=True)
    ]
    boxes = _boxes(contract)
    labelled = [*outputs, *([boxes] if boxes else [])]
    label_count = sum(item["label_count"] for item in labelled)
    if label_count > _MOST_LABELS:
        raise PackageError(f"A class of Java has at most {_MOST_LABELS} labels.")
    base = naming.pascal(contract.name.removesuffix("_model") or contract.name)
    has_sounds = any(item["sound"] for item in inputs)
    chosen = {"Labels": label_count, "Boxes": boxes, "FrontEnd": has_sounds}
    kinds = (*_CODE, *(kind for kind, is_needed in chosen.items() if is_needed))
    # With a suffix, none of them is the name of a class that the code uses, such as Interpreter.
    classes = {kind: kind if kind in _PLAIN else f"{base}{kind}" for kind in kinds}
    joins = _joins(contract)
    release, key = contract.min_runtime_version, _signature(tree, contract)
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
        "inputs": inputs,
        "outputs": outputs,
        "joins": joins,
        "boxes": boxes,
        "labelled": labelled,
        "letterbox": describe_letterbox(contract),
        "fields": {item["key"]: item["field"] for item in (*outputs, *joins)},
        "has_images": any(item["image"] for item in inputs),
        "has_sounds": has_sounds,
        "signature": None if key is None else string(key),
        "sha256": contract.model.sha256,
        "license": given.license,
        "data": shown(given.golden.data),
    }


def _boxes(contract: Contract) -> Names | None:
    found = describe_boxes(contract)
    if found is None:
        return None
    named = _labels(contract.boxes, contract.box_labels)
    return {**found, **named, "field": naming.camel(contract.boxes), "shown": shown(contract.boxes)}


def _joins(contract: Contract) -> list[Names]:
    """Outputs that the file gives in parts."""
    fields = {item.spec.name: naming.camel(item.identifier) for item in contract.outputs}
    return [
        {
            "key": item.name,
            "field": naming.camel(identifier),
            "shown": shown(item.name),
            "shape": "x".join(map(str, item.shape)),
            "repeats": ", ".join(str(block.repeat) for block in item.blocks),
            "counts": ", ".join(
                f"{{{', '.join(str(count) for _, count in block.parts)}}}" for block in item.blocks
            ),
            "parts": ", ".join(f"this.{fields[name]}" for name in item.parts),
        }
        for identifier, item in zip(contract.join_identifiers, contract.joins, strict=True)
    ]


def _signature(tree: Any, contract: Contract) -> str | None:
    """The key of the signature that names every input and output; None: find them by tensor."""
    wanted = [{item.spec.name for item in side} for side in (contract.inputs, contract.outputs)]
    for signature in tree.signatureDefs or ():
        if signature.subgraphIndex == 0:
            sides = (signature.inputs or (), signature.outputs or ())
            named = [{flatbuffer.text(entry.name) for entry in side} for side in sides]
            return flatbuffer.text(signature.signatureKey) if named == wanted else None
    return None


def _tensor(spec: TensorSpec, identifier: str, tensor: str) -> Names:
    """The values that inputs and outputs have in common."""
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
    spec, image, how = item.spec, item.image, item.preprocessing
    if spec.shape and spec.shape[0] != 1:
        raise PackageError(
            f"Input {spec.name!r} takes {spec.shape[0]} samples at a time; an app has one.",
            hint="Convert with --batch 1.",
        )
    suffix, count = naming.pascal(item.identifier), math.prod(spec.shape[1:])
    steps = [] if how is None else _steps(how)
    steps += ["quantized"] if spec.scales else []
    sample = f"{count} {'real' if spec.scales or spec.dtype == 'float32' else 'whole'} values."
    if image is not None:
        size = f"{image[0]} rows of {image[1]} pixels"
        sample = f"A picture of {'any size' if how is not None and how.resize else size}."
    sound = describe_sound(item)
    if sound is not None:
        sample = f"A sound of {sound['samples']} samples, {sound['rate']} per second."
    return {
        **_tensor(spec, item.identifier, tensor),
        "prepare": f"prepare{suffix}",
        "encode": f"encode{suffix}",
        "count": count,
        "bytes": count * np.dtype(spec.dtype).itemsize,
        "image": image,
        "sound": sound,
        "is_preprocessed": how is not None,
        "resize": None if how is None else how.resize,
        "pad": None if how is None else how.pad,
        "channels": None if how is None else how.channels,
        # A bitmap has colours; for a model of grey pixels they become grey before anything else.
        "folds": image is not None and image[2] == 1 and (how is None or how.channels != "gray"),
        "statements": [] if how is None else _statements(how),
        "steps": f"Prepared here: {'; '.join(steps)}." if steps else "Unchanged.",
        "sample": sample,
    }


def _statements(how: Preprocessing) -> list[str]:
    """The arithmetic in order, without steps that would do nothing (and lose the sign of 0)."""
    found = []
    if how.channels == "bgr":
        found.append("Tensors.reverseChannels(values);")
    if how.scale != 1.0:
        found.append(f"Tensors.multiply(values, {real(how.scale)});")
    if how.offset != 0.0:
        found.append(f"Tensors.add(values, {real(how.offset)});")
    if how.mean:
        found.append(f"Tensors.subtract(values, {', '.join(map(real, how.mean))});")
    if how.std:
        found.append(f"Tensors.divide(values, {', '.join(map(real, how.std))});")
    return found


def _steps(how: Preprocessing) -> list[str]:
    """The same for people."""
    steps = []
    if how.resize is not None:
        kept = "" if how.pad is None else f" with its proportions kept, grey {how.pad} around it"
        steps.append(f"resized to {how.resize[0]}x{how.resize[1]}{kept}")
    if how.channels != "rgb":
        steps.append("made grey" if how.channels == "gray" else "reordered to BGR")
    if how.scale != 1.0:
        steps.append(f"times {real(how.scale)[:-1]}")
    if how.offset != 0.0:
        steps.append(f"plus {real(how.offset)[:-1]}")
    for word, numbers in (("minus", how.mean), ("divided by", how.std)):
        if numbers:
            steps.append(f"{word} {', '.join(real(number)[:-1] for number in numbers)}")
    return steps


def _output(item: OutputContract, tensor: str) -> Names:
    spec, suffix = item.spec, naming.pascal(item.identifier)
    common = _tensor(spec, item.identifier, tensor)
    count = math.prod(spec.shape)
    return {
        **common,
        **_labels(item.identifier, item.labels),
        "bytes": count * common["width"],
        "top": f"top{suffix}",
        "is_classes": bool(item.labels)
        and common["is_real"]
        and count == (spec.shape[-1] if spec.shape else 1),
        "is_binary": count == 1 and len(item.labels) == 2,
    }


def _labels(identifier: str, labels: Sequence[str]) -> Names:
    """The method with the names of classes."""
    literals = list(enumerate(map(string, labels)))
    return {
        "labels": f"of{naming.pascal(identifier)}",
        "label_count": len(literals),
        "label_chunks": [
            literals[start : start + _LABELS_IN_A_METHOD]
            for start in range(0, len(literals), _LABELS_IN_A_METHOD)
        ],
    }
