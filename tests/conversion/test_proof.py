"""The proof of a conversion: the requested precision, held-out samples, the user's budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq.conversion import proof
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.conversion.proof import check_gates
from edgeq.converters.quantization.selectors import NO_MIX, Mix
from edgeq.converters.samples.open_samples import Samples, open_samples
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.errors import (
    CertificateError,
    DataError,
    DeviceError,
    GateError,
    QuantizationError,
)
from edgeq.issues import make_issue
from edgeq.render.conversion import show_conversion
from edgeq.tflite import flatbuffer
from edgeq.values import (
    Certificate,
    Conversion,
    ConvertOptions,
    DataRef,
    FileRef,
    FloatModel,
    Interval,
    Issue,
    OperatorReport,
    OutputQuality,
    PairedCounts,
    Quality,
    TensorSpec,
    TfliteModel,
    WayOut,
)
from edgeq.values.schemes import SCHEMES
from edgeq.wording import describe_precision
from tests import tiny_models

FILE = FileRef("m.tflite", "0" * 64, 1)


def finished(
    *sqnrs: float, drop: Interval | None = None, is_measured: bool = True, **budget: Any
) -> Conversion:
    """A conversion with these figures and budgets."""
    outputs = tuple(OutputQuality(f"out{n}", sqnr, 0.0, 0.0) for n, sqnr in enumerate(sqnrs))
    labelled = (None, None, None) if drop is None else (90.0, 90.0, PairedCounts(80, 10, 10, 0))
    quality = Quality(100, True, outputs, None, *labelled, drop) if is_measured else None
    return Conversion(
        options=ConvertOptions(**budget),
        source=FloatModel(FILE, FILE, "tflite", "", (), ()),
        data=DataRef("train.npz", "npz", "0" * 64, 100, has_labels=False),
        test_data=None,
        model=TfliteModel(FILE, "int8", "int8", "channel", None),
        certificate=Certificate((), (), (), 0, 0, 0, (), (), None, (), None, 1),
        quality=quality,
        validity="valid",
        issues=(),
        versions=(),
    )


@pytest.mark.parametrize(
    ("precisions", "scheme", "line"),
    [
        (["int8"] * 3, "int8", "full integer, INT8 weights and activations"),
        (["int8", "int16x8", "convert", "int16x8"], "int8",
         "mixed: 1 operator in INT8, 2 operators with INT16 activations"),
        (["int8", "float32"], "int8", "mixed: 1 operator in INT8, 1 operator kept in float"),
        (["int16x8", "integer"], "int16x8", "full integer, INT8 weights, INT16 activations"),
        (["dynamic", "float32"], "dynamic", SCHEMES["dynamic"].summary),
    ],
)  # fmt: skip
def test_the_heading_states_every_precision_in_the_file(
    precisions: list[str], scheme: str, line: str
) -> None:
    """Also those that no option named, as inside of normalizations."""
    operators = tuple(
        OperatorReport(number, "MUL", f"t{number}", precision, None, None, 1)
        for number, precision in enumerate(precisions)
    )
    plain = finished(40.0)
    result = replace(
        plain,
        certificate=replace(plain.certificate, operators=operators),
        model=replace(plain.model, scheme=scheme),
    )
    assert f"Read back from the file: {line}\n" in click.unstyle(show_conversion(result))


@pytest.mark.parametrize("scheme", ["int8", "int16x8", "dynamic"])
def test_the_heading_states_which_ends_are_float(scheme: str) -> None:
    """With `--io float32`, all operators are integer, and the ends are not."""
    ends = [TensorSpec(name, (1, 4), dtype) for name, dtype in
            (("a", "float32"), ("b", "int8"), ("c", "int8"), ("d", "float32"))]  # fmt: skip
    proof = replace(finished(40.0).certificate, inputs=tuple(ends[:2]), outputs=tuple(ends[2:]))
    line = describe_precision(proof, SCHEMES[scheme])
    added = "" if scheme == "dynamic" else "; float at the ends: input 'a', output 'd'"
    assert line == f"{SCHEMES[scheme].summary}{added}"


@pytest.mark.parametrize("measured", [20.0, 9.5, -3.0, 41.26])
def test_the_least_sqnr_is_held_to_the_last_digit(measured: float) -> None:
    check_gates(finished(measured, min_sqnr_db=measured))
    check_gates(finished(measured, min_sqnr_db=measured - 0.01))
    with pytest.raises(GateError) as caught:
        check_gates(finished(measured, min_sqnr_db=measured + 0.01))
    assert caught.value.exit_code == 3
    assert caught.value.message.startswith(f"SQNR is {measured:.1f} dB, below the ")
    assert caught.value.message.endswith(" dB; nothing was written.")


def test_the_least_sqnr_is_of_the_worst_output() -> None:
    for sqnrs in ((40.0, 12.0), (12.0, 40.0), (40.0, 12.0, math.inf)):
        check_gates(finished(*sqnrs, min_sqnr_db=12))
        with pytest.raises(GateError, match=r"SQNR is 12\.0 dB, below the required 12\.1 dB"):
            check_gates(finished(*sqnrs, min_sqnr_db=12.1))


@pytest.mark.parametrize(
    ("ways", "offered"),
    [
        ((), None),
        ((WayOut("a", 30.0, True),), "a"),  # exactly the budget
        ((WayOut("a", 29.9, True), WayOut("b", 50.0, True), WayOut("c", 60.0, True)), "b"),
        ((WayOut("a", 50.0, False), WayOut("b", None, False)), None),
    ],
)
def test_the_first_way_out_that_meets_the_budget_is_offered(
    ways: tuple[WayOut, ...], offered: str | None
) -> None:
    with pytest.raises(GateError) as caught:
        check_gates(replace(finished(20.0, min_sqnr_db=30), ways_out=ways))
    assert caught.value.hint == (
        None if offered is None else f"Tried on this model, it keeps everything: {offered}"
    )


def test_identical_outputs_keep_every_least_sqnr() -> None:
    check_gates(finished(math.inf, min_sqnr_db=200))
    with pytest.raises(GateError):
        check_gates(finished(-math.inf, min_sqnr_db=0))


@pytest.mark.parametrize(
    ("drop", "is_kept"),
    [
        (Interval(1.0, 0.5, 1.5), True),  # exactly the budget
        (Interval(0.9, 0.5, 3.0), True),  # the upper end is a doubt, no failure
        (Interval(1.01, -0.5, 2.5), False),  # the lower end is inside
        (Interval(1.5, 1.2, 1.8), False),
        (Interval(0.0, -1.0, 1.0), True),
        (Interval(-2.0, -3.0, -1.0), True),  # better than the float model
    ],
)
def test_the_most_drop_is_about_the_measured_drop(drop: Interval, is_kept: bool) -> None:
    conversion = finished(30.0, drop=drop, max_drop_points=1.0)
    if is_kept:
        check_gates(conversion)
        return
    with pytest.raises(GateError) as caught:
        check_gates(conversion)
    assert caught.value.exit_code == 3
    assert caught.value.message == (
        f"Accuracy drops by {drop.value:.2f} points (95 % interval {drop.low:.2f} to "
        f"{drop.high:.2f}), more than the allowed 1; nothing was written."
    )


def test_a_budget_of_nothing_is_a_budget() -> None:
    check_gates(finished(30.0, drop=Interval(0.0, -1.0, 1.0), max_drop_points=0.0))
    with pytest.raises(GateError, match="more than the allowed 0"):
        check_gates(finished(30.0, drop=Interval(0.1, -1.0, 1.2), max_drop_points=0.0))
    with pytest.raises(GateError, match="below the required 0 dB"):
        check_gates(finished(-0.1, min_sqnr_db=0.0))


def test_a_drop_that_nobody_measured_keeps_no_budget() -> None:
    for conversion in (finished(30.0, max_drop_points=5.0),
                       finished(max_drop_points=5.0, is_measured=False)):  # fmt: skip
        with pytest.raises(DataError) as caught:
            check_gates(conversion)
        assert caught.value.message == (
            "--max-drop needs labelled samples, and train.npz has no class labels."
        )


def test_both_budgets_count() -> None:
    good = Interval(0.5, 0.0, 1.0)
    check_gates(finished(30.0, drop=good, min_sqnr_db=30, max_drop_points=0.5))
    with pytest.raises(GateError, match="SQNR"):
        check_gates(finished(29.0, drop=good, min_sqnr_db=30, max_drop_points=0.5))
    with pytest.raises(GateError, match="Accuracy"):
        check_gates(finished(30.0, drop=good, min_sqnr_db=30, max_drop_points=0.4))


def test_without_a_budget_nothing_is_held() -> None:
    check_gates(finished(-30.0, drop=Interval(90.0, 80.0, 95.0)))


# ---------------------------------------------------------------- the file read back

INTEGERS = TensorSpec("x", (1, 4), "float32"), TensorSpec("y", (1, 4), "float32")


def job(io: str = "int8", **options: Any) -> Job:
    def quiet(step: str, done: int, total: int | None) -> None:
        assert (step, done, total) == ("compare with float", 0, None)

    asked = ConvertOptions(**options)
    return Job(SCHEMES["int8"], io, asked, Path("nowhere"), None, quiet, LocalDevice())


def float_model(*sides: TensorSpec, path: str = "float.tflite") -> FloatModel:
    ours, theirs = sides or INTEGERS
    return FloatModel(FileRef(path, "0" * 64, 1), FILE, "tflite", "", (ours,), (theirs,))


@pytest.fixture
def prove(tmp_path: Path) -> Callable[..., tuple[Certificate, list[Issue]]]:
    def run(
        content: bytes, given: Job, model: FloatModel, mix: Mix = NO_MIX
    ) -> tuple[Certificate, list[Issue]]:
        path, issues = tmp_path / "m.tflite", []
        path.write_bytes(content)
        return proof.prove(given, path, model, mix, issues), issues

    return run


def test_a_file_that_is_what_was_asked_for_raises_nothing(prove: Any) -> None:
    found, issues = prove(tiny_models.double_int8(), job(), float_model())
    assert ([op.precision for op in found.operators], found.problems, issues) == (["int8"], (), [])


SPECS = TensorSpec("x", (1, 3), "float32"), TensorSpec("y", (1, 3), "float32")
LEFT = (
    "1 of 1 operators are float32 instead of int8: ADD (y); the quantizer left them, because an "
    "operand has no range or no integer kernel fits."
)


def test_a_file_that_is_not_what_was_asked_for_is_refused(prove: Any) -> None:
    with pytest.raises(CertificateError) as caught:
        prove(tiny_models.add_one(), job("float32"), float_model(*SPECS))
    assert str(caught.value) == (
        f"The result is not --scheme int8: {LEFT} Pass --allow-float to accept it as it is, or try "
        "another --scheme."
    )
    asked = job("int8", allow_float=True)
    found, issues = prove(tiny_models.add_one(), asked, float_model(*SPECS))
    problems = (LEFT, "input 'x' is float32 instead of int8.",
                "output 'y' is float32 instead of int8.")  # fmt: skip
    assert found.problems == problems
    assert [(issue.code, issue.message) for issue in issues] == [
        ("convert.not_as_asked", problem) for problem in problems
    ]


def test_a_mix_that_leaves_nothing_quantized_is_told(prove: Any) -> None:
    mix = Mix(keep_float=("y",))
    _, issues = prove(tiny_models.add_one(), job("float32"), float_model(*SPECS), mix)
    assert [(issue.code, issue.message) for issue in issues] == [
        ("convert.all_float", "--keep-float selects all 1 operators: nothing is quantized.")
    ]
    with pytest.raises(CertificateError, match="operators are not float32, as requested: y"):
        prove(tiny_models.double_int8(), job(), float_model(), mix)


def two(dtype: int) -> bytes:
    """A float and an integer operator, side by side."""
    names = [("x", tiny_models.FLOAT), ("y", tiny_models.FLOAT), ("n", dtype), ("m", dtype)]
    tensors = [tiny_models.tensor(name, [1, 4], kind) for name, kind in names]
    operators = [tiny_models.operator(0, [0], [1]), tiny_models.operator(0, [2], [3])]
    main = tiny_models.graph(tensors, [0, 2], [1, 3], operators)
    return tiny_models.model([main], [(tiny_models.Operator.RELU, 1)])


@pytest.mark.parametrize(("dtype", "name"), [("INT8", "int8"), ("INT16", "int16")])
def test_a_mix_that_leaves_something_quantized_is_no_doubt(
    prove: Any, dtype: str, name: str
) -> None:
    model = replace(
        float_model(), inputs=(INTEGERS[0], TensorSpec("n", (1, 4), name)),
        outputs=(INTEGERS[1], TensorSpec("m", (1, 4), name)),
    )  # fmt: skip
    mix = Mix(keep_float=("y",), int16=("m",) if name == "int16" else ())
    content = two(getattr(tiny_models.schema.TensorType, dtype))
    _, issues = prove(content, job("float32"), model, mix)
    kept = [("convert.input_kept", f"input 'n' stays {name}: integers are not quantized")]
    assert [(issue.code, issue.message) for issue in issues] == kept


def test_an_lstm_that_keeps_its_state_is_told(prove: Any) -> None:
    content = tiny_models.fused_lstm()
    model = float_model(
        *(specs[0] for specs in flatbuffer.interface(flatbuffer.parse(content, "it")))
    )
    _, issues = prove(content, job("float32", allow_float=True), model)
    (told,) = [issue.message for issue in issues if issue.code == "convert.lstm_state"]
    assert told == (
        f"LSTM operators ({model.outputs[0].name}) keep their states from call to call: reset the "
        "variables of the interpreter before each sample, as Keras does"
    )


# ---------------------------------------------------------------- run beside the float model


class Measured:
    """Stands for both runs, which other tests make: what they were given, and a result."""

    def __init__(self, quality: Quality):
        self.quality = quality
        self.seen: list[tuple[float, Any]] = []
        self.files: tuple[Path, ...] = ()
        self.is_held_out: bool | None = None

    def __call__(
        self,
        baseline: Path,
        candidate: Path,
        pairs: Any,
        device: Any,
        *,
        is_held_out: bool = True,
        scorers: Any = None,
    ) -> Quality:
        assert scorers is None  # nobody asked for a metric
        self.files, self.is_held_out = (baseline, candidate), is_held_out
        self.seen = [(float(inputs["x"][0]), label) for inputs, label in pairs]
        return self.quality


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    result = Measured(finished(30.0, drop=Interval(0.0, -0.5, 0.5)).quality)
    monkeypatch.setattr(proof, "measure_quality", result)
    return result


def numbered(labels: list[Any] | None, count: int = 40) -> Samples:
    """Samples that are their own number."""
    data = {"x": np.repeat(np.arange(count, dtype=np.float32)[:, None], 4, axis=1)}
    if labels is not None:
        data["y"] = np.array((labels * count)[:count])
    return open_samples(data, [INTEGERS[0]])


def result_of(plan: SamplePlan, **options: Any) -> tuple[Quality | None, list[Issue]]:
    issues: list[Issue] = []
    target = Path("int8.tflite")
    return proof.measure_result(job(**options), float_model(), plan, target, issues), issues


def test_it_is_measured_on_what_was_held_out(measured: Measured) -> None:
    found, issues = result_of(SamplePlan(numbered([0, 1]), (0, 1), None, (5, 8)))
    assert (found, issues) == (measured.quality, [])
    assert measured.files == (Path("float.tflite"), Path("int8.tflite"))
    assert (measured.seen, measured.is_held_out) == ([(5.0, 1), (8.0, 0)], True)


def test_without_any_held_out_it_is_measured_on_few_of_those_chosen(measured: Measured) -> None:
    result_of(SamplePlan(numbered(None), tuple(range(1, 40)), None, ()))
    seen = [value for value, _ in measured.seen]
    assert seen == [1 + number * 39 // 32 for number in range(32)]  # not the first ones alone
    assert measured.is_held_out is False


def test_test_data_are_used_whole(measured: Measured) -> None:
    test = numbered([3, 2, 1], 3)
    result_of(SamplePlan(numbered([0]), (0, 1), test, (5,)))
    assert (measured.seen, measured.is_held_out) == ([(0.0, 3), (1.0, 2), (2.0, 1)], True)
    result_of(SamplePlan(None, (), test, ()))
    assert len(measured.seen) == 3


def test_without_data_random_inputs_show_that_it_runs(measured: Measured) -> None:
    assert result_of(SamplePlan(None, (), None, ()), seed=7) == (None, [])
    drawn = np.random.default_rng(7).standard_normal((4, 4)).astype(np.float32)
    assert measured.seen == [(float(row[0]), None) for row in drawn]


NAMES = ["cat", "dog", "eel"]
UNCLEAR = (
    "The labels are 3 names (cat, dog, eel), but the model has 4 classes, so the names cannot be "
    "matched to classes."
)


def test_label_names_that_fit_no_output_are_not_used(measured: Measured) -> None:
    _, issues = result_of(SamplePlan(numbered(NAMES), (0,), None, (5, 8)))
    assert [(issue.code, issue.message) for issue in issues] == [
        ("data.labels_unclear", f"{UNCLEAR} They are not used.")
    ]
    assert measured.seen == [(5.0, None), (8.0, None)]
    result_of(SamplePlan(numbered([*NAMES, "fox"]), (0,), None, (5,)))
    assert measured.seen == [(5.0, 1)]


def of_four(is_known: bool) -> bytes:
    """`y = x + x` of four values, or a custom operator that no runtime has in its place."""
    names = {"x": 0}, {"y": 1}
    tensors = [tiny_models.tensor(name, [1, 4]) for name in "xy"]
    inputs = [0, 0] if is_known else [0]
    options = schema.AddOptionsT() if is_known else None
    main = tiny_models.graph(tensors, [0], [1], [tiny_models.operator(0, inputs, [1], options)])
    return tiny_models.model(
        [main], [(tiny_models.Operator.ADD, 1) if is_known else "None"], (), names
    )


@pytest.mark.parametrize("broken", ["int8.tflite", "float.tflite"])
def test_a_quantized_file_that_cannot_be_run_is_not_called_by_its_name(
    tmp_path: Path, broken: str
) -> None:
    for name in ("int8.tflite", "float.tflite"):
        (tmp_path / name).write_bytes(of_four(is_known=name != broken))
    given = float_model(path=str(tmp_path / "float.tflite"))
    plan = SamplePlan(numbered(None), (0,), None, (5,))
    with pytest.raises((DeviceError, QuantizationError)) as caught:
        proof.measure_result(job(), given, plan, tmp_path / "int8.tflite", [])
    if broken == "float.tflite":
        assert caught.type is DeviceError
        assert str(tmp_path / "float.tflite") in caught.value.message
    else:
        assert caught.type is QuantizationError
        assert caught.value.message.startswith("The quantized file cannot be run: ")
        assert str(tmp_path) not in caught.value.message
        assert caught.value.hint == "--scheme dynamic and fp16 keep all activations in float."
        assert "None" in (caught.value.details or caught.value.message)


def test_what_is_doubtful_about_the_quality_is_told(measured: Measured) -> None:
    plan = SamplePlan(numbered([0]), (0,), None, (5,))
    measured.quality = finished(30.0, drop=Interval(0.5, -0.5, 1.5)).quality
    assert result_of(plan) == (measured.quality, [])
    assert result_of(plan, max_drop_points=1.5)[1] == []
    (few,) = result_of(plan, max_drop_points=1.0)[1]
    assert (few.code, few.message) == (
        "convert.few_samples",
        "The drop is 0.50 points on 100 samples, with a 95 % interval up to 1.50: more samples are "
        "needed to prove 1.",
    )
    measured.quality = replace(measured.quality, baseline_accuracy_percent=27.0, class_count=4)
    (chance,) = result_of(plan)[1]
    assert (chance.code, chance.message) == (
        "convert.float_at_chance",
        "The float model's own accuracy, 27.00 %, is not proven to be above chance (25 % for 4 "
        "classes): check the order of the classes, and the colours and the scale (--preprocess "
        "channels=bgr, scale=1/255).",
    )
    measured.quality = replace(measured.quality, drop_points=Interval(3.0, 2.0, 4.0))
    again, lost = result_of(plan)[1]
    assert again == chance
    assert (lost.code, lost.message) == (
        "convert.low_quality",
        "The quality is low: accuracy drop +3.00 points (95 % interval +2.00 to +4.00): proven "
        "above 1 point; `edgeq compare` on more samples measures it.",
    )
    issues = [make_issue("data.not_normalized", "It is fed 0 to 255.")]
    proof.measure_result(job(), float_model(), plan, Path("int8.tflite"), issues)
    assert issues[-1].message.endswith(
        "above 1 point; first correct how the samples are fed [data.not_normalized]."
    )


def test_who_has_no_labels_is_named() -> None:
    conversion = finished(30.0, max_drop_points=5.0)
    test = DataRef("test.npz", "npz", "0" * 64, 100, has_labels=False)
    for changes, name in (
        ({"test_data": test}, "test.npz"),
        ({"data": None}, "the data"),
        ({"data": None, "test_data": test}, "test.npz"),
    ):
        with pytest.raises(DataError, match=f"and {name} has no class labels"):
            check_gates(replace(conversion, **changes))
