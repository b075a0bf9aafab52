from __future__ import annotations

from collections import Counter

import numpy as np

from edgeq.accuracy.paired_runs import measure_quality
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.tuning.pool import LocalPool
from tests.tuning.conftest import Bench


def test_halves_share_no_sample_and_have_all_classes(bench: Bench) -> None:
    recording = bench.recording
    assert recording.is_apart
    assert recording.search.count + recording.proof.count == 420
    labels = [
        np.load(bench.store.path(part.labels)) for part in (recording.search, recording.proof)
    ]
    assert all(len(Counter(own.tolist())) == 10 for own in labels)
    assert set(recording.proof_indices).isdisjoint(bench.ready.plan.chosen)
    kept = np.load(bench.store.path(recording.proof.inputs["image"]))
    (first,) = bench.ready.plan.samples.iterate(recording.proof_indices[:1])
    np.testing.assert_array_equal(kept[0], first.inputs["image"])


def test_a_trial_counts_as_compare_does(bench: Bench, tmp_path) -> None:
    """What a worker says of a file is what the agent says of the same file."""
    with LocalPool(bench.store, 1) as pool:
        task = bench.task()
        ((_, outcome),) = pool.run([task])
        path = bench.store.path(pool.make(task))
    inputs = np.load(bench.store.path(bench.recording.search.inputs["image"]))
    labels = np.load(bench.store.path(bench.recording.search.labels))
    pairs = (({"image": image}, label) for image, label in zip(inputs, labels, strict=True))
    source = bench.store.path(task.source)
    quality = measure_quality(source, path, pairs, resolve_device("local"))
    assert outcome["sha256"] == path.name
    assert outcome["size_bytes"] == path.stat().st_size
    assert outcome["paired"] == vars(quality.paired)
    assert outcome["sqnr_db"] == worst_sqnr_db(quality)
