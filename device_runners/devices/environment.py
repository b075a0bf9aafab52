"""A runtime for a board: wheels for its Python and its processor, fetched here, unpacked there.

The board needs no network, no pip and no venv module. Nothing of the board's own Python changes:
the environment is in edgeq's cache there.
"""

from __future__ import annotations

import configparser
import gzip
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeq.children.child import Child
from edgeq.errors import DeviceError, unknown_name
from edgeq.files import scratch
from edgeq.values import RuntimeInfo

_FETCH_S = 900.0
_PIP_HINT = "This machine needs pip and a package index; the board needs neither."
# The part of its user's configuration that says how pip reaches a package index.
_PIP_KEPT = {
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST",
    "PIP_PROXY", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES",
    "PIP_RESUME_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_KEYRING_PROVIDER",
    "PIP_USE_FEATURE",
}  # fmt: skip


@dataclass(frozen=True)
class Wheels:
    """The wheels of a runtime.

    Attributes:
        release: to install if this machine has none to match.
        requirements: beside the runtime itself.
        oldest, newest: Python's minor versions that it has wheels for.
        machines: as the board calls them.
    """

    release: str
    requirements: tuple[str, ...]
    oldest: int
    newest: int
    machines: tuple[str, ...]


RUNTIMES: Mapping[str, Wheels] = {
    "ai-edge-litert": Wheels("2.3.0", (), 10, 14, ("x86_64", "aarch64")),
    "tflite-runtime": Wheels("2.14.0", ("numpy<2",), 9, 11, ("x86_64", "aarch64")),
}


def release_of(runtime: str) -> RuntimeInfo:
    """The release to bring to a board: this machine's own, which makes outputs comparable."""
    try:
        return RuntimeInfo(runtime, version(runtime))
    except PackageNotFoundError:
        return RuntimeInfo(runtime, RUNTIMES[runtime].release)


def choose(name: str, board: Mapping[str, Any], runtime: str | None) -> RuntimeInfo:
    """The runtime to bring to a board.

    Args:
        name: of the board, in messages.
        board: the keeper's hello.
        runtime: a name of `RUNTIMES`; by default the first that has wheels for the board.

    Raises:
        UsageError: an unknown runtime.
        DeviceError: there are no wheels for the board.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    library = board["libc"][0]
    if library != "glibc":
        raise DeviceError(
            f"No runtime can be set up on {name}: its C library is "
            f"{library or 'one that it does not name'}, and all runtimes have wheels for glibc "
            "alone.",
            hint="Use a system with glibc there (Debian, Ubuntu, Raspberry Pi OS), or build a "
            "runtime there and name its interpreter with --python.",
        )
    reasons = []
    for item in RUNTIMES if runtime is None else (runtime,):
        reason = _why_not(item, board)
        if reason is None:
            return release_of(item)
        reasons.append(reason)
    raise DeviceError(
        f"No runtime can be set up on {name}: {'; '.join(reasons)}.",
        hint="Install one there by hand, and name its interpreter with --python.",
    )


def _why_not(runtime: str, board: Mapping[str, Any]) -> str | None:
    wheels = RUNTIMES[runtime]
    major, minor, _ = board["version"]
    release = board["libc"][1]
    machine = _machine(board)
    if machine not in wheels.machines:
        return f"{runtime} has no wheels for {machine}"
    if major != 3 or not wheels.oldest <= minor <= wheels.newest:
        return (
            f"{runtime} has wheels for Python 3.{wheels.oldest} to 3.{wheels.newest}, and it has "
            f"Python {major}.{minor}"
        )
    if _minor(release) < 17:
        found = f"glibc {release}" if release else "a glibc that does not say its release"
        return f"{runtime} has wheels for glibc 2.17 or newer, and it has {found}"
    return None


def _machine(board: Mapping[str, Any]) -> str:
    """A 64-bit kernel may run a 32-bit userland, as Raspberry Pi OS does."""
    if board["machine"] == "aarch64" and not board["is_64_bit"]:
        return "armv7l"
    name: str = board["machine"]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


def _minor(release: str) -> int:
    return int(release.split(".")[1]) if release.startswith("2.") else 0


def platforms(board: Mapping[str, Any]) -> list[str]:
    """The wheel tags that fit a board, newest first; pip takes each literally (PEP 600)."""
    machine, newest = _machine(board), _minor(board["libc"][1])
    return [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 16, -1)] + [
        f"manylinux2014_{machine}"
    ]


def make_archive(runtime: RuntimeInfo, board: Mapping[str, Any], archive: Path) -> None:
    """Fetch a runtime for a board with this machine's pip, and pack it.

    Args:
        board: the keeper's hello.

    Raises:
        DeviceError: pip cannot fetch it.
    """
    major, minor, _ = board["version"]
    with scratch.folder() as folder:
        requirements = [f"{runtime.name}=={runtime.version}", *RUNTIMES[runtime.name].requirements]
        _fetch(requirements, f"{major}.{minor}", platforms(board), folder)
        _pack(folder, archive)


def _fetch(requirements: Sequence[str], python: str, tags: Sequence[str], target: Path) -> None:
    """Fetch wheels for another machine with this machine's pip, and unpack them into a folder."""
    status, _, errors = _run_pip(
        [
            "install", "--quiet", "--no-compile", "--only-binary=:all:", "--no-warn-conflicts",
            "--implementation", "cp", "--python-version", python, "--target", str(target),
            *(word for tag in tags for word in ("--platform", tag)), *requirements,
        ],
        _pip_environment(),
    )  # fmt: skip
    if status != 0:
        last = [line for line in errors.splitlines() if line.startswith("ERROR")]
        raise DeviceError(
            f"pip cannot fetch {requirements[0]} for Python {python}: "
            f"{(last or errors.splitlines() or ['it printed nothing'])[-1]}.",
            hint=_PIP_HINT,
            details=errors,
        )


