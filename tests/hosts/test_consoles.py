"""Consoles and pipes whose encoding lacks characters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq.cli import cli

_COMMANDS = """
import json, sys
from edgeq.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as ended:
        print("status", ended.code, flush=True)
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_every_command_prints_where_characters_cannot_be_encoded(
    encoding: str, tmp_path: Path, record_files: dict[str, Path], int8_mobilenet: Path
) -> None:
    model = shutil.copy(int8_mobilenet, tmp_path / "modèle→.tflite")
    helps = [[name, "--help"] for name in cli.list_commands(None)]
    rest = [["show", *map(str, record_files.values())], ["inspect", str(model)], ["doctor"]]
    wrong = [["inspect", str(tmp_path / "→é")]]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, json.dumps([*helps, *rest, *wrong])],
        env=environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"status 0") == len(helps) + len(rest)
    assert done.stdout.count(b"status 1") == len(wrong)
    named = {"cp1252": b"->\xe9 does not", "ascii": "→é does not".encode()}
    assert named[encoding] in done.stderr  # click prints UTF-8 where Python prints ASCII


def test_json_is_utf8_whatever_the_pipe_is(tmp_path: Path, int8_mobilenet: Path) -> None:
    model = shutil.copy(int8_mobilenet, tmp_path / "modèle→.tflite")
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, json.dumps([["inspect", str(model), "--json"]])],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=True,
    )  # fmt: skip
    record = json.loads(done.stdout.decode("utf-8").partition("status")[0])
    assert "modèle→.tflite" in json.dumps(record, ensure_ascii=False)
