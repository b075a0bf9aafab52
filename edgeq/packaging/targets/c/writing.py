"""From the ingredients to the files."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeq.errors import PackageError
from edgeq.packaging.contract.image_inputs import has_images
from edgeq.packaging.contract.values import Ingredients
from edgeq.packaging.golden import vectors as golden
from edgeq.packaging.targets.c import literals, operators
from edgeq.packaging.targets.c.tensors import describe_input, describe_output
from edgeq.packaging.targets.c.tflite_micro import Measured
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import having

# More flash than this has no board that runs such models; the text would be six times as long.
MOST_MODEL_BYTES = 16 << 20

# Names that mean something else in C++, beyond its keywords: namespaces that the code uses, and
# macros of common headers and of compilers.
_TAKEN = frozenset(
    [
        "std",
        "tflite",
        "linux",
        "unix",
        "i386",
        "mips",
        "sparc",
        "errno",
        "stdin",
        "stdout",
        "stderr",
        "near",
        "far",
        "small",
    ]
)

_WITH_STATE = having("stateful")

_KIBIBYTE = 1024
# No header of a system or of an application is called so, and no two packages have one together:
# time.h would hide the system's, and x_model.h could be that of x or of x_model.
_STEM = "edgeq_{}"
_TEMPLATES = {
    **{
        name: f"{{}}_{name}"
        for name in ("model.h", "model.cc", "package.h", "package.cc", "golden.h", "golden_test.cc")
    },
    "CMakeLists.txt": "CMakeLists.txt",
    "README.md": "README.md",
}


def make_files(ingredients: Ingredients) -> dict[str, bytes]:
    """See `edgeq.packaging.targets.Target`; it also runs the model, to measure its arena.

    Raises:
        MissingExtraError: tflite-micro, which measures, is not installed.
        PackageError: the model is too large, has operators without a kernel, or computes something
            else there.
        SourceError: it is empty or damaged.
    """
    contract = ingredients.contract
    flatbuffer.parse(ingredients.model, contract.model.path)
    if len(ingredients.model) > MOST_MODEL_BYTES:
        raise PackageError(
            f"{contract.model.path} has {len(ingredients.model) / 1e6:.1f} MB; a microcontroller's "
            f"flash holds no model above {MOST_MODEL_BYTES >> 20} MiB.",
            hint="Make it smaller: --scheme int8, or fewer and narrower layers.",
        )
    operators.require_supported(name for name, _ in contract.operators)
    measured = measure(ingredients)
    environment = Environment(
        loader=PackageLoader("edgeq.packaging.targets.c"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    known = _known(ingredients, measured)
    return {
        f"src/{path.format(known['stem'])}": environment.get_template(name).render(known).encode()
        for name, path in _TEMPLATES.items()
    }


def measure(ingredients: Ingredients) -> Measured:
    """Run the golden vectors in the microcontroller's runtime, and hold it to their outputs.

    Raises:
        MissingExtraError: it is not installed.
        PackageError: it refuses the model, or its outputs are further away than desktop kernels'.
    """
    contract, vectors = ingredients.contract, ingredients.golden.vectors
    samples = [[vector.inputs[item.spec.name] for item in contract.inputs] for vector in vectors]
    measured = ingredients.tools.measure_arena(
        ingredients.model, samples, len(contract.outputs), contract.model.path
    )
    names = [item.spec.name for item in contract.outputs]
    problems = []
    for vector, outputs in zip(vectors, measured.outputs, strict=True):
        given = dict(zip(names, outputs, strict=True))
        problems += golden.check_vector(vector, given, ingredients.golden.tolerances)
    if problems:
        raise PackageError(
            f"tflite-micro {measured.version} computes something else from "
            f"{contract.model.path} than TensorFlow Lite: {problems[0]}.",
            hint="Convert the model again with --scheme fp32: where that is accepted, one of the "
            "integer kernels there is the reason, and --keep-float finds out which.",
            details="\n".join(problems),
        )
    return measured


def arena_with_margin(least: int) -> int:
    """An eighth more than measured, at least 1 KiB, in whole KiB.

    Optimised kernels (CMSIS-NN, ESP-NN) ask for scratch memory that those measured do without.
    """
    return -(-(least + max(least // 8, _KIBIBYTE)) // _KIBIBYTE) * _KIBIBYTE


def namespace(name: str) -> str:
    """The C++ namespace inside `edgeq` for a package of this name."""
    return f"{name}_model" if name in _TAKEN else name


def _known(ingredients: Ingredients, measured: Measured) -> dict[str, Any]:
    """What the templates know."""
    contract, vectors = ingredients.contract, ingredients.golden.vectors
    names = [name for name, _ in contract.operators]
    return {
        "name": contract.name,
        "guard": f"EDGEQ_{contract.name.upper()}",
        "stem": _STEM.format(contract.name),
        "namespace": namespace(contract.name),
        "version": contract.version,
        "license": " ".join((ingredients.license or "").split()),
        "sha256": contract.model.sha256,
        "model_bytes": len(ingredients.model),
        "model_text": literals.octets(ingredients.model),
        "model_crc32": literals.number(np.uint32(zlib.crc32(ingredients.model))),
        "string": literals.string,
        "operators": names,
        "methods": [operators.METHODS[name] for name in names],
        "has_variables": "VAR_HANDLE" in names,
        "has_state": bool(_WITH_STATE & set(names)),
        "leaves_camera": any(
            how is not None and (how.resize is not None or how.channels == "gray")
            for how in (item.preprocessing for item in contract.inputs)
        ),
        "has_images": has_images(contract, ingredients.golden),
        "arena_bytes": arena_with_margin(measured.arena_bytes),
        "arena_measured": measured.arena_bytes,
        "arena_recorded": measured.recorded_bytes,
        "runtime": measured.version,
        "inputs": [
            describe_input(place, item, vectors) for place, item in enumerate(contract.inputs)
        ],
        "outputs": [
            describe_output(place, item, ingredients.golden)
            for place, item in enumerate(contract.outputs)
        ],
        "indices": [vector.index for vector in vectors],
    }
