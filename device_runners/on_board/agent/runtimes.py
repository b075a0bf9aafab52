"""The installed runtimes, and interpreters made with them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

from .job import JobError

# Name, package, distributions that may contain the package; the best runtime first.
RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert", ("ai-edge-litert", "ai-edge-litert-nightly")),
    ("tflite-runtime", "tflite_runtime", ("tflite-runtime", "tflite-runtime-nightly")),
    ("tensorflow", "tensorflow", ("tensorflow", "tensorflow-cpu", "tf-nightly")),
)


def distribution_version(*names: str) -> str | None:
    """Version of the first of these distributions that is installed; None without any."""
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            return installed_version(name)
    return None


def find_runtimes() -> list[tuple[str, str]]:
    """Installed runtimes as (name, version), best first; none is imported."""
    found = []
    for name, package, distributions in RUNTIMES:
        if importlib.util.find_spec(package) is not None:
            found.append((name, distribution_version(*distributions) or "unknown"))
    return found


def import_runtime(wanted: str | None) -> tuple[Any, Any, dict[str, str]]:
    """The requested or best runtime: its Interpreter, its OpResolverType, its name and version.

    Raises:
        JobError: it is not installed, or cannot be imported.
    """
    found = find_runtimes()
    chosen = [item for item in found if wanted in (None, item[0])]
    if not chosen:
        known = ", ".join(name for name, _ in found) or "none"
        raise JobError("runtime_missing", f"{wanted or 'a runtime'} is not installed ({known} is)")
    name, version = chosen[0]
    info = {"name": name, "version": version}
    try:
        if name == "tensorflow":
            lite = importlib.import_module("tensorflow").lite
            return lite.Interpreter, lite.experimental.OpResolverType, info
        module = importlib.import_module(name.replace("-", "_") + ".interpreter")
        return module.Interpreter, module.OpResolverType, info
    except (ImportError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        message = f"{name} {version} cannot be imported: {text.splitlines()[0]}"
        raise JobError("runtime_broken", message, text) from error


def load_interpreter(
    path: str, runtime: str | None, threads: int, kernels: str = "xnnpack"
) -> tuple[Any, dict[str, str], float]:
    """An interpreter, allocated if its shapes are fixed; its runtime; ms that it took.

    Raises:
        JobError: there is no runtime, or it cannot load the model.
    """
    make, resolvers, info = import_runtime(runtime)
    options: dict[str, Any] = {"num_threads": threads}
    if kernels != "xnnpack":  # the default resolver uses XNNPACK
        kind = {"builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}[kernels]
        options["experimental_op_resolver_type"] = getattr(resolvers, kind)
    began = time.perf_counter_ns()
    try:
        interpreter = make(model_path=path, **options)
        details = interpreter.get_input_details()
        # A dynamic input must be resized first; until then its dynamic dimensions are 1.
        if not any(-1 in detail.get("shape_signature", detail["shape"]) for detail in details):
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise explain_load(str(error), info["name"], info["version"]) from error
    except SystemError as error:  # how tflite-runtime fails under numpy 2
        message = f"{info['name']} {info['version']} does not work with the installed numpy"
        text = f"numpy {distribution_version('numpy')}: {error}"
        raise JobError("runtime_broken", message, text) from error
    return interpreter, info, (time.perf_counter_ns() - began) / 1e6


def explain_load(text: str, name: str, version: str) -> JobError:
    """An error message of the runtime as a coded error."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    if "Didn't find op for builtin opcode" in text:
        return JobError("runtime_too_old", f"{name} {version} is too old: {first}", text)
    if "unresolved custom op" in text or "Select TensorFlow op" in text:
        return JobError("unsupported_op", f"{name} {version} lacks an operator: {first}", text)
    return JobError("bad_model", f"{name} {version} cannot load the model: {first}", text)
