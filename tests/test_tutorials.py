"""The tutorials, as a reader follows them: each file is written, each command is run, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import run_edgeq
from tests.device_runners.boards import SSHD, USER, start_sshd
from tests.house import ROOT

BLOCK = re.compile(r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```$', re.M | re.S)
# edgeq's commands in less time; pages of docs/ that show the same commands run without these.
SHORT = ["--min-time", "0.05", "--max-time", "0.05"]
BRIEF = {"convert": ["--effort", "fast"], "bench": SHORT, "compare": SHORT}


@dataclass(frozen=True)
class Block:
    """A block of a page: a command with its output, or a file to write."""

    kind: str
    title: str
    text: str


def read_page(name: str) -> list[Block]:
    text = (ROOT / "docs" / "tutorials" / name).read_text()
    return [Block(*found) for found in BLOCK.findall(text)]


def follow(name: str, folder: Path, replaced: dict[str, str], **environment: str) -> str:
    """Write the files and run the commands of a page; the output of the last command."""
    output = ""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), **environment}
    for block in read_page(name):
        if block.title:
            (folder / block.title).write_text(block.text)
        lines = block.text.splitlines() if block.kind == "console" else []
        for command in (line.removeprefix("$ ") for line in lines if line.startswith("$ ")):
            done = run(command, folder, replaced, environment)
            output = done.stdout
            assert done.returncode == 0, f"{command}\n{output}\n{done.stderr}"
    return output


def run(
    command: str, folder: Path, replaced: dict[str, str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    for shown, here in replaced.items():
        command = command.replace(shown, here)
    words = shlex.split(command)
    if words[0] == "edgeq":
        words[2:2] = BRIEF.get(words[1], [])
        return run_edgeq(*words[1:], cwd=folder, **environment)
    return subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, check=False, capture_output=True,
        text=True, timeout=280,
    )  # fmt: skip


def test_from_training_to_the_phone(tmp_path: Path) -> None:
    output = follow("phone.md", tmp_path, {})
    assert output.splitlines()[-1].startswith("PASS: release is consistent")
    readme = (tmp_path / "release" / "README.md").read_text()
    shown = [block.text for block in read_page("phone.md") if block.kind == "kotlin"]
    assert len(shown) == 2
    for text in shown:
        lines = text.removeprefix("import edgeq.garments.GarmentsModel\n\n")
        assert f"```kotlin\n{lines}```" in readme, readme
    assert "`edgeq.garments.GarmentsModel`" in readme
    assert (tmp_path / "release" / "garments-1.0.0.aar").is_file()


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A board at raspberrypi.local: an sshd on this machine, and clients configured for it.

    Its Python and its pip have the packages of this environment instead of those from an index.
    """
    if not Path(SSHD).exists():
        pytest.skip("sshd is not installed")
    home = tmp_path / "home"
    home.mkdir()
    board = start_sshd(
        tmp_path / "board", home / "cache", settings=["Subsystem sftp internal-sftp"],
        HOME=str(home), PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", PIP_NO_DEPS="1",
        PIP_NO_INDEX="1", PYTHONPATH=sysconfig.get_path("purelib"),
    )  # fmt: skip
    config = tmp_path / "desk" / ".ssh" / "config"  # edgeq finds it by HOME, ssh does not
    config.parent.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    config.write_text(
        f"Host raspberrypi.local\n  HostName 127.0.0.1\n  Port {board.port}\n"
        f"  IdentityFile {board.folder / 'key'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {board.folder / 'known_hosts'}\n"
    )
    for program in ("ssh", "scp"):
        script = tmp_path / "bin" / program
        script.write_text(f'#!/bin/sh\nexec /usr/bin/{program} -F {config} "$@"\n')
        script.chmod(0o755)
    yield {
        "pi@raspberrypi.local": f"{USER}@raspberrypi.local",
        "/home/pi": str(home),
        "devices add pi ": f"devices add pi --python {sys.executable} ",
    }
    board.stop()


def test_from_training_to_the_pi(tmp_path: Path, pi: dict[str, str]) -> None:
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = follow("pi.md", tmp_path / "desk", pi, PATH=path)
    (shown,) = re.findall(r"listen\.py .*window\.npy\n(.*), \d+%\n", read_page("pi.md")[-1].text)
    assert re.fullmatch(rf"{shown}, \d+%\n", output)  # trainings differ from machine to machine
