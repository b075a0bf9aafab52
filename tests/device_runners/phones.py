"""A real adb server on a separate port, and endpoints on loopback as its devices."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.device_runners.boards import answers, free_port, wait_until

HERE = Path(__file__).parent
STAND_IN = HERE / "stand_in_benchmark_model.py"
# All tools of a phone's shell; toybox and mksh are Android's own if they are installed.
TOOLS = (
    "cat", "chmod", "cp", "df", "find", "grep", "head", "id", "kill", "mkdir", "mv", "nproc", "od",
    "rm", "sha256sum", "sleep", "tail", "taskset", "uname", "wc",
)  # fmt: skip
SHELL = shutil.which("mksh") or "/bin/sh"
THERMAL = """IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.0, mType=0, mName=CPU0, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{{mValue=51.5, mType=0, mName=CPU0, mStatus=0}}
\tTemperature{{mValue=49.0, mType=0, mName=CPU1, mStatus=0}}
\tTemperature{{mValue=33.1, mType=3, mName=SKIN, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=TYPE_CPU}}"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def stand_in(path: Path, python: str = sys.executable) -> Path:
    """The stand-in for benchmark_model, as a program."""
    return program(path, f"#!{python}\n{STAND_IN.read_text()}")


@dataclass
class Endpoint:
    """A running adbd.py.

    Attributes:
        folder: temporary folder of the device.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        """The cache of a phone without Python."""
        return self.folder / f"edgeq-{os.getuid()}"

    def left(self) -> list[Path]:
        """Files that runs left behind there."""
        return [path for name in ("jobs", "incoming") for path in (self.root / name).glob("*")]

    def thermal(self, status: int) -> None:
        """Set the status that its thermal service reports."""
        text = THERMAL.format(status=status)
        program(self.folder / "programs" / "dumpsys", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class AdbServer:
    """A running adb server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    endpoints: list[Endpoint] = field(default_factory=list)

    def adb(self, *words: str) -> str:
        """The answer of adb, which would start another server if ours has ended."""
        if self.process.poll() is not None:
            return ""
        done = subprocess.run(
            ["adb", "-P", str(self.port), *words], capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(self.folder)},
        )  # fmt: skip
        return done.stdout + done.stderr

    def attach(self, port: int, state: str = "device") -> str:
        """Let it connect to a port, as often as it takes; the serial."""
        serial = f"127.0.0.1:{port}"

        def is_there() -> bool:
            if f"{serial}\t{state}" in self.adb("devices"):
                return True
            self.adb("disconnect", serial)
            self.adb("connect", serial)
            return f"{serial}\t{state}" in self.adb("devices")

        wait_until(is_there)
        return serial

    def start_endpoint(self, folder: Path, *options: str, **variables: str) -> Endpoint:
        """A device; its variables are its whole environment."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        given = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "HOME": str(folder),
                 "XDG_CACHE_HOME": str(folder / "cache"), **variables}  # fmt: skip
        words = [f"{name}={value}" for name, value in given.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "adbd.py"), str(port), *options, *words],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        made = Endpoint(folder, port, process)
        self.endpoints.append(made)
        wait_until(lambda: answers(port))
        return made

    def start_phone(self, folder: Path) -> Endpoint:
        """One with a phone's tools, and without Python."""
        programs = folder / "programs"
        programs.mkdir(parents=True)
        box = shutil.which("toybox")
        for name in TOOLS:
            (programs / name).symlink_to(box or shutil.which(name) or f"/bin/{name}")
        (programs / "sh").symlink_to(SHELL)
        answers_of = 'ro.product.model) echo "Pretend 9";; ro.build.version.release) echo 15;;'
        program(programs / "getprop", f"#!/bin/sh\ncase $1 in {answers_of} esac\n")
        made = self.start_endpoint(folder, PATH=str(programs), SHELL=SHELL)
        made.thermal(0)
        self.attach(made.port)
        return made

    def forget(self) -> None:
        """Take all devices away; the server may still be connecting to one that was cut off."""
        while self.endpoints:
            self.endpoints.pop().stop()

        def is_empty() -> bool:
            self.adb("disconnect")
            return "\t" not in self.adb("devices")

        wait_until(is_empty)

    def stop(self) -> None:
        self.forget()
        self.process.kill()
        self.process.wait()


def start_server(folder: Path) -> AdbServer:
    """Start a separate adb server; the user's, on 5037, is left alone."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed")
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["adb", "-P", str(port), "nodaemon", "server"], stdout=log, stderr=log,
            env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    wait_until(lambda: answers(port))
    return AdbServer(folder, port, process)


def programs(phone: Endpoint) -> list[int]:
    """Running stand-ins of a phone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"python" in words[0] and f"--graph={phone.root}".encode() in b" ".join(words):
                found.append(int(path.parent.name))
    return found


def pause() -> None:
    """For a cable that is pulled and put back."""
    time.sleep(0.3)
