"""Corrections of dense layers small enough to be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeq.converters.corrections import rounding
from edgeq.converters.corrections.reference import Reference
from edgeq.converters.corrections.worker import correct_tree
from edgeq.tflite import flatbuffer
from tests.tiny_models import INT8, Operator, graph, model, operator, schema, tensor

INT32 = schema.TensorType.INT32
Array = np.ndarray


def dense(
    weights: Sequence[Array], scales: Sequence[float] | None = None, steps: Sequence[Any] = ()
) -> Any:
    """Dense layers in a row with biases of 0.

    Args:
        weights: [outputs, inputs] of each; float, or the integers of an INT8 model.
        scales: of the input and of each layer's result, for an INT8 model.
        steps: scales of each layer's weights.
    """
    is_float = scales is None
    sizes = [weights[0].shape[1], *(own.shape[0] for own in weights)]
    tensors, constants, operators = [], [], []
    for place, size in enumerate(sizes):
        tensors.append(
            tensor(f"t{place}", [1, size])
            if scales is None
            else tensor(f"t{place}", [1, size], INT8, scale=scales[place])
        )
    for place, own in enumerate(weights):
        constants += [own.astype(np.float32 if is_float else np.int8),
                      np.zeros(len(own), np.float32 if is_float else np.int32)]  # fmt: skip
        first = len(tensors)
        if scales is None:
            tensors.append(tensor(f"w{place}", own.shape, buffer=len(constants) - 1))
            tensors.append(tensor(f"b{place}", [len(own)], buffer=len(constants)))
        else:
            step = steps[place]
            tensors.append(
                tensor(f"w{place}", own.shape, INT8, buffer=len(constants) - 1, scale=step)
            )
            tensors.append(tensor(f"b{place}", [len(own)], INT32, buffer=len(constants),
                                  scale=scales[place] * step))  # fmt: skip
        operators.append(
            operator(0, [place, first, first + 1], [place + 1], schema.FullyConnectedOptionsT())
        )
    whole = graph(tensors, [0], [len(weights)], operators)
    content = model([whole], [(Operator.FULLY_CONNECTED, 1 if is_float else 4)], constants)
    return flatbuffer.parse(content, "it")


def stored(tree: Any, name: str) -> list[Any]:
    """The values of a constant."""
    found = next(t for t in tree.subgraphs[0].tensors if flatbuffer.text(t.name) == name)
    values: list[Any] = flatbuffer.constant(tree, found).tolist()
    return values


ONE = np.ones((1, 1))


def corrected(values: Sequence[float]) -> tuple[list[int], dict[str, Any]]:
    """The bias of `y = x`, whose inputs saturate at 63.5, in steps of 0.5; and the report."""
    real, made = dense([ONE]), dense([ONE], [0.5, 1.0], [1.0])
    inputs = {"t0": np.array(values, np.float32).reshape(-1, 1, 1)}
    (report,) = correct_tree(Reference(real, inputs), made, ["bias"])
    return stored(made, "b0"), report


def test_a_bias_makes_up_for_inputs_that_are_shifted() -> None:
    """100 is fed as 63.5, so that the mean result lacks 36.5: 73 steps of 0.5."""
    bias, report = corrected([100] * 8)
    assert bias == [73]
    assert report["chosen"] == "bias"
    # 36.5 of 100 are lost before: 20 log10(100 / 36.5); nothing after.
    assert report["plain_db"] == pytest.approx(8.754, abs=0.001)
    assert report["corrected_db"] == pytest.approx(300)


def test_a_bias_is_fitted_to_three_quarters_and_judged_on_the_last() -> None:
    # The fit made it worse for the fourth sample, which was right.
    bias, report = corrected([100, 100, 100, 10])
    assert (bias, report["chosen"]) == ([0], "plain")
    assert report["plain_db"] == report["corrected_db"] == pytest.approx(300)
    # The fourth and the eighth would gain; nothing was fitted to them.
    bias, report = corrected([10, 20, 30, 100, 10, 20, 30, 100])
    assert (bias, report["chosen"]) == ([0], "plain")
    assert report["plain_db"] == pytest.approx(8.754, abs=0.001)
    # Two of six that fit lack 36.5, so that the mean lacks 12.17: 24 steps.
    bias, report = corrected([100, 10, 10, 100, 100, 10, 10, 100])
    assert (bias, report["chosen"]) == ([24], "bias")


def test_few_samples_serve_for_both() -> None:
    assert corrected([100] * 3)[0] == [73]
    assert corrected([100])[0] == [73]


FIRST = np.random.default_rng(1).normal(scale=0.3, size=(8, 8))
STEP = 0.25  # coarse, so that there is something to correct
PLAIN = np.rint(FIRST / STEP).tolist()


def related_inputs() -> dict[str, Array]:
    random = np.random.default_rng(0)
    causes = random.normal(size=(64, 1, 2)) @ random.normal(size=(2, 8))
    return {"t0": (causes + 0.1 * random.normal(size=(64, 1, 8))).astype(np.float32)}


def twins(other: Array) -> tuple[list[Any], list[Any], list[dict[str, Any]]]:
    """Integers of two layers in a row, `FIRST` and another, after all corrections; the report."""
    layers = [FIRST, other]
    whole = [np.rint(own / STEP) for own in layers]
    real, made = dense(layers), dense(whole, [0.05, 0.1, 0.1], [STEP, STEP])
    report = correct_tree(Reference(real, related_inputs()), made, ["bias", "rounding", "refit"])
    return stored(made, "w0"), stored(made, "w1"), report


def reports(weights: Array, names: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Integers after corrections of one layer whose integers are `FIRST`; the report."""
    real, made = dense([weights]), dense([np.rint(FIRST / STEP)], [0.05, 0.1], [STEP])
    (report,) = correct_tree(Reference(real, related_inputs()), made, names)
    return stored(made, "w0"), report


