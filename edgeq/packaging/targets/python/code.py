"""The generated code of a package: the templates beside this file, and what fills them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib import resources
from typing import Any

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.escaping import markdown
from edgeq.metrics.boxes import Decoding
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.results import plan_boxes
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.packaging.targets.python.literals import string
from edgeq.packaging.targets.python.wheel import pep440
from edgeq.packaging.targets.target import templates
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile
from edgeq.values import FrontEnd, JoinedOutput, Preprocessing, TensorSpec

_WIDTH = 100
# Imported by the generated module or a program beside it: a class cannot have these names.
_TAKEN = {"Array", "ArrayLike", "Box", "Boxes", "Decoding", "FrontEnd", "Image", "Input", "Join",
          "Letterbox", "Mapping", "Output", "Path", "Runner", "Scores", "Sequence", "Sound",
          "SoundLike"}  # fmt: skip

# Files of edgeq that compute features, in packages beside each other.
_SOUND_FILES = (
    ("edgeq.values", "front_end.py"),
    ("edgeq.converters.samples.sounds", "features.py"),
    (__package__, "sounds.py"),
)
# A number of `Input` in the package to that of `Preprocessing`.
_NUMBERS = {"factor": "scale", "offset": "offset", "mean": "mean", "std": "std"}
_PLAIN = Preprocessing()


def render(template: str, **context: Any) -> bytes:
    """A template of this folder, filled in."""
    environment = templates(__package__, ".")
    environment.globals.update(literal=string, document=document)
    return environment.get_template(template).render(**context).encode()


def read(name: str) -> bytes:
    """A file of this folder that goes into packages unchanged."""
    return resources.files(__package__).joinpath(name).read_bytes()


def shared_files(names: dict[str, Any]) -> dict[str, bytes]:
    """Files that edgeq computes with, too: their imports lead to the package instead.

    Args:
        names: see `describe`.
    """
    chosen = [*(_SOUND_FILES if names["has_sounds"] else ())]
    chosen += [("edgeq.metrics", f"{name}.py") for name in ("boxes", "letterbox") if names[name]]
    found = {}
    for package, name in chosen:
        text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
        found[name] = re.sub(r"from edgeq\.[\w.]+\.(\w+) import", r"from .\1 import", text).encode()
    return found


def describe(contract: Contract, model: ModelFile) -> dict[str, Any]:
    """Everything that the templates name."""
    class_name = naming.pascal(contract.name)
    if class_name in _TAKEN:
        class_name += "Model"
    inputs = [_describe_input(item) for item in contract.inputs]
    outputs = [_describe_output(place, item) for place, item in enumerate(contract.outputs)]
    steps = {step.split("(")[0] for item in inputs for step in item["step_list"]}
    has_scores = any(item.labels for item in contract.outputs)
    boxes = _describe_boxes(contract)
    results = _describe_results(contract)
    _, letterbox = contract.letterboxed or (None, None)
    has_sounds = any(item.front_end is not None for item in contract.inputs)
    # The signature whose names the contract has; see `flatbuffer.interface`.
    keys = (
        flatbuffer.text(item.signatureKey)
        for item in model.tree.signatureDefs or ()
        if item.subgraphIndex == 0
    )
    return {
        "name": contract.name,
        "version": contract.version,
        "python_version": pep440(contract.version),
        "sha256": model.sha256,
        "signature": next(keys, None),
        "class_name": class_name,
        "inputs": inputs,
        "outputs": outputs,
        "joins": [_describe_join(item) for item in contract.joins],
        "boxes": boxes,
        "results": results,
        "letterbox": letterbox,
        "result_names": [
            *(["Box", "Boxes"] if boxes else []),
            *(["Join"] if contract.joins else []),
            *(["Letterbox"] if letterbox else []),
        ],
        "input_names": ", ".join(markdown(item.spec.name) for item in contract.inputs),
        "has_labels": bool(labels_of(contract)),
        "image_steps": sorted(steps - {"bgr"}),
        "has_sounds": has_sounds,
        "takes_arrays": any(item.front_end is None for item in contract.inputs),
        "tensor_names": [
            "Array",
            "Input",
            "Output",
            *(["Scores"] if has_scores else []),
            *(["bgr"] if "bgr" in steps else []),
        ],
        **_methods(class_name, contract.inputs),
    }


def labels_of(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Names of classes, by output and for boxes, as `labels.json` has them."""
    found = {item.spec.name: item.labels for item in contract.outputs}
    found[contract.boxes] = contract.box_labels
    return {name: labels for name, labels in found.items() if labels}


