from __future__ import annotations

import pytest

from edgeq.converters.quantization import litert_engine
from edgeq.converters.quantization.engines import check_engine
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.errors import MissingExtraError, UsageError
from edgeq.values import ConvertOptions


def check(**settings: object) -> None:
    options = ConvertOptions(**settings)
    check_engine(options, *resolve(options.scheme, options.io, options.granularity))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "magic"}, "Unknown engine 'magic'; use edgeq or litert."),
        (
            {"scheme": "weight-only-int4"},
            "--scheme weight-only-int4 cannot be combined with --engine edgeq.",
        ),
        (
            {"engine": "litert", "scheme": "int16x8"},
            "--scheme int16x8 cannot be combined with --engine litert.",
        ),
        (
            {"granularity": "block:32"},
            "--granularity block:32 cannot be combined with --engine edgeq.",
        ),
        (
            {"engine": "litert", "granularity": "block:32"},
            "--granularity block:32 cannot be combined with --scheme int8: no kernel computes with "
            "INT8 weights in blocks.",
        ),
        (
            {"scheme": "weight-only-int8", "granularity": "block:48"},
            "Unknown granularity 'block:48'; use one of channel, tensor, block:32, block:64, "
            "block:128, block:256.",
        ),
        (
            {"engine": "litert", "io": "uint8"},
            "--io uint8 cannot be combined with --engine litert.",
        ),
        *(
            (
                {"engine": "litert", name: value},
                f"--{name.replace('_', '-')} {shown} cannot be combined with --engine litert: "
                "only edgeq's own quantizer has it.",
            )
            for name, value, shown in (
                ("statistic", "mse", "mse"),
                ("corrections", "none", "none"),
                ("effort", "best", "best"),
                ("calibrator", "tflite", "tflite"),
                ("keep_float", ("a", "b"), "a b"),
                ("int16", ("a",), "a"),
            )
        ),
    ],
)
def test_contradictions_name_both_sides(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(**settings)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (None, "--engine litert needs litert-quantizer, which is not installed here."),
        ("no-such-python", "EDGEQ_LITERT_PYTHON=no-such-python is not a program."),
        ("false", "EDGEQ_LITERT_PYTHON=false has no litert-quantizer."),
    ],
)
def test_an_engine_that_is_not_there_says_how_to_get_it(
    named: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if named is None:
        monkeypatch.delenv(litert_engine.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(litert_engine.VARIABLE, named)
    with pytest.raises(MissingExtraError) as caught:
        check(engine="litert")
    assert caught.value.message == message
    assert "pip install 'edgeq[litert]'" in (caught.value.hint or "")


def test_edgeq_needs_no_second_engine() -> None:
    check()
    check(scheme="dynamic")
