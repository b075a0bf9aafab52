"""Wheels for a board are fetched by this machine's pip, whatever its user has configured."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from edgeq.device_runners.devices import environment
from edgeq.errors import DeviceError

# Each is right for the user's machine, and wrong for wheels of another one.
OPTIONS = {
    "user": "true", "target": "elsewhere", "prefix": "elsewhere", "root": "elsewhere",
    "no-binary": ":all:", "require-virtualenv": "true", "constraint": "missing.txt",
    "requirement": "missing.txt", "platform": "win32", "python-version": "2.7",
    "implementation": "pp", "abi": "none", "require-hashes": "true", "dry-run": "true",
    "upgrade": "true", "compile": "true", "no-deps": "true", "quiet": "3",
}  # fmt: skip


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel for aarch64, and no package index."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "demo-1.0.dist-info"
    files = {
        "demo.py": "ok = True\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n"
        "Tag: cp311-cp311-manylinux_2_28_aarch64\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    with zipfile.ZipFile(folder / "demo-1.0-cp311-cp311-manylinux_2_28_aarch64.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(name, text)
    return folder


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def fetch(target: Path) -> None:
    environment._fetch(["demo==1.0"], "3.11", ["manylinux_2_28_aarch64"], target)


@pytest.mark.parametrize("section", ["global", "install"])
def test_a_file_of_pip_may_say_what_it_likes(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    lines = [f"{name} = {value}" for name, value in OPTIONS.items()]
    file = tmp_path / "pip.conf"
    file.write_text(
        f"[global]\nno-index = true\nfind-links =\n  {tmp_path / 'none'}\n  {index}\n"
        f"[{section}x]\n[{section}]\n" + "\n".join(lines) + "\n"
        if section != "global"
        else f"[global]\nno-index = true\nfind-links = {index}\n" + "\n".join(lines) + "\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    fetch(tmp_path / "site")
    assert (tmp_path / "site" / "demo.py").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_variables_of_pip_may_say_what_they_like(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OPTIONS.items():
        monkeypatch.setenv(f"PIP_{name.upper().replace('-', '_')}", value)
    monkeypatch.setenv("PIP_ISOLATED", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    fetch(tmp_path / "site")
    assert (tmp_path / "site" / "demo.py").is_file()


def test_how_to_reach_an_index_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example\nproxy = http://proxy:1\nuser = true\n"
        '[install]\nindex-url = https://b.example\ncert = it\'s "mine".pem\n'
        "[download]\nindex-url = https://c.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_PROXY", "http://proxy:2")
    found = environment._pip_environment()
    kept = {name: value for name, value in found.items() if name.startswith("PIP_")}
    assert kept == {
        "PIP_INDEX_URL": "https://b.example", "PIP_PROXY": "http://proxy:2",
        "PIP_CERT": "it's \"mine\".pem", "PIP_CONFIG_FILE": "/dev/null",
    }  # fmt: skip


def test_a_damaged_file_of_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("no section = 1\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    with pytest.raises(DeviceError, match=r"pip does not work on this machine: .*pip\.conf"):
        fetch(tmp_path / "site")


def test_what_pip_says_is_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(DeviceError) as caught:
        environment._fetch(["other==1.0"], "3.11", ["manylinux_2_28_aarch64"], tmp_path / "site")
    assert caught.value.message == (
        "pip cannot fetch other==1.0 for Python 3.11: ERROR: No matching distribution found for "
        "other==1.0."
    )
