"""The layouts for build systems, each compiled by g++ as its build system would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edgeq.children.other_python import OtherPython
from edgeq.errors import UsageError
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container.writing import write_package
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.targets import find_target
from edgeq.packaging.targets.c import writing
from edgeq.packaging.targets.c.forms import FORMS, slug
from edgeq.packaging.verification import all_checks
from edgeq.packaging.verification.requests import Job
from tests.packaging.conftest import Here
from tests.packaging.targets.c.test_c import ingredients

__all__ = ["ingredients"]

GOLDEN = "fmnist 1.0.0: 4 samples, 0 checks failed\n"
# Stand-ins, written for the tests, for what a build system brings along.
ARDUINO_H = """
struct Port {
  void begin(long) {}
  explicit operator bool() const { return true; }
  void print(const char*) {}
  void println(int failed) { failed_checks = failed; }
  int failed_checks = -1;
};
extern Port Serial;
void setup();
void loop();
"""
ARDUINO_MAIN = """
#include <Arduino.h>
Port Serial;
int main() { setup(); loop(); return Serial.failed_checks; }
"""
CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(build LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 17)
function(idf_component_register)
  cmake_parse_arguments(OWN "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  add_library(component STATIC ${OWN_SRCS})
  target_include_directories(component PUBLIC ${OWN_INCLUDE_DIRS})
  target_compile_definitions(component PRIVATE ESP_PLATFORM=1)
  set(COMPONENT_LIB component PARENT_SCOPE)
endfunction()
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC)
  target_compile_definitions(${name} PRIVATE __ZEPHYR__=1)
endmacro()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  foreach(folder ${ARGN})
    target_include_directories(${ZEPHYR_CURRENT_LIBRARY} PUBLIC
                               ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
  endforeach()
endfunction()
"""
MAIN = """
#include <edgeq_fmnist_package.h>
int main() { return edgeq::fmnist::GoldenTest(); }
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def made(
    tflite_micro: OtherPython, ingredients: PackageInputs
) -> Mapping[str, Mapping[str, bytes]]:
    """The package in each form; the arena is measured once."""
    measured = writing.measure(ingredients, LOCAL_TOOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "measure", lambda inputs, tools: measured)
        return {
            form: find_target("c").make_files(replace(ingredients, form=form), LOCAL_TOOLS)
            for form in FORMS
        }


def unpack(files: Mapping[str, bytes], folder: Path) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_sources_are_the_same_in_every_form(
    made: Mapping[str, Mapping[str, bytes]], form: str
) -> None:
    plain, other = made["cmake"], made[form]
    assert set(other) - set(plain) == set(FORMS[form].values())
    assert {path for path in plain if plain[path] != other[path]} <= {"src/README.md"}
    assert find_target("c").find_models(other) == find_target("c").find_models(plain)


def test_arduino(made: Mapping[str, Mapping[str, bytes]], tmp_path: Path) -> None:
    """All of src/ is compiled, only src/ is on the path, and main() is Arduino's."""
    library = unpack(made["arduino"], tmp_path / "edgeq_fmnist")
    lines = (library / "library.properties").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "url"} <= set(found)
    assert all(found.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", found["name"])
    assert (library / "src" / found["includes"]).is_file()
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cc").write_text(ARDUINO_MAIN)
    sketch = library / "examples" / "GoldenTest" / "GoldenTest.ino"
    (tmp_path / "sketch.cc").write_text(f"#include <Arduino.h>\n{sketch.read_text()}")
    run(
        "g++", "-std=gnu++17", "-DARDUINO=10819", f"-I{tmp_path}", f"-I{library / 'src'}",
        *sorted(library.rglob("src/*.cc")), "main.cc", "sketch.cc", "-o", "program",
        cwd=tmp_path,
    )  # fmt: skip
    assert run("./program", cwd=tmp_path) == GOLDEN


def test_platformio(made: Mapping[str, Mapping[str, bytes]], tmp_path: Path) -> None:
    library = unpack(made["platformio"], tmp_path / "lib")
    manifest = json.loads((library / "library.json").read_text())
    assert manifest["name"] == "edgeq-fmnist" and manifest["version"] == "1.0.0"
    assert manifest["license"] == "Apache-2.0"
    assert (library / "src" / manifest["headers"]).is_file()
    (tmp_path / "main.cc").write_text(MAIN)
    run(
        "g++", *manifest["build"]["flags"], f"-I{library / 'src'}",
        *sorted((library / "src").glob("*.cc")), "main.cc", "-o", "program", cwd=tmp_path,
    )  # fmt: skip
    assert run("./program", cwd=tmp_path) == GOLDEN


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.parametrize(
    ("form", "folder", "library"),
    [("esp-idf", ".", "component"), ("zephyr", "zephyr", "edgeq_fmnist")],
)
def test_with_cmake(
    made: Mapping[str, Mapping[str, bytes]], tmp_path: Path, form: str, folder: str, library: str
) -> None:
    """By the functions that the build system offers, here as stand-ins."""
    unpack(made[form], tmp_path / "package")
    (tmp_path / "main.cc").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        f"{CMAKE}set(CONFIG_EDGEQ_FMNIST y)\nadd_subdirectory(package/{folder})\n"
        f"add_executable(program main.cc)\ntarget_link_libraries(program {library})\n"
    )
    run("cmake", "-S", ".", "-B", "build", cwd=tmp_path)
    run("cmake", "--build", "build", cwd=tmp_path)
    assert run("build/program", cwd=tmp_path) == GOLDEN


def test_manifests_are_yaml(made: Mapping[str, Mapping[str, bytes]]) -> None:
    component = yaml.safe_load(made["esp-idf"]["idf_component.yml"])
    assert component["version"] == "1.0.0" and component["license"] == "Apache-2.0"
    assert component["dependencies"] == {
        "espressif/esp-tflite-micro": {"version": "*", "require": "public"}
    }
    module = yaml.safe_load(made["zephyr"]["zephyr/module.yml"])
    assert module == {
        "name": "edgeq_fmnist",
        "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"},
    }
    assert b"config EDGEQ_FMNIST\n\tbool " in made["zephyr"]["zephyr/Kconfig"]


def test_verify_makes_the_same_form_again(
    tflite_micro: OtherPython, int8_mobilenet: Path, tmp_path: Path
) -> None:
    made = make_package(int8_mobilenet, "c", vectors=1, form="zephyr")
    assert made.manifest.form == "zephyr" and "zephyr/Kconfig" in made.files
    place = tmp_path / "package.zip"
    write_package(made.files, place)
    judged = all_checks.prove(Job(str(place), None, ()), Here())
    (code,) = [check for check in judged.checks if check.name == "code"]
    assert code.verdict == "pass", code


@pytest.mark.parametrize(
    ("name", "slugged"),
    [("fmnist", "edgeq-fmnist"), ("a__b_", "edgeq-a-b"), ("x" * 90, "edgeq-" + "x" * 44)],
)
def test_names_for_platformio(name: str, slugged: str) -> None:
    assert slug(name) == slugged


@pytest.mark.parametrize(
    ("target", "hint"),
    [("c", "cmake, arduino, esp-idf, zephyr, platformio"), ("python", "Remove --form")],
)
def test_an_unknown_form(int8_mobilenet: Path, target: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"Target {target} has no form 'keil'") as caught:
        make_package(int8_mobilenet, target, form="keil")
    assert hint in str(caught.value.hint)