def test_a_layer_is_left_as_it_is_where_float_weights_would_gain_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reports(FIRST, ["bias", "rounding"])[0] != PLAIN

    def unused(*_: Any, **__: Any) -> None:
        raise ValueError("measured")

    monkeypatch.setattr(rounding, "measure_moments", unused)
    exact = np.array(PLAIN) * STEP
    integers, report = reports(exact, ["bias", "rounding"])
    assert (integers, report["chosen"]) == (PLAIN, "plain")
    for weights, names in ((FIRST, ["bias", "rounding"]), (exact, ["refit"])):
        with pytest.raises(ValueError, match="measured"):
            reports(weights, names)


def test_weights_that_two_layers_share_stay_one() -> None:
    one, two, report = twins(FIRST)
    assert one == two == PLAIN
    assert {item["chosen"] for item in report} <= {"plain", "bias"}
    one, _, report = twins(FIRST.T)
    assert one != PLAIN  # alone, they are corrected
    assert report[0]["chosen"] in ("rounding+bias", "refit+bias")


def test_a_reference_serves_several_files_whether_it_keeps_its_results_or_not() -> None:
    weights = [FIRST, FIRST.T]
    whole = [np.rint(own / STEP) for own in weights]
    found = []
    for keep_bytes in (0, 4000, 1 << 20):  # nothing, one of two layers, both
        reference = Reference(dense(weights), related_inputs(), keep_bytes=keep_bytes)
        for _ in range(2):
            made = dense(whole, [0.05, 0.1, 0.1], [STEP, STEP])
            report = correct_tree(reference, made, ["bias", "rounding", "refit"])
            found.append((stored(made, "w0"), stored(made, "w1"), stored(made, "b1"), report))
        kept = [reference.want(number) is reference.want(number) for number in (0, 1)]
        assert kept == [keep_bytes > 0, keep_bytes > 4000]
    assert all(item == found[0] for item in found)
    assert found[0][0] != whole[0].tolist()
