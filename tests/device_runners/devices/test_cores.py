from __future__ import annotations

from dataclasses import replace

import pytest

from edgeq.device_runners.devices.cores import choose_cores, show_cores
from edgeq.errors import UsageError
from edgeq.values import CoreKind, DeviceFacts

BIG_LITTLE = DeviceFacts(
    "phone", "Linux", "aarch64", None, 8, None, None, "3.11", (),
    core_kinds=(CoreKind((0, 1, 2, 3), 300, 1800.0), CoreKind((4, 5, 6), 800, 2400.0),
                CoreKind((7,), 1024, 3000.0)),
)  # fmt: skip
PLAIN = replace(BIG_LITTLE, device="pi", core_kinds=(CoreKind((0, 1, 2, 3), None, 1500.0),))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        (None, ()),
        ("all", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("big", (7,)),
        ("little", (0, 1, 2, 3)),
        ("4-6", (4, 5, 6)),
        ("0,2", (0, 2)),
        ("6, 1-2,2", (1, 2, 6)),
    ],
)
def test_cores_by_kind_and_number(text: str | None, cores: tuple[int, ...]) -> None:
    assert choose_cores(BIG_LITTLE, text, 1) == cores


@pytest.mark.parametrize(
    ("text", "threads", "message"),
    [
        ("big", 1, "The 4 cores of pi (0-3) are all of the same kind, so --cores big cannot choose "
         "among them. "
         "Pass --cores all, or numbers such as --cores 0."),
        ("2-5", 1, "pi has no core 4 for --cores 2-5; it has 0-3."),
        ("0,2", 3, "--threads 3 are more than the 2 cores that --cores 0,2 names on pi (0, 2). "
         "Pass --threads 2 at most, or name more cores."),
        ("all", 5, "--threads 5 are more than the 4 cores that --cores all names on pi (0-3). "
         "Pass --threads 4 at most, or name more cores."),
        *((text, 1, f"--cores {text!r} cannot be read. Write big, little, all, or numbers such as "
           "0-3 or 0,2.") for text in ("", "fast", "3-1", "-1", "0,,1", "1-", "0-99999999999")),
    ],
)  # fmt: skip
def test_cores_that_cannot_be_had(text: str, threads: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_cores(PLAIN, text, threads)
    assert str(caught.value) == message


def test_without_a_choice_threads_may_be_many() -> None:
    assert choose_cores(PLAIN, None, 64) == ()


@pytest.mark.parametrize(
    ("cores", "shown"),
    [((), "none"), ((3,), "3"), ((0, 1), "0, 1"), ((0, 1, 2, 5, 7, 8), "0-2, 5, 7, 8")],
)
def test_ranges_are_shown_short(cores: tuple[int, ...], shown: str) -> None:
    assert show_cores(cores) == shown