def uses_pillow(contract: Contract) -> bool:
    """Whether an image is resized or made grey: numpy cannot do that as Pillow does."""
    return any(how.resize or how.channels == "gray" for how in contract.preprocessing)


# ---------------------------------------------------------------- inputs and outputs


def _describe_input(item: InputContract) -> dict[str, Any]:
    declared = item.preprocessing or Preprocessing()
    steps = []
    if declared.resize is not None:
        sizes = ", ".join(map(str, declared.resize))
        is_stretched = declared.pad is None
        boxed = f"letterbox({sizes}, {declared.pad}, find_letterbox)"
        steps = [f"resize({sizes})" if is_stretched else boxed]
    steps += [declared.channels] if declared.channels != "rgb" else []
    settings = _settings(item.spec)
    if steps:
        settings["steps"] = f"({', '.join(steps)}{',' if len(steps) == 1 else ''})"
    for key, attribute in _NUMBERS.items():
        value = getattr(declared, attribute)
        if value != getattr(_PLAIN, attribute):
            settings[key] = repr(value)
    shown = None
    if item.declared is not None:
        shown = format_preprocessing(replace(item.declared, input=None))
    shape = item.spec.shape[1:]
    kind = "real values" if item.spec.scales or item.spec.dtype == "float32" else item.spec.dtype
    sample = f"{kind} of shape {shape}"
    if item.image is not None and steps:
        channels = "3, RGB" if item.image[2] == 3 else "3, RGB, or x 1"
        size = "any size" if declared.resize else f"{shape[0]} x {shape[1]}"
        sample = f"image of {size} as uint8, height x width x {channels}"
    if item.front_end is not None:
        sample = (
            f"sound of {item.sound_length} samples, longer ones are cut and shorter ones filled "
            f"with zeros: the path of a WAV file, (samples, rate), or samples at "
            f"{item.front_end.rate} per second"
        )
    return {
        "identifier": item.identifier,
        "step_list": steps,
        "settings": settings,
        "sample": sample,
        "takes_pixels": bool(steps),
        "front_end": _describe_front_end(item.front_end),
        "sound_length": item.sound_length,
        "steps": shown and f"`{shown}`",
        "text": f"{sample}; {shown or 'no preprocessing'}.",
    }


def _describe_front_end(sound: FrontEnd | None) -> dict[str, str] | None:
    if sound is None:
        return None
    return {
        field.name: string(value) if isinstance(value, str) else repr(value)
        for field in fields(FrontEnd)
        if (value := getattr(sound, field.name)) != field.default
    }


def _describe_output(place: int, item: OutputContract) -> dict[str, Any]:
    spec = item.spec
    shape = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    values = f"{'float32' if spec.scales else spec.dtype} of shape {shape}"
    if spec.scales:
        values += f", from {spec.dtype}"
    if item.labels:
        values += f", with {len(item.labels)} labels"
    settings = _settings(spec)
    if item.labels:
        settings["labels"] = f"tuple(_LABELS[{string(spec.name)}])"
    read = f"{item.identifier}=self.OUTPUTS[{place}].{'scores' if item.labels else 'real'}("
    return {
        "identifier": item.identifier,
        "settings": settings,
        "reading": _fit(12, read, [f"tensors[{string(spec.name)}]"], "),"),
        "meaning": values,
        "is_labelled": bool(item.labels),
        "is_ranked": bool(item.labels) and all(size == 1 for size in shape[:-1]),
        "text": f"{values}.",
    }


