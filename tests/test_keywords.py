"""A misspelled option of a Python function is named, with the nearest one."""

from __future__ import annotations

import pickle

import pytest

import edgeq
from edgeq.errors import UsageError


@pytest.mark.parametrize("name", [name for name in edgeq.__all__ if name != "__version__"])
def test_every_function_names_an_option_that_it_does_not_have(name: str) -> None:
    function = getattr(edgeq, name)
    with pytest.raises(UsageError) as caught:
        function(no_such_word=1)
    assert caught.value.message == f"edgeq.{name} has no option 'no_such_word'."
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"All options: help(edgeq.{name})")
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("convert", "dta", "data"),
        ("convert", "max_drop", "max_drop_points"),  # of `ConvertOptions`
        ("tune", "objectiv", "objective"),
        ("tune", "schme", "scheme"),  # of the `ConvertOptions` in `TuneOptions`
        ("bench", "thread", "threads"),
        ("compare", "no_latency", "latency"),
        ("evaluate", "worker", "workers"),
        ("make_package", "licence", "license"),
        ("gate", "polcy", "policy"),
    ],
)
def test_the_nearest_option_is_named(name: str, typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(edgeq, name)("model", "other", **{typed: 1})
    assert caught.value.hint == f"Did you mean {meant!r}? All options: help(edgeq.{name})"
