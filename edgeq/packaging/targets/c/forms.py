"""The layouts in which build systems of microcontrollers take the sources.

All have the sources in `src/`, and files around it that the build system asks for:

- "arduino": the Arduino library specification, rev. 2.2 (arduino/arduino-cli,
  docs/library-specification.md): library.properties, src/, examples/SKETCH/SKETCH.ino.
- "esp-idf": Component Files and the idf_component.yml manifest file (ESP-IDF component manager
  documentation, reference/component_files and reference/manifest_file).
- "zephyr": Modules, "Module integration files (in-module)" (Zephyr documentation,
  develop/modules): zephyr/module.yml, zephyr/CMakeLists.txt, zephyr/Kconfig.
- "platformio": library.json (PlatformIO documentation, manifests/library-json); sources in src/
  are its default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LONGEST_SLUG = 50  # of a library's name in PlatformIO

# Form to templates, each with the path of its file in the package.
FORMS: Mapping[str, Mapping[str, str]] = {
    "cmake": {},
    "arduino": {
        "arduino_library.properties": "library.properties",
        "arduino_GoldenTest.ino": "examples/GoldenTest/GoldenTest.ino",
    },
    "esp-idf": {
        "esp_idf_CMakeLists.txt": "CMakeLists.txt",
        "esp_idf_component.yml": "idf_component.yml",
    },
    "zephyr": {
        "zephyr_module.yml": "zephyr/module.yml",
        "zephyr_CMakeLists.txt": "zephyr/CMakeLists.txt",
        "zephyr_Kconfig": "zephyr/Kconfig",
    },
    "platformio": {"platformio_library.json": "library.json"},
}


def slug(name: str) -> str:
    """A package's name as PlatformIO takes it: a-z, digits and single dashes."""
    return re.sub("[^a-z0-9]+", "-", f"edgeq-{name}".lower())[:_LONGEST_SLUG].strip("-")
