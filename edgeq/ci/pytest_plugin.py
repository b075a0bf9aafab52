"""A pytest plugin: tests that a model did not get worse when it was converted.

def test_int8(edgeq_model):
    model = edgeq_model("model.keras", data="samples.npz", preprocess=["scale=1/255"])
    model.assert_no_worse("test.npz", max_drop_points=1)

pytest loads this module wherever edgeq is installed, so it imports edgeq's parts only when a test
uses the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgeq.values import Comparison, GateResult


@dataclass(frozen=True)
class EdgeqModel:
    """A converted model and the one that it was made from.

    Attributes:
        source: the FP32 model.
        path: the `.tflite`.
        record: what `edgeq.convert` measured, or what was read from the file of another tool.
    """

    source: Path
    path: Path
    record: Path
    _make_folder: Callable[[], Path]

    def compare(self, data: Any, **options: Any) -> Comparison:
        """Compare it with the FP32 model, without latencies; see `edgeq.compare`."""
        from edgeq import api

        return api.compare(self.source, self.path, data, **{"latency": False, **options})

    def assert_no_worse(
        self,
        data: Any,
        *,
        policy: str | Path | None = None,
        baseline: Sequence[str | Path] = (),
        compare: Mapping[str, Any] | None = None,
        **rules: Any,
    ) -> GateResult:
        """Require that the rules of a policy are met; a rule that cannot be judged is not met.

        Args:
            data: labelled samples, see `edgeq.compare`.
            policy: an `edgeq.toml` with the rules, instead of `rules`.
            baseline: records of the released model, for rules about regressions.
            compare: more arguments of `edgeq.compare`, e.g. {"metrics": ["map"]}.
            rules: keys of [policy], e.g. `max_drop_points=0.5`.

        Raises:
            AssertionError: a rule is not met; the message has each rule with its figure.
            UsageError: there is no rule, or one has a mistake.
        """
        __tracebackhide__ = True
        import click
        import tomlkit

        from edgeq.errors import UsageError
        from edgeq.files import storage
        from edgeq.gating.gate import gate
        from edgeq.render.gate import show_gate

        if (policy is None) == (not rules):
            raise UsageError(
                "assert_no_worse needs either rules or a policy.",
                hint='Pass max_drop_points=1, or policy="edgeq.toml".',
            )
        folder = self._make_folder()
        if policy is None:
            policy = folder / "edgeq.toml"
            policy.write_bytes(tomlkit.dumps({"policy": rules}).encode("utf-8"))
        record = folder / "compare.json"
        storage.write_record(record, "compare", self.compare(data, **(compare or {})))
        result = gate([self.record, record], policy, baseline=baseline)
        assert result.verdict == "pass", click.unstyle(show_gate(result))
        return result


@pytest.fixture(scope="session")
def edgeq_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EdgeqModel]:
    """Convert a model, once for all tests, or take a converted one.

    Call it with the FP32 model and arguments of `edgeq.convert`, or with the FP32 model and
    `tflite`, a converted one. The same arguments give the same model: texts, numbers, paths and
    what is in containers are compared by value, other objects, such as arrays, by identity.
    """
    # With the settings, so that no later object gets the identity of one in a key.
    made: dict[Any, tuple[Mapping[str, Any], EdgeqModel]] = {}

    def make_folder() -> Path:
        return tmp_path_factory.mktemp("edgeq")

    def make(
        source: str | Path, *, tflite: str | Path | None = None, **settings: Any
    ) -> EdgeqModel:
        key = _key([Path(source).resolve(), tflite, settings])
        if key not in made:
            made[key] = settings, _make(Path(source), tflite, settings, make_folder)
        return made[key][1]

    return make


def _key(value: Any) -> Any:
    """A hashable value that only equal arguments have; it does not keep them alive."""
    if isinstance(value, Mapping):
        return dict, frozenset((_key(name), _key(item)) for name, item in value.items())
    if isinstance(value, (set, frozenset)):
        return set, frozenset(map(_key, value))
    if isinstance(value, (list, tuple)):
        return list, tuple(map(_key, value))
    if isinstance(value, (str, bytes, int, float, PurePath)):
        return type(value), value  # 1 and True are equal
    return id(value)


def _make(
    source: Path,
    tflite: str | Path | None,
    settings: Mapping[str, Any],
    make_folder: Callable[[], Path],
) -> EdgeqModel:
    from edgeq import api
    from edgeq.files import storage
    from edgeq.inspection.contents import inspect_model

    folder = make_folder()
    path = folder / f"{source.stem}.tflite" if tflite is None else Path(tflite)
    record = storage.record_beside(path)
    if tflite is None:
        api.convert(source, path, **settings)
    elif not record.exists():
        record = folder / record.name
        storage.write_record(record, "inspect", inspect_model(path))
    return EdgeqModel(source, path, record, make_folder)
