"""The choice among the routes of onnx2tf."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edgeq.children.serving import CallError
from edgeq.converters.lowering.onnx_child import _GOOD_DB, _with_way_out
from edgeq.converters.lowering.onnx_routes import Made, choose


def lower(
    results: dict[str, float | str], good_db: float = _GOOD_DB
) -> tuple[str, list[str], list[str]]:
    """The chosen route, the notes, and the routes tried; each has an SQNR, or fails."""
    tried: list[str] = []

    def make(route: str) -> Made:
        tried.append(route)
        found = results[route]
        if isinstance(found, str):
            raise CallError("LoweringError", found)
        return Made(Path(route), [0], [], found)

    routes = {route: lambda route=route: make(route) for route in results}
    route, made, notes = choose(routes, good_db)
    assert made.path == Path(route)
    return route, notes, tried


@pytest.mark.parametrize(
    ("results", "route", "note", "tried"),
    [
        ({"a": 60.0, "b": 140.0}, "a", None, "a"),
        ({"a": 59.9, "b": 140.0}, "b", "lowered by b; a has 60 dB instead of 140.", "ab"),
        ({"a": 48.0, "b": 30.0}, "a", "lowered by a; b has 30 dB instead of 48.", "ab"),
        ({"a": 48.0, "b": math.inf}, "b", "lowered by b; a has 48 dB instead of inf.", "ab"),
        ({"a": 48.0}, "a", None, "a"),
        ({"a": "It broke.", "b": 61.0, "c": 90.0}, "b", "lowered by b; a failed: It broke.", "ab"),
        (
            {"a": "It broke.", "b": 48.0, "c": "It is wrong.", "d": 50.0},
            "d",
            "lowered by d; a failed: It broke; c failed: It is wrong; b has 48 dB instead of 50.",
            "abcd",
        ),
    ],
)
def test_the_first_good_route_is_taken_else_the_best(
    results: dict[str, float | str], route: str, note: str | None, tried: str
) -> None:
    assert lower(results) == (route, [note] if note else [], list(tried))


def test_outputs_of_8_bits_are_good_at_any_sqnr() -> None:
    assert lower({"a": 20.0, "b": 90.0}, -math.inf) == ("a", [], ["a"])


def test_the_error_is_that_of_the_first_route_with_what_to_install() -> None:
    with pytest.raises(CallError, match="It broke"):
        lower({"a": "It broke.", "b": "It is wrong."})
    plain, hinted = (
        _with_way_out(CallError("LoweringError", "It broke.", hint), ["flatbuffer_direct"])
        for hint in (None, "Look.")
    )
    assert plain.hint is not None and plain.hint.startswith("Another backend of onnx2tf may")
    assert plain.hint.endswith(' -m pip install "onnx2tf[tensorflow]".')
    assert hinted.hint == f"Look. {plain.hint}"
