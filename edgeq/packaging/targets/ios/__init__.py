"""iOS: a Swift package with the model as a resource, a typed wrapper and golden tests.

The wrapper calls TensorFlow Lite's C interface: the Swift one has no INT8 among its data types
(`Tensor.DataType` in tensorflow/lite/swift/Sources/Tensor.swift) and throws for such a tensor.
"""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeq.errors import PackageError
from edgeq.packaging.contract.values import Files, Ingredients
from edgeq.packaging.golden.vectors import golden_files
from edgeq.packaging.targets.ios.describing import describe

_PACKAGE = "edgeq.packaging.targets.ios"
_RESOURCES = "Resources"


def make_files(ingredients: Ingredients) -> dict[str, bytes]:
    """The package: manifest, sources, resources, tests with the golden vectors, and a README.

    Raises:
        PackageError: an input takes several samples at a time, or a tensor is quantized in a type
            that no sample could be turned into.
    """
    names = describe(ingredients)
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )

    def render(template: str) -> bytes:
        return environment.get_template(f"{template}.jinja").render(names).encode()

    sources = f"Sources/{names['module']}"
    tests = f"Tests/{names['module']}Tests"
    return {
        "Package.swift": render("Package.swift"),
        "README.md": render("README.md"),
        f"{sources}/{names['predictor']}.swift": render("Predictor.swift"),
        f"{sources}/Numerics.swift": _static("Numerics.swift"),
        f"{sources}/Runtime.swift": _static("Runtime.swift"),
        f"{sources}/{_RESOURCES}/{ingredients.contract.name}.tflite": ingredients.model,
        f"{sources}/{_RESOURCES}/PrivacyInfo.xcprivacy": _static("PrivacyInfo.xcprivacy"),
        f"{tests}/GoldenTests.swift": render("GoldenTests.swift"),
        **{
            f"{tests}/{path}": content for path, content in golden_files(ingredients.golden).items()
        },
    }


def _static(name: str) -> bytes:
    return resources.files(_PACKAGE).joinpath("templates").joinpath(name).read_bytes()


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
