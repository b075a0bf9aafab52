"""The generated code of a package: what the templates beside this file are filled with."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.escaping import markdown
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.values import Contract, InputContract, OutputContract
from edgeq.packaging.targets.python.literals import string
from edgeq.packaging.targets.python.wheel import pep440
from edgeq.tflite import flatbuffer
from edgeq.values import Preprocessing, TensorSpec

_WIDTH = 100
# What the generated module, or a program beside it, imports: a class of that name gets another.
_TAKEN = {"Array", "ArrayLike", "Image", "Input", "Mapping", "Output", "Path", "Runner", "Scores"}


def render(template: str, **context: Any) -> bytes:
    """A template of this folder, filled in."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(literal=string, document=document)
    return environment.get_template(template).render(**context).encode()


def read(name: str) -> bytes:
    """A file of this folder that goes into every package as it is."""
    return resources.files(__package__).joinpath(name).read_bytes()


def describe(contract: Contract, model: bytes) -> dict[str, Any]:
    """All that the templates ask for."""
    class_name = naming.pascal(contract.name)
    if class_name in _TAKEN:
        class_name += "Model"
    inputs = [_describe_input(item) for item in contract.inputs]
    outputs = [_describe_output(place, item) for place, item in enumerate(contract.outputs)]
    steps = {step.split("(")[0] for item in inputs for step in item["step_list"]}
    return {
        "name": contract.name,
        "version": contract.version,
        "python_version": pep440(contract.version),
        "sha256": hashlib.sha256(model).hexdigest(),
        "signature": _signature(model),
        "class_name": class_name,
        "inputs": inputs,
        "outputs": outputs,
        "input_names": ", ".join(markdown(item.spec.name) for item in contract.inputs),
        "has_labels": any(item.labels for item in contract.outputs),
        "image_steps": sorted(steps - {"bgr"}),
        "tensor_names": _tensor_names(outputs, "bgr" in steps),
        **_methods(class_name, contract.inputs),
    }


def uses_pillow(contract: Contract) -> bool:
    """Whether an image is resized or made grey, which no numpy does as Pillow does it."""
    declared = [item.preprocessing for item in contract.inputs]
    return any(item is not None and (item.resize or item.channels == "gray") for item in declared)


def _tensor_names(outputs: Sequence[dict[str, Any]], has_bgr: bool) -> list[str]:
    scores = ["Scores"] if any(item["is_labelled"] for item in outputs) else []
    return ["Array", "Input", "Output", *scores, *(["bgr"] if has_bgr else [])]


def _signature(model: bytes) -> str | None:
    """The signature whose names the contract has; see `flatbuffer.interface`."""
    for item in flatbuffer.parse(model, "the model").signatureDefs or ():
        if item.subgraphIndex == 0:
            return flatbuffer.text(item.signatureKey)
    return None


# ---------------------------------------------------------------- inputs and outputs


def _describe_input(item: InputContract) -> dict[str, Any]:
    declared = item.preprocessing or Preprocessing()
    steps = [f"resize({declared.resize[0]}, {declared.resize[1]})"] if declared.resize else []
    steps += [declared.channels] if declared.channels != "rgb" else []
    settings = _settings(item.spec)
    if steps:
        settings["steps"] = f"({', '.join(steps)}{',' if len(steps) == 1 else ''})"
    plain = Preprocessing()
    numbers = {"factor": "scale", "offset": "offset", "mean": "mean", "std": "std"}
    for key, attribute in numbers.items():
        value = getattr(declared, attribute)
        if value != getattr(plain, attribute):
            settings[key] = repr(value)
    shown = None
    if item.preprocessing is not None:
        shown = format_preprocessing(replace(item.preprocessing, input=None))
    sample = _show_sample(item, declared)
    return {
        "identifier": item.identifier,
        "step_list": steps,
        "settings": settings,
        "sample": sample,
        "takes_pixels": bool(steps),
        "steps": shown and f"`{shown}`",
        "text": f"{sample}; {shown or 'no preprocessing'}.",
    }


def _show_sample(item: InputContract, declared: Preprocessing) -> str:
    shape = item.spec.shape[1:]
    if item.image is not None and (declared.resize or declared.channels != "rgb"):
        channels = "3, RGB" if item.image[2] == 3 else "3, RGB, or x 1"
        size = "any size" if declared.resize else f"{shape[0]} x {shape[1]}"
        return f"image of {size} as uint8, height x width x {channels}"
    kind = "real values" if item.spec.scales or item.spec.dtype == "float32" else item.spec.dtype
    return f"{kind} of shape {shape}"


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
    parameters = ["self", *(["*"] if several else []), *(f"{name}: ArrayLike" for name in names)]
    arguments = [f"{name}={name}" if several else name for name in names]
    entries = [f"{string(item.spec.name)}: {item.identifier}" for item in inputs]
    prepared = _fit(8, "return self.prepare({", entries, "})")
    run = _fit(8, "tensors = self.preprocess(", arguments, ")")
    return {
        "preprocess": _fit(4, "def preprocess(", parameters, ") -> dict[str, Array]:"),
        "prepare": prepared,
        "postprocess": _fit(
            4,
            "def postprocess(",
            ["self", "tensors: Mapping[str, Array]"],
            f") -> {class_name}Result:",
        ),
        "predict": _fit(4, "def predict(", parameters, f") -> {class_name}Result:"),
        "run": f"{run}\n        return self.postprocess(self.run(tensors))",
        "example": ", ".join(f"{name}={name}" if several else name for name in names),
    }


def _fit(indent: int, start: str, items: Sequence[str], end: str) -> str:
    """A call or signature on one line where it fits, else an item on each."""
    margin = " " * indent
    line = f"{margin}{start}{', '.join(items)}{end}"
    if len(line) <= _WIDTH:
        return line
    inner = "".join(f"{margin}    {item},\n" for item in items)
    return f"{margin}{start}\n{inner}{margin}{end}"
