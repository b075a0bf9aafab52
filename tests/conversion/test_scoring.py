from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.conversion import scoring
from edgeq.conversion.prepare import Prepared, prepare
from edgeq.conversion.scoring import Scorer
from edgeq.converters.calibration.input_rounding import round_input
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.device_runners.devices.kept_agent import KeptAgent
from edgeq.progress import quiet
from edgeq.values import ConvertOptions
from tests.conversion.test_input_ranges import dense, samples


@pytest.fixture
def ready(tmp_path: Path) -> Any:
    source = tmp_path / "dense.tflite"
    source.write_bytes(dense())
    with ExitStack() as stack:
        yield prepare(
            stack, source, *resolve("int8", None, "channel"), data=samples(3.0), test_data=None,
            preprocess=[], options=ConvertOptions(), verbose=False, on_progress=quiet,
            tensorflow=None,
        )  # fmt: skip


def test_the_float_model_runs_once_and_scores_stay_the_same(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    run = KeptAgent.run

    def count(self: KeptAgent, job: Any, files: Any, folder: Path, **options: Any) -> Any:
        counts.append(len(files))
        return run(self, job, files, folder, **options)

    monkeypatch.setattr(KeptAgent, "run", count)
    rough, fine = (round_input(dense(), 0, (-reach, reach)) for reach in (30.0, 5.0))
    judges = ready.plan.chosen[:20]

    def scores() -> list[float]:
        scorer = Scorer(ready.job, ready.model, ready.plan, ready.run, judges)
        return [*scorer.score([rough, fine]), *scorer.score([fine]), *scorer.score([rough])]

    found = scores()
    assert found[:2] == found[:1:-1]
    assert found[1] > found[0] + 3
    assert counts == [3, 1, 1]
    monkeypatch.setattr(scoring, "_MOST_BYTES", 4 * 6 * len(judges) - 1)
    assert scores() == found
    assert counts[3:] == [3, 2, 2]
    assert np.isfinite(found).all()