def _describe_join(item: JoinedOutput) -> dict[str, Any]:
    blocks = []
    for block in item.blocks:
        parts = "".join(f"({string(name)}, {count}), " for name, count in block.parts)
        blocks.append(f"({block.repeat}, ({parts.rstrip()}))")
    return {"name": string(item.name), "shape": item.shape[1:], "blocks": blocks}


def _describe_boxes(contract: Contract) -> dict[str, Any] | None:
    plan = plan_boxes(contract)
    if plan is None:
        return None
    settings = {
        field.name: string(value) if isinstance(value, str) else repr(value)
        for field in fields(Decoding)
        if (value := getattr(plan.decoding, field.name)) != field.default
    }
    size = f"({plan.height}, {plan.width})"
    return {
        "name": contract.boxes,
        "settings": settings,
        "size": size,
        "is_labelled": bool(contract.box_labels),
    }


def _describe_results(contract: Contract) -> list[dict[str, Any]]:
    """Joined outputs, and boxes."""
    found = [
        {
            "identifier": identifier,
            "type": "Array",
            "text": f"float32 of shape {item.shape[1:]}, joined of {', '.join(item.parts)}.",
            "reading": f"results[{string(item.name)}]",
        }
        for identifier, item in zip(contract.join_identifiers, contract.joins, strict=True)
    ]
    if contract.decoding is not None:
        named = f"with {len(contract.box_labels)} labels" if contract.box_labels else "no labels"
        found.append(
            {
                "identifier": contract.boxes,
                "type": "tuple[Box, ...]",
                "text": f"the best first, as {contract.decoding}; {named}.",
                "reading": f"_BOXES.list(results[{string(contract.boxes)}])",
            }
        )
    return found


def _settings(spec: TensorSpec) -> dict[str, Any]:
    settings = {"name": string(spec.name), "shape": spec.shape, "dtype": string(spec.dtype)}
    if not spec.scales:
        return settings
    return {**settings, "scale": repr(spec.scales[0]), "zero_point": spec.zero_points[0]}


def document(item: dict[str, Any], indent: int) -> str:
    """An entry of a docstring's Args or Attributes."""
    return textwrap.fill(
        f"{item['identifier']}: {item['text']}", _WIDTH, initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


# ---------------------------------------------------------------- methods


def _methods(class_name: str, inputs: Sequence[InputContract]) -> dict[str, str]:
    """The lines that depend on how many inputs there are; several are given by name only."""
    names = [item.identifier for item in inputs]
    several = len(names) > 1
    kinds = ["ArrayLike" if item.front_end is None else "SoundLike" for item in inputs]
    typed = [f"{name}: {kind}" for name, kind in zip(names, kinds, strict=True)]
    parameters = ["self", *(["*"] if several else []), *typed]
    arguments = [f"{name}={name}" if several else name for name in names]
    entries = [f"{string(item.spec.name)}: {item.identifier}" for item in inputs]
    run = _fit(8, "tensors = self.preprocess(", arguments, ")")
    result, tensors = f") -> {class_name}Result:", ["self", "tensors: Mapping[str, Array]"]
    return {
        "preprocess": _fit(4, "def preprocess(", parameters, ") -> dict[str, Array]:"),
        "prepare": _fit(8, "return self.prepare({", entries, "})"),
        "postprocess": _fit(4, "def postprocess(", tensors, result),
        "predict": _fit(4, "def predict(", parameters, result),
        "run": f"{run}\n        return self.postprocess(self.run(tensors))",
        "example": ", ".join(arguments),
    }


def _fit(indent: int, start: str, items: Sequence[str], end: str) -> str:
    """A call or signature on one line if it fits, or with one item on each line."""
    margin = " " * indent
    line = f"{margin}{start}{', '.join(items)}{end}"
    if len(line) <= _WIDTH:
        return line
    inner = "".join(f"{margin}    {item},\n" for item in items)
    return f"{margin}{start}\n{inner}{margin}{end}"
