"""The description of a target, which packages are made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeq.packaging.contract.values import Files
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.tools import Tools
from edgeq.tflite.model_file import ModelFile

APACHE = [{"license": {"id": "Apache-2.0"}}]


def _accept(model: ModelFile) -> None:
    """Refuse no model."""


@dataclass(frozen=True)
class Target:
    """A kind of package.

    Attributes:
        title: what comes out.
        make_files: path inside the package to content; one of them is a README.md.

            Raises `PackageError` when the model cannot be packaged for it.
        find_models: path of each place that holds the model, e.g. "x.aar!assets/x.tflite", to the
            bytes there, so that `verify` can prove that every copy is the measured model.

            Raises `PackageError` when a file that should hold it is missing or damaged.
        find_libraries: what the code in these files depends on, each made by `library`.
        check_model: raises `PackageError` for a model that the target cannot run, before any work.
        takes_metadata: whether the shipped file gets TensorFlow Lite's standard metadata.
        has_metadata_readers: whether apps read those with MediaPipe and ML Kit, whose limits a
            user then has to know.
        runs_model: whether `make_files` runs the model.
        unversioned_runtime: the runtime, when it is not TensorFlow Lite with its releases.
        forms: layouts that `PackageInputs.form` can request, the default first; none when there is
            only one.
    """

    title: str
    make_files: Callable[[PackageInputs, Tools], dict[str, bytes]]
    find_models: Callable[[Files], dict[str, bytes]]
    find_libraries: Callable[[Files], Iterable[dict[str, Any]]]
    check_model: Callable[[ModelFile], None] = _accept
    takes_metadata: bool = True
    has_metadata_readers: bool = False
    runs_model: bool = False
    unversioned_runtime: str | None = None
    forms: tuple[str, ...] = ()


def templates(package: str, folder: str = "templates") -> Environment:
    """The templates in a folder of a target's package; an undefined name is an error."""
    return Environment(
        loader=PackageLoader(package, folder),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )


def library(name: str, purl: str, **more: Any) -> dict[str, Any]:
    """A library as a component of CycloneDX 1.7.

    Args:
        purl: package URL.
        more: further fields, e.g. `version`, `licenses`.
    """
    return {"type": "library", "bom-ref": purl, "name": name, "purl": purl, **more}
