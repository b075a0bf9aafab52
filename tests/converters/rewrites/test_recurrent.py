from __future__ import annotations

import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.tflite import flatbuffer, lstm
from tests.tiny_models import fused_lstm


@pytest.mark.parametrize("options", [{"projected": 3}, {"normalized": True}])
def test_an_lstm_gets_the_intermediates_that_need_ranges_once(options: dict[str, int]) -> None:
    made = rewrite(fused_lstm(**options))
    assert made.names == ("intermediates of LSTM added (1)",)
    tree = flatbuffer.parse(made.content, "it")
    own = lstm.read(tree, tree.subgraphs[0].operators[0])
    assert own is not None and len(own.inner()) == (2 if "projected" in options else 5)
    assert rewrite(made.content).names == ()


def test_a_plain_lstm_needs_none() -> None:
    assert rewrite(fused_lstm()).names == ()
