"""iOS: a Swift package with the model as a resource, a typed wrapper and golden tests.

The wrapper calls TensorFlow Lite's C interface: the Swift one has no INT8 among its data types
(`Tensor.DataType` in tensorflow/lite/swift/Sources/Tensor.swift) and throws for such a tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from edgeq.errors import PackageError
from edgeq.packaging.contract.values import Files
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.vectors import golden_files
from edgeq.packaging.targets.ios.describing import describe
from edgeq.packaging.targets.target import Target, library, templates
from edgeq.packaging.targets.tools import Tools

_PACKAGE = "edgeq.packaging.targets.ios"
_RESOURCES = "Resources"
_DEPENDENCY = re.compile(r'url:\s*"https://([^"]+?)(?:\.git)?",\s*exact:\s*"([^"]+)"')


def make_files(inputs: PackageInputs, tools: Tools) -> dict[str, bytes]:
    """The package: manifest, sources, resources, tests with the golden vectors, and a README.

    Raises:
        PackageError: an input takes several samples at a time, or a tensor is quantized in a type
            that no sample could be converted to.
    """
    names = describe(inputs)
    environment = templates(_PACKAGE)

    def render(template: str) -> bytes:
        return environment.get_template(f"{template}.jinja").render(names).encode()

    def read(name: str) -> bytes:
        return resources.files(_PACKAGE).joinpath("templates").joinpath(name).read_bytes()

    sources = f"Sources/{names['module']}"
    tests = f"Tests/{names['module']}Tests"
    return {
        "Package.swift": render("Package.swift"),
        "README.md": render("README.md"),
        f"{sources}/{names['predictor']}.swift": render("Predictor.swift"),
        f"{sources}/Numerics.swift": read("Numerics.swift"),
        f"{sources}/Runtime.swift": read("Runtime.swift"),
        **({f"{sources}/Boxes.swift": render("Boxes.swift")} if names["boxes"] else {}),
        **({f"{sources}/FrontEnd.swift": read("FrontEnd.swift")} if names["sounds"] else {}),
        f"{sources}/{_RESOURCES}/{inputs.contract.name}.tflite": inputs.model.content,
        f"{sources}/{_RESOURCES}/PrivacyInfo.xcprivacy": read("PrivacyInfo.xcprivacy"),
        f"{tests}/GoldenTests.swift": render("GoldenTests.swift"),
        **{f"{tests}/{path}": content for path, content in golden_files(inputs.golden).items()},
    }


def find_models(files: Files) -> dict[str, bytes]:
    """The model among the resources.

    Raises:
        PackageError: there is none, or more than one.
    """
    found = {
        path: content
        for path, content in files.items()
        if path.startswith("Sources/") and path.endswith(".tflite")
    }
    if len(found) != 1:
        raise PackageError(
            f"A Swift package has one model in Sources/*/{_RESOURCES}; there are {len(found)}."
        )
    return found


def _find_libraries(made: Files) -> Iterator[dict[str, Any]]:
    """The packages in Package.swift."""
    for place, version in _DEPENDENCY.findall(made["Package.swift"].decode()):
        yield library(place.split("/")[-1], f"pkg:swift/{place}@{version}", version=version)


TARGET = Target(
    title="a Swift package",
    make_files=make_files,
    find_models=find_models,
    find_libraries=_find_libraries,
)
