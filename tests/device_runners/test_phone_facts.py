"""Facts from the output of a phone's shell, in the spelling of kernel and Android."""

from __future__ import annotations

import pytest

from edgeq.device_runners.devices import android_shell
from edgeq.device_runners.on_board.agent import health
from edgeq.values import CoreKind

THERMAL = """Thermal Status: 3
Cached temperatures:
\tTemperature{mValue=88.0, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.0, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=43.5, mType=0, mName=CPU1, mStatus=0}
\tTemperature{mValue=70.0, mType=1, mName=GPU0, mStatus=0}
"""


def test_present_temperatures_go_before_cached_ones() -> None:
    assert health.android_heat(THERMAL) == 43.5
    assert health.android_heat(THERMAL.partition("HAL Ready")[0]) == 88.0
    assert health.android_heat("") is None


@pytest.mark.parametrize(
    ("text", "states"),
    [
        (THERMAL, ["thermal status severe"]),
        ("Thermal Status: 0", []),
        ("Thermal Status: 6", ["thermal status shutdown"]),
        ("Can't find service: thermalservice", None),
    ],
)
def test_the_status_is_named(text: str, states: list[str] | None) -> None:
    assert health.android_states(text) == states


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        # Capacities: four little cores, three big ones, a prime one.
        ("0 250 1800000\n1 250 1800000\n4 900 2400000\n5 900 2400000\n7 1024 3000000",
         [((0, 1), 250, 1800.0), ((4, 5), 900, 2400.0), ((7,), 1024, 3000.0)]),
        ("0 0 1800000\n1 0 2400000", [((0,), None, 1800.0), ((1,), None, 2400.0)]),
        ("0 0 0\n1 0 0", [((0, 1), None, None)]),
        ("", []),
    ],
)  # fmt: skip
def test_cores_by_kind(text: str, kinds: list[tuple[tuple[int, ...], int, float]]) -> None:
    assert android_shell.read_core_kinds(text) == tuple(CoreKind(*kind) for kind in kinds)
