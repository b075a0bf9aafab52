"""Python on a Raspberry Pi: a wheel, the same as a folder, a systemd example and a smoke test."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from edgeq.errors import PackageError
from edgeq.escaping import json_text
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.contract.image_inputs import has_images
from edgeq.packaging.contract.values import Contract, Files, Ingredients
from edgeq.packaging.golden.vectors import golden_files
from edgeq.packaging.targets.python import code
from edgeq.packaging.targets.python.wheel import Metadata, pep440, write_wheel
from edgeq.tflite import flatbuffer

# Names that would hide another module, or be hidden by it.
_TAKEN = {"ai_edge_litert", "numpy", "pil", "pip", "setuptools", "site", "test", "tflite_runtime"}
# The newest tflite-runtime there is, and what its releases need.
_LAST_OLD_RUNTIME = "2.14.0"
_RUNTIME = "ai-edge-litert>=2.1"
_MOST_VECTORS = 4  # a smoke test, not an evaluation
_PARTS = ("command.py", "interpreter.py", "tensors.py")


def make_files(ingredients: Ingredients) -> dict[str, bytes]:
    """See `Target`."""
    contract = ingredients.contract
    _require_packable(contract)
    needs, python = _requirements(contract)
    module = code.describe(contract, ingredients.model)
    golden = replace(ingredients.golden, vectors=ingredients.golden.vectors[:_MOST_VECTORS])
    metadata = Metadata(
        contract.name,
        pep440(contract.version),
        f"The TensorFlow Lite model {contract.name}, with a typed runner",
        needs,
        python,
        ingredients.license,
        readme="",
    )
    readme = code.render(
        "README.md.j2",
        **module,
        needs=_names(needs),
        wheel=metadata.file_name,
        golden_count=len(golden.vectors),
        has_images=has_images(contract, golden),
        has_old_runtime=python == ">=3.8",
        min_runtime=contract.min_runtime_version,
    )
    inside = {
        **_sources(contract, module),
        f"{contract.name}.tflite": ingredients.model,
        **golden_files(golden),
    }
    package = {f"{contract.name}/{path}": content for path, content in inside.items()}
    wheel = write_wheel(replace(metadata, readme=readme.decode()), package)
    return {
        metadata.file_name: wheel,
        "README.md": readme,
        "requirements.txt": "".join(f"{item}\n" for item in needs).encode(),
        f"{contract.name}.service": code.render("service.j2", **module),
        **package,
    }


def _sources(contract: Contract, module: Mapping[str, object]) -> dict[str, bytes]:
    images = ("images.py",) if module["image_steps"] else ()
    files = {
        "__init__.py": code.render("init.py.j2", **module),
        "__main__.py": code.render("main.py.j2", **module),
        "runner.py": code.render("runner.py.j2", **module),
        "py.typed": b"",
        **{name: code.read(name) for name in (*_PARTS, *images)},
    }
    labels = {item.spec.name: item.labels for item in contract.outputs if item.labels}
    if labels:
        files["labels.json"] = (json_text(labels, indent=1) + "\n").encode()
    return files


def _require_packable(contract: Contract) -> None:
    if contract.name in _TAKEN or contract.name in sys.stdlib_module_names:
        raise PackageError(
            f"A Python package {contract.name!r} would stand in the way of another module of that "
            "name.",
            hint=f"Name it otherwise: --name {contract.name}_model",
        )
    for item in contract.inputs:
        if item.spec.shape[:1] != (1,):
            raise PackageError(
                f"Input {item.spec.name!r} is {item.spec.shape}: a runner takes one sample.",
                hint="Convert with --batch 1.",
            )


def _requirements(contract: Contract) -> tuple[list[str], str]:
    """Other distributions, and the versions of Python."""
    needed = contract.min_runtime_version
    newest = flatbuffer.release(_LAST_OLD_RUNTIME)
    pillow = ["pillow>=9.1"] if code.uses_pillow(contract) else []
    if needed is not None and flatbuffer.release(needed) > newest:
        return [_RUNTIME, "numpy>=1.21", *pillow], ">=3.10"
    return [
        f'{_RUNTIME}; python_version >= "3.10"',
        'tflite-runtime>=2.13; python_version < "3.10"',
        'numpy>=1.21; python_version >= "3.10"',
        'numpy>=1.21,<2; python_version < "3.10"',  # as tflite-runtime was built
        *pillow,
    ], ">=3.8"


def _names(needs: list[str]) -> str:
    found = "numpy and ai-edge-litert"
    if any(item.startswith("tflite-runtime") for item in needs):
        found += " (or tflite-runtime)"
    if any(item.startswith("pillow") for item in needs):
        found = f"{found.replace(' and', ',')}, and Pillow to prepare images"
    return found


def find_models(files: Files) -> dict[str, bytes]:
    """See `Target`."""
    wheels = [path for path in files if path.endswith(".whl") and "/" not in path]
    if len(wheels) != 1:
        raise PackageError(f"There are {len(wheels)} wheels, not one.")
    (wheel,) = wheels
    name = PurePosixPath(wheel).name.split("-")[0]
    path = f"{name}/{name}.tflite"
    inside = read_zip(files[wheel], wheel)
    found = {path: files.get(path), f"{wheel}!{path}": inside.get(path)}
    for place, content in found.items():
        if content is None:
            raise PackageError(f"{place} is missing.")
    return {place: content for place, content in found.items() if content is not None}
