"""What is wrong in a policy is said with its line, before any record is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.errors import UsageError
from edgeq.gating.parsing import read_policy


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "edgeq.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_policy(path)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), "F")


@pytest.mark.parametrize("rule", [
    "max_drop_points = 1" + "0" * 400, "max_float_islands = 1" + "0" * 400,
    f"max_size = '{'9' * 400} MB'", "max_drop_points = 1e301", "max_drop_points = nan",
])  # fmt: skip
def test_a_number_that_no_float_holds_is_refused(rule: str, tmp_path: Path) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_text(f"[policy]\n{rule}\n")
    with pytest.raises(UsageError, match=f"line 2: {rule.split(maxsplit=1)[0]} must be "):
        read_policy(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[polcy]\nmin_sqnr_db = 1\n",
         "F, line 1: unknown section 'polcy'. Did you mean 'policy'? Known: [model], [data], "
         "[tune], [run], [policy], [devices], [boards], [package]."),
        ("[policy]\nmax_drop_point = 1\n",
         "F, line 2: unknown rule 'max_drop_point'. Did you mean 'max_drop_points'? Known: "
         "max_drop_points, min_accuracy, min_sqnr_db, max_lost_parts, max_size, max_float_islands, "
         "runs_on, fit, min_speedup, max_peak_memory, max_arena, drop_must_be, speed_must_be, "
         "accept, "
         "[devices], [metrics], [regression]."),
        ("[policy]\n\nmax_size = 300\n",
         "F, line 3: max_size must be a size in quotes with one of B, kB, MB, GB, KiB, MiB, GiB, "
         'such as "300 kB", not 300. For example: max_size = "300 kB"'),
        ("[policy]\nmax_drop_points = -1\n",
         "F, line 2: max_drop_points must be a number that is 0 or more, not -1. For example: "
         "max_drop_points = 0.5"),
        ("[policy]\nruns_on = 2.1\n",
         'F, line 2: runs_on must be a TensorFlow release in quotes, such as "2.14", not 2.1. For '
         'example: runs_on = "2.14"'),
        ("[policy.devices.pi4]\nmax_p55_ms = 1\n",
         "F, line 2: unknown rule 'max_p55_ms'. Did you mean 'max_p50_ms'? Known: max_p50_ms, "
         "max_p90_ms, max_p99_ms, max_init_ms, min_speedup, max_peak_memory, max_arena."),
        ("[policy]\ndevices = 3\n",
         "F, line 2: devices must be a table, not 3. Write [policy.devices.NAME], with its rules "
         "below."),
        ("[policy]\nmin_sqnr_db = 1\ndrop_must_be = 'sure'\n",
         "F, line 3: drop_must_be must be 'proven' or 'not-disproven', not 'sure'."),
        ("[policy]\nmin_sqnr_db = 1\nspeed_must_be = 'prooven'\n",
         "F, line 3: speed_must_be must be 'proven' or 'not-disproven', not 'prooven'. Did you "
         "mean 'proven'?"),
        ("[policy]\nmax_p50_ms = 1\n",
         "F, line 2: max_p50_ms is not allowed in [policy]. It belongs in [policy.devices.NAME]."),
        ("[policy.devices.pi4]\naccept = []\n",
         "F, line 2: accept is not allowed in [policy.devices.pi4]. It belongs in [policy]."),
        ("[policy]\nmin_sqnr_db = 1\n[policy.devices.pi4]\n",
         "F, line 3: [policy.devices.pi4] has no rule. Rules there are max_p50_ms, max_p90_ms, "
         "max_p99_ms, max_init_ms, min_speedup, max_peak_memory, max_arena."),
        ("[policy]\nmin_accuracy = 0.9\n",
         "F, line 2: min_accuracy must be per cent, above 1 and at most 100, not 0.9. For example: "
         "min_accuracy = 90"),
        ("[policy]\nmin_sqnr_db = true\n",
         "F, line 2: min_sqnr_db must be a number, not True. For example: min_sqnr_db = 25"),
        ("[policy]\nmin_sqnr_db = 1\naccept = ['bench.emulated']\n",
         "F, line 3: bench.emulated is an error, and only warnings can be accepted."),
        ("[policy]\naccept = []\n",
         "The [policy] of F has no rule, so every model would pass. Rules are max_drop_points, "
         "min_accuracy, min_sqnr_db, max_lost_parts, max_size, max_float_islands, runs_on, "
         "fit, min_speedup, max_peak_memory, max_arena, and tables [policy.metrics.NAME], "
             "[policy.devices.NAME] and [policy.regression]."),
        ("[devices.pi4]\naddress = 'x'\n",
         "F has no [policy]. Add one, such as: [policy] and max_drop_points = 0.5"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text) == message


def test_a_code_with_a_typo_has_a_guess(tmp_path: Path) -> None:
    text = "[policy]\nmin_sqnr_db = 1\naccept = ['bench.laod']\n"
    assert "unknown code 'bench.laod'. Did you mean 'bench.load'? " in refused(tmp_path, text)


def test_broken_toml_and_a_missing_file_are_said(tmp_path: Path) -> None:
    assert refused(tmp_path, "[policy\n").startswith("F cannot be read as TOML: ")
    with pytest.raises(UsageError) as caught:
        read_policy(tmp_path / "new/none.toml")
    assert str(caught.value) == (
        f"{tmp_path}/new/none.toml does not exist. `edgeq init MODEL` writes one; or write two "
        "lines into it: [policy] and below it max_drop_points = 0.5"
    )


def test_limits_keep_their_lines_and_words(tmp_path: Path) -> None:
    path = tmp_path / "edgeq.toml"
    path.write_text(
        '[policy]\nmax_drop_points = 1\nmax_size = "1.5 MiB"\n\n[policy.devices."pi 4"]\n'
        "max_p50_ms = 12\n[policy.regression]\nmax_p50_percent = 5\n"
    )
    policy = read_policy(path)
    assert [(item.name, item.value, item.shown, item.line) for item in policy.limits] == [
        ("max_drop_points", 1.0, "at most 1 point", 2),
        ("max_size", 1572864.0, "at most 1.5 MiB", 3),
        ("devices.pi 4.max_p50_ms", 12.0, "at most 12 ms", 6),
        ("regression.max_p50_percent", 5.0, "at most 5 %", 8),
    ]
    assert (policy.drop_must_be, policy.speed_must_be) == ("proven", "not-disproven")
