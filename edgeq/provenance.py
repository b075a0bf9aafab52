"""Describe the machine and the versions that made a record."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from edgeq.errors import UsageError
from edgeq.values import Provenance
from edgeq.version import VERSION

# Packages that influence the bytes of a model, or the figures of a run on this machine.
_TOOLS = (
    "ai-edge-litert",
    "keras",
    "litert-torch",
    "numpy",
    "onnx2tf",
    "tensorflow",
    "tf_keras",
    "tflite-runtime",
    "torch",
)


def describe_here() -> Provenance:
    """This process, now; the moment is `SOURCE_DATE_EPOCH`'s where that is set.

    Raises:
        UsageError: `SOURCE_DATE_EPOCH` is not a number.
    """
    return replace(_environment(), created=_now())


def _now() -> str:
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        moment = datetime.now(timezone.utc)
    elif text.isdecimal():
        moment = datetime.fromtimestamp(int(text), timezone.utc)
    else:
        raise UsageError(
            f"SOURCE_DATE_EPOCH must be a number of seconds since 1970, not {text!r}.",
            hint="Unset it.",
        )
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1)
def _environment() -> Provenance:
    tools = []
    for name in _TOOLS:
        try:
            tools.append((name, version(name)))
        except PackageNotFoundError:
            continue
    system = f"{platform.system()} {platform.release()}"
    fields = (VERSION, platform.python_version(), system, platform.machine(), *tools)
    digest = hashlib.sha256(repr(fields).encode()).hexdigest()
    return Provenance(
        created="",
        edgeq=VERSION,
        python=platform.python_version(),
        system=system,
        machine=platform.machine(),
        tools=tuple(tools),
        environment_sha256=digest,
    )
