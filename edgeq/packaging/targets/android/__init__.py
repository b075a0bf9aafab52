"""Android: an AAR, and the same as a Gradle module.

The AAR holds compiled classes, so that whoever adds it gets a class to call. That takes a JDK when
a package is made: everyone who builds for Android has one, since Gradle needs it, and class files
from anywhere else could not be reviewed. What the compiler writes depends on its release alone.
"""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgeq.errors import PackageError
from edgeq.packaging.container.archive import read_zip, write_zip
from edgeq.packaging.contract.values import Files, Ingredients
from edgeq.packaging.targets.android.describing import Names, describe
from edgeq.packaging.targets.android.vectors import golden_assets

_MODULE_ASSETS = "module/src/main/assets/"
_AAR_ASSETS = "assets/"
_MODEL = ".tflite"


def make_files(ingredients: Ingredients) -> dict[str, bytes]:
    """The AAR, its POM, the module and a README.

    Raises:
        PackageError: an input takes several samples at a time, there are more labels than a class
            can hold, or there is no Java compiler.
    """
    names = describe(ingredients)
    names["vectors"], assets = golden_assets(ingredients.golden, names)
    render = _renderer(names)
    asset, model, rules = names["asset"], ingredients.model, render("consumer-rules.pro")
    sources = {
        f"{names['folder']}/{name}.java": render(f"{kind}.java")
        for kind, name in names["classes"].items()
    }
    place = f"{_AAR_ASSETS}{asset}"
    aar = {
        "AndroidManifest.xml": render("AndroidManifest.xml"),
        "R.txt": b"",
        "classes.jar": ingredients.tools.compile_java(sources),
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
        **{f"module/src/androidTest/assets/{path}": content for path, content in assets.items()},
        **_rest_of_module(names, render),
    }


def _renderer(names: Names) -> Callable[[str], bytes]:
    environment = Environment(
        loader=PackageLoader("edgeq.packaging.targets.android", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )

    def render(template: str) -> bytes:
        return environment.get_template(f"{template}.jinja").render(names).encode()

    return render


def _rest_of_module(names: Names, render: Callable[[str], bytes]) -> dict[str, bytes]:
    folder, kotlin = names["folder"], names["kotlin_class"]
    return {
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
    found = {
        path: content
        for path, content in files.items()
        if path.startswith(_MODULE_ASSETS) and path.endswith(_MODEL)
    }
    if not found:
        raise PackageError(f"{_MODULE_ASSETS} holds no model.")
    archives = [path for path in files if path.endswith(".aar") and "/" not in path]
    if not archives:
        raise PackageError("The AAR is missing.")
    for path in archives:
        inside = {
            f"{path}!{name}": content
            for name, content in read_zip(files[path], path).items()
            if name.startswith(_AAR_ASSETS) and name.endswith(_MODEL)
        }
        if not inside:
            raise PackageError(f"{path} holds no model.")
        found.update(inside)
    return found