def _run_pip(arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Run this machine's pip with these variables; status, output, errors."""
    empty = {name: "" for name in os.environ if name.startswith("PIP_")}  # pip ignores empty ones
    with Child(
        ["-m", "pip", "--disable-pip-version-check", *arguments],
        folders=None,
        environment={**empty, **variables, "PIP_NO_INPUT": "1"},
        output="pipe",
        deadline_s=_FETCH_S,
    ) as child:
        printed, status = "".join(child.lines()), child.wait()
        if child.is_late:
            raise DeviceError(f"pip did not end within {_FETCH_S:g} s: {arguments[-1]}.")
        return status, printed, child.log()


def _pip_environment() -> dict[str, str]:
    """The user's settings for reaching an index, and no other ones.

    The user's files and variables may also say where and how packages are installed on this machine
    (user, prefix, no-binary, require-virtualenv and more); pip refuses that for another machine.
    """
    own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    files = configparser.RawConfigParser(strict=False)
    files.read(_pip_files(own.get("PIP_CONFIG_FILE")), "utf-8")
    chosen = {}
    for section in ("global", "install"):  # the later one counts, as for pip
        for key, value in files.items(section) if files.has_section(section) else ():
            chosen["PIP_" + key.removeprefix("--").upper().replace("-", "_")] = value
    kept = {name: value for name, value in {**chosen, **own}.items() if name in _PIP_KEPT}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def _pip_files(file: str | None) -> list[str]:
    """The configuration files that pip reads, by increasing priority.

    `pip config list` cannot be used: with `user` in a file, it lists the user's file only.

    Args:
        file: named by the variable PIP_CONFIG_FILE.
    """
    if file == os.devnull:
        return []
    # A file may make pip quiet.
    command, variables = ["config", "debug", "-vvvv"], {"PIP_CONFIG_FILE": file or ""}
    status, printed, said = _run_pip(command, variables)
    if status != 0:
        # The last lines name the damaged file.
        last = " ".join(said.splitlines()[-4:]).strip().rstrip(".") or "it printed nothing"
        raise DeviceError(
            f"pip does not work on this machine: {last}.", hint=_PIP_HINT, details=said
        )
    found: dict[str, list[str]] = {}
    kind = ""
    for line in printed.splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            kind = match[1]
        elif match := re.fullmatch(r"  (.+), exists: True", line):
            found.setdefault(kind, []).append(match[1])
    return [path for kind in ("global", "user", "site", "env") for path in found.get(kind, ())]


def _pack(folder: Path, archive: Path) -> None:
    """Pack a folder; the same content gives the same bytes, so that it is sent once."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        return entry

    with (
        archive.open("wb") as stream,
        gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if "__pycache__" not in path.parts and path.is_file():
                tar.add(path, str(path.relative_to(folder)), filter=plain)
