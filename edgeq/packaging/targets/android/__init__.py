"""Android: an AAR, and the same as a Gradle module.

The AAR has compiled classes, which an app can call at once. That takes a JDK when a package is
made: everyone who builds for Android has one, since Gradle needs it, and class files from anywhere
else could not be reviewed. The compiler's output depends only on its release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeq.errors import PackageError
from edgeq.packaging.container.archive import read_zip, write_zip
from edgeq.packaging.contract.values import Files
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets.android.describing import describe
from edgeq.packaging.targets.android.vectors import golden_assets
from edgeq.packaging.targets.target import APACHE, Target, library, templates
from edgeq.packaging.targets.tools import Tools

_MODULE_ASSETS = "module/src/main/assets/"
_AAR_ASSETS = "assets/"
_DEPENDENCY = re.compile(
    r"<dependency>\s*<groupId>(.*?)</groupId>\s*<artifactId>(.*?)</artifactId>\s*"
    r"<version>(.*?)</version>"
)


def make_files(inputs: PackageInputs, tools: Tools) -> dict[str, bytes]:
    """The AAR, its POM, the module and a README.

    Raises:
        PackageError: an input takes several samples at a time, there are more labels than a class
            can have, or there is no Java compiler.
    """
    names = describe(inputs)
    names["vectors"], test_assets = golden_assets(inputs.golden, names)
    environment = templates("edgeq.packaging.targets.android")

    def render(template: str) -> bytes:
        return environment.get_template(f"{template}.jinja").render(names).encode()

    asset, model, rules = names["asset"], inputs.model.content, render("consumer-rules.pro")
    folder, kotlin = names["folder"], names["kotlin_class"]
    sources = {
        f"{folder}/{name}.java": render(f"{kind}.java") for kind, name in names["classes"].items()
    }
    place = f"{_AAR_ASSETS}{asset}"
    aar = {
        "AndroidManifest.xml": render("AndroidManifest.xml"),
        "R.txt": b"",
        "classes.jar": tools.compile_java(sources),
        "proguard.txt": rules,
        place: model,
    }
    return {
        names["aar"]: write_zip(aar, stored=(place,)),
        names["pom"]: render("pom.xml"),
        "README.md": render("README.md"),
        f"{_MODULE_ASSETS}{asset}": model,
        "module/consumer-rules.pro": rules,
        **{f"module/src/main/java/{path}": content for path, content in sources.items()},
        **{
            f"module/src/androidTest/assets/{path}": content
            for path, content in test_assets.items()
        },
        "module/build.gradle.kts": render("build.gradle.kts"),
        # The namespace is in Gradle's file; a package name here as well would be an error.
        "module/src/main/AndroidManifest.xml": b"<manifest />\n",
        f"module/src/main/kotlin/{folder}/{kotlin}.kt": render("KotlinModel.kt"),
        f"module/src/androidTest/java/{folder}/GoldenTest.java": render("GoldenTest.java"),
    }


def find_models(files: Files) -> dict[str, bytes]:
    """The model in the AAR and in the module.

    Raises:
        PackageError: one of them is missing, or the AAR is damaged.
    """
    found = _models_in(files, _MODULE_ASSETS)
    if not found:
        raise PackageError(f"{_MODULE_ASSETS} holds no model.")
    archives = [path for path in files if path.endswith(".aar") and "/" not in path]
    if not archives:
        raise PackageError("The AAR is missing.")
    for path in archives:
        inside = _models_in(read_zip(files[path], path), _AAR_ASSETS)
        if not inside:
            raise PackageError(f"{path} holds no model.")
        found.update({f"{path}!{name}": content for name, content in inside.items()})
    return found


def _models_in(files: Files, folder: str) -> dict[str, bytes]:
    return {
        path: content
        for path, content in files.items()
        if path.startswith(folder) and path.endswith(".tflite")
    }


def _find_libraries(made: Files) -> Iterator[dict[str, Any]]:
    """The dependencies in the POM."""
    for path, content in made.items():
        if path.endswith(".pom"):
            for group, artifact, version in _DEPENDENCY.findall(content.decode()):
                purl = f"pkg:maven/{group}/{artifact}@{version}"
                yield library(artifact, purl, group=group, version=version, licenses=APACHE)


TARGET = Target(
    title="an AAR, and the same as a Gradle module",
    make_files=make_files,
    find_models=find_models,
    find_libraries=_find_libraries,
    has_metadata_readers=True,
)
