"""Python on a Raspberry Pi: a wheel, the same as a folder, a systemd example and a smoke test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import Requirement

from edgeq.errors import PackageError
from edgeq.escaping import json_text
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.contract.image_inputs import has_images
from edgeq.packaging.contract.values import Contract, Files
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.vectors import golden_files
from edgeq.packaging.targets.python import code
from edgeq.packaging.targets.python.wheel import Metadata, pep440, write_wheel
from edgeq.packaging.targets.target import Target, library
from edgeq.packaging.targets.tools import Tools
from edgeq.tflite import flatbuffer

# Names that would hide another module, or be hidden by it.
_TAKEN = {"ai_edge_litert", "numpy", "pil", "pip", "setuptools", "site", "test", "tflite_runtime"}
# The newest tflite-runtime, and what replaced it.
_LAST_OLD_RUNTIME = "2.14.0"
_RUNTIME = "ai-edge-litert>=2.1"
_MOST_VECTORS = 4  # a smoke test, not an evaluation


def make_files(inputs: PackageInputs, tools: Tools) -> dict[str, bytes]:
    """The wheel, the same as a folder, requirements, a service for systemd and a README.

    Raises:
        PackageError: the name is another module's, or an input takes several samples at a time.
    """
    contract = inputs.contract
    if contract.name in _TAKEN or contract.name in sys.stdlib_module_names:
        raise PackageError(
            f"The name {contract.name!r} is that of another Python module.",
            hint=f"Pass another one: --name {contract.name}_model",
        )
    for item in contract.inputs:
        if item.spec.shape[:1] != (1,):
            raise PackageError(
                f"Input {item.spec.name!r} is {item.spec.shape}: a runner takes one sample.",
                hint="Convert with --batch 1.",
            )
    needs, python = _requirements(contract)
    names = code.describe(contract, inputs.model)
    golden = replace(inputs.golden, vectors=inputs.golden.vectors[:_MOST_VECTORS])
    metadata = Metadata(
        contract.name,
        pep440(contract.version),
        f"The TensorFlow Lite model {contract.name}, with a typed runner",
        needs,
        python,
        inputs.license,
        readme="",
    )
    runtimes = _show_needs(needs)
    readme = code.render(
        "README.md.j2",
        **names,
        needs=runtimes,
        wheel=metadata.file_name,
        golden_count=len(golden.vectors),
        has_images=has_images(contract, golden),
        has_old_runtime=python == ">=3.8",
        min_runtime=contract.min_runtime_version,
    )
    modules = ["command.py", "interpreter.py", "results.py", "tensors.py"]
    modules += ["images.py"] if names["image_steps"] else []
    inside = {
        "__init__.py": code.render("init.py.j2", **names),
        "__main__.py": code.render("main.py.j2", **names),
        "runner.py": code.render("runner.py.j2", **names),
        "py.typed": b"",
        **{name: code.read(name) for name in modules},
    }
    inside |= code.shared_files(names)
    labels = code.labels_of(contract)
    if labels:
        inside["labels.json"] = (json_text(labels, indent=1) + "\n").encode()
    inside |= {f"{contract.name}.tflite": inputs.model.content, **golden_files(golden)}
    package = {f"{contract.name}/{path}": content for path, content in inside.items()}
    return {
        metadata.file_name: write_wheel(replace(metadata, readme=readme.decode()), package),
        "README.md": readme,
        "requirements.txt": "".join(f"{item}\n" for item in needs).encode(),
        f"{contract.name}.service": code.render("service.j2", **names),
        **package,
    }


def _show_needs(needs: Sequence[str]) -> str:
    """Other distributions as text."""
    runtimes = "numpy and ai-edge-litert"
    if any(item.startswith("tflite-runtime") for item in needs):
        runtimes += " (or tflite-runtime)"
    if any(item.startswith("pillow") for item in needs):
        runtimes = f"{runtimes.replace(' and', ',')}, and Pillow to prepare images"
    return runtimes


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


def find_models(files: Files) -> dict[str, bytes]:
    """The model in the wheel and in the folder.

    Raises:
        PackageError: one of them is missing, or there is not exactly one wheel.
    """
    wheels = [path for path in files if path.endswith(".whl") and "/" not in path]
    if len(wheels) != 1:
        raise PackageError(f"There are {len(wheels)} wheels instead of one.")
    (wheel,) = wheels
    name = PurePosixPath(wheel).name.split("-")[0]
    path = f"{name}/{name}.tflite"
    found = {}
    for place, inside in ((path, files), (f"{wheel}!{path}", read_zip(files[wheel], wheel))):
        if path not in inside:
            raise PackageError(f"{place} is missing.")
        found[place] = inside[path]
    return found


def _find_libraries(made: Files) -> Iterator[dict[str, Any]]:
    """Distributions in requirements.txt; of two lines for one, the first is for newer Pythons."""
    seen = set()
    for line in made["requirements.txt"].decode().splitlines():
        requirement = Requirement(line)
        if requirement.name in seen:
            continue
        seen.add(requirement.name)
        versions = "|".join(sorted(map(str, requirement.specifier)))
        more = {"versionRange": f"vers:pypi/{versions}", "isExternal": True} if versions else {}
        yield library(requirement.name, f"pkg:pypi/{requirement.name}", **more)


TARGET = Target(
    title="a wheel and a folder for a Raspberry Pi",
    make_files=make_files,
    find_models=find_models,
    find_libraries=_find_libraries,
)
