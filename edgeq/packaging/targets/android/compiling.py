"""Class files of generated Java, with the JDK of this machine, the same bytes each time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from edgeq.errors import PackageError
from edgeq.files import scratch
from edgeq.packaging.container.archive import write_zip
from edgeq.packaging.contract.values import Files

# Java keeps counters in a file of /tmp, whatever TMPDIR says.
_QUIET = "-J-XX:-UsePerfData"
# Every Android runs release 8, and it excludes what a newer JDK has added.
_OPTIONS = (
    _QUIET,
    *("--release", "8", "-Xlint:-options", "-encoding", "UTF-8", "-proc:none"),
    *("-g:source,lines", "-implicit:none", "-sourcepath", "api", "-d", "classes"),
)
_SECONDS = 300
# The signatures that generated classes are compiled against; none of them gets into a jar.
_API = (
    "android/content/Context.java",
    "android/content/res/AssetFileDescriptor.java",
    "android/content/res/AssetManager.java",
    "android/graphics/Bitmap.java",
    "org/tensorflow/lite/DataType.java",
    "org/tensorflow/lite/Interpreter.java",
    "org/tensorflow/lite/Tensor.java",
)
# Options that a shell or a build server adds would change the bytes.
_FOREIGN = ("JDK_JAVAC_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


def make_jar(sources: Files) -> bytes:
    """A jar with the classes of sources that call Android and LiteRT, without those two.

    Args:
        sources: path of a source file from the root of its package, to its text.

    Raises:
        PackageError: there is no compiler here, or it fails.
    """
    compiler = _find_compiler()
    with scratch.folder() as folder:
        _write(folder / "sources", sources)
        stubs = resources.files("edgeq.packaging.targets.android") / "stubs"
        api = {path: stubs.joinpath(*path.split("/")).read_bytes() for path in _API}
        _write(folder / "api", api)
        (folder / "classes").mkdir()
        version = _run([compiler, _QUIET, "-version"], folder)
        _run([compiler, *_OPTIONS, *(f"sources/{path}" for path in sorted(sources))], folder)
        classes = {
            path.relative_to(folder / "classes").as_posix(): path.read_bytes()
            for path in (folder / "classes").rglob("*.class")
        }
    number = re.search(r"\d+", version)
    # Maven's name for it. The patch release is left out: it does not change classes.
    made_by = f"Build-Jdk-Spec: {number.group() if number else 'unknown'}\r\n"
    manifest = f"Manifest-Version: 1.0\r\nCreated-By: edgeq\r\n{made_by}\r\n"
    return write_zip({"META-INF/MANIFEST.MF": manifest.encode(), **classes})


def _find_compiler() -> str:
    """The JDK that Gradle would take: that of JAVA_HOME, or else the one on the PATH."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=str(Path(home, "bin"))) if home else None
    found = found or shutil.which("javac")
    if found is None:
        raise PackageError(
            "There is no javac, which is needed to compile the classes of the AAR.",
            hint="Install a JDK, 11 or newer: sudo apt-get install default-jdk-headless",
        )
    return found


def _run(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8",
            errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode:
        raise PackageError(
            f"{command[0]} does not compile the generated classes.",
            hint="Install JDK 11 or newer.",
            details=done.stdout + done.stderr,
        )
    return done.stdout + done.stderr


def _write(folder: Path, files: Files) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
