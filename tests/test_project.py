"""`edgeq.toml`: its sections, and the lines that messages name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.errors import UsageError
from edgeq.project import read_project, unknown_key

TEXT = """\
# edgeq
[policy]
max_size = "1 MB"  # = is no key
accept = [
    "bench.load",
]
"drop_must_be" = 'proven'
regression.max_size_percent = 2

[policy.devices."pi@board"]
max_p50_ms = 3
[devices]
pi = { address = "ssh://pi@board", python = "x" }
"""


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_text(TEXT)
    project = read_project(path)
    expected = {
        ("policy",): 2,
        ("policy", "max_size"): 3,
        ("policy", "accept"): 4,
        ("policy", "drop_must_be"): 7,
        ("policy", "regression", "max_size_percent"): 8,
        ("policy", "devices", "pi@board"): 10,
        ("policy", "devices", "pi@board", "max_p50_ms"): 11,
        ("devices", "pi", "python"): 13,
    }
    assert {keys: project.lines.get(keys) for keys in expected} == expected
    assert project.at("policy", "accept") == f"{path}, line 4"
    assert project.at("policy", "unheard") == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policy = 3\n", "F, line 1: policy must be a table, not 3. Write it as [policy], with its "
         "keys below."),
        ("[device.pi]\n", "F, line 1: unknown section 'device'. Did you mean 'devices'? Known: "
         "[model], [data], [tune], [run], [policy], [devices], [boards], [package]."),
        ("[zzz]\n", "F, line 1: unknown section 'zzz'. Known: [model], [data], [tune], "
         "[run], [policy], [devices], [boards], [package]."),
    ],
)  # fmt: skip
def test_a_section_that_means_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_project(path)
    assert str(caught.value).replace(str(path), "F") == message


def test_what_is_no_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read as TOML: "):
        read_project(path)


def test_the_nearest_name_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_text("[policy]\nmin_sqnr = 3\n")
    error = unknown_key(read_project(path), "rule", ("policy", "min_sqnr"), ["min_sqnr_db"])
    assert error.hint == "Did you mean 'min_sqnr_db'? Known: min_sqnr_db."
