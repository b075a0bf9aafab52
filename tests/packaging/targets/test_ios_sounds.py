"""The front end in Swift: run by `swift_subset`, and compared with that of `eval` on spoken words.

There is no Swift compiler here, so nothing was compiled; see `swift_subset`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tree_sitter_swift
from tree_sitter import Language, Parser

from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.targets import find_target
from tests.packaging.keyword_models import FRONT_ENDS, make_package, wanted_features
from tests.packaging.targets.swift_subset import Program, SwiftError
from tests.packaging.targets.test_ios import problems


def read_front_end(program: Program, predictor: str) -> Any:
    """The constants of the generated class as the struct `FrontEnd`."""
    tables = {
        name: [
            (int if kind == "Int" else float)(number) for number in text.split(",") if text.strip()
        ]
        for name, kind, text in re.findall(
            r"private static let (\w+): \[(Int|Double)\] = \[\s*(.*?)\s*\]", predictor, re.DOTALL
        )
    }
    ((constant, text),) = re.findall(
        r"private static let (\w+): FrontEnd = FrontEnd\((.*?)\)", predictor, re.DOTALL
    )
    assert predictor.count(f"{constant}, rate: rate)") == 2
    given: dict[str, Any] = {}
    for name, value in re.findall(r"(\w+): ([\w.-]+)", text):
        if value in tables:
            given[name] = tables[value]
        elif value in ("true", "false"):
            given[name] = value == "true"
        else:
            given[name] = float(value) if name == "floor" else int(value)
    return program.call("FrontEnd", **given)


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_features_are_those_of_eval(kind: str, spoken: np.ndarray, tmp_path: Path) -> None:
    made = make_package(tmp_path, kind, spoken)
    files = find_target("ios").make_files(made, LOCAL_TOOLS)
    sources = {path: text.decode() for path, text in files.items() if path.endswith(".swift")}
    parser = Parser(Language(tree_sitter_swift.language()))
    for name, text in sources.items():
        assert problems(parser.parse(text.encode()).root_node) == [], name
    readme = files["README.md"].decode()
    assert "let x = try WordsPredictor.featuresX(samples, rate: rate)" in readme
    test = sources["Tests/WordsModelTests/GoldenTests.swift"]
    assert "WordsPredictor.featuresX(sound0, rate: 22050)" in test
    assert 'golden.feature_tolerances["x"]?["float64"]' in test
    core = (sources[f"Sources/WordsModel/{name}.swift"] for name in ("Numerics", "FrontEnd"))
    program = Program("".join(core))
    how = read_front_end(program, sources["Sources/WordsModel/WordsPredictor.swift"])
    # Few frames, because the subset is slow: silence follows the samples, and ends the second clip.
    how.frames = 2
    (tolerances,) = made.golden.feature_tolerances.values()
    for clip in (spoken[0][10_000:], spoken[1][10_000:10_700]):
        wanted = wanted_features(kind, clip)[:2]
        samples = [np.float32(value) / np.float32(32768) for value in clip[:3000]]
        found = np.array(program.call("computeFeatures", samples, how, rate=22050), np.float32)
        assert np.abs(found - wanted.ravel()).max() <= tolerances["float64"]
    with pytest.raises(SwiftError):
        program.call("computeFeatures", [], how, rate=16000)
