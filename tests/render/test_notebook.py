"""Results in a notebook and in a console: HTML in the terminal's words, and a bounded text."""

from __future__ import annotations

import builtins
import html
import importlib
import inspect
import json
import re
import runpy
import types
import typing
from pathlib import Path
from typing import Any

import click
import pytest

import edgeq
from edgeq.cli import cli
from edgeq.records import reading
from edgeq.records.reading import read_record
from edgeq.render.records import TEXTS, show_record
from edgeq.values.showing import MOST, Shown, bounded
from tests.nasty import ALL

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs/notebook.ipynb"


def words(page: str) -> str:
    """The text of HTML, as a reader sees it."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


# ---------------------------------------------------------------- texts and HTML


@pytest.mark.parametrize("kind", [*reading.KINDS, *reading.FLEET_KINDS])
def test_a_result_shows_itself_in_the_words_of_the_terminal(
    record_files: dict[str, Path], kind: str
) -> None:
    record = read_record(str(record_files[kind]))
    assert words(record._repr_html_()) == click.unstyle(show_record(record))
    shown = record.value._repr_html_()
    text = click.unstyle(TEXTS[type(record.value)](record.value))
    assert text in words(record._repr_html_()) and words(shown).startswith(text)
    assert shown.count("<span") == shown.count("</span")
    assert "\x1b" not in shown
    assert len(repr(record)) <= MOST
    assert 20 < len(repr(record.value)) <= MOST


def test_a_comparison_has_bars_of_size_and_latency(record_files: dict[str, Path]) -> None:
    value = read_record(record_files["compare"]).value
    shown = value._repr_html_()
    assert re.findall(r"<caption[^>]*>(.*?)</caption>", shown) == ["size", "latency p50"]
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", shown)]
    share = 100 * value.candidate.size_bytes / value.baseline.size_bytes
    assert widths[:2] == [100.0, pytest.approx(share, abs=0.05)]


def test_colours_are_mixed_with_the_notebook_s_ink(record_files: dict[str, Path]) -> None:
    shown = read_record(record_files["compare"]).value._repr_html_()
    assert "currentColor" in shown
    assert not re.search(r"(?<!-)color:(#|black|white|rgb)", shown)


@pytest.mark.parametrize("name", ALL)
def test_names_cannot_become_markup(
    record_files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    plain = json.loads(record_files["compare"].read_text())
    plain["candidate"]["path"] = plain["bench"]["runs"][1]["model"]["path"] = name
    path = tmp_path / "r.json"
    path.write_text(json.dumps(plain))
    shown = read_record(path).value._repr_html_()
    tags = set(re.findall(r"</?(\w+)", shown))
    assert tags <= {"pre", "span", "table", "caption", "tr", "td", "div"}
    assert "\x1b" not in shown


def test_a_report_shows_its_page(record_files: dict[str, Path]) -> None:
    shown = edgeq.make_report([str(record_files["compare"])])._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert shown.count('"') == 4  # nothing of the page ends the attribute


def test_a_text_of_many_layers_stays_short(record_files: dict[str, Path]) -> None:
    value = read_record(record_files["inspect"]).value
    text = repr(value)
    assert text.startswith("Inspection(model=FileRef(path='")
    assert f"… {len(value.operator_bytes)} in all)" in text


# ---------------------------------------------------------------- the package


def public_functions() -> dict[str, Any]:
    found = {name: getattr(edgeq, name) for name in edgeq.__all__ if name != "__version__"}
    return found | {
        f"History.{name}": item
        for name, item in inspect.getmembers(importlib.import_module("edgeq.history").History)
        if inspect.isfunction(item) and not name.startswith("_")
    }


def test_every_path_may_be_a_text() -> None:
    for name, function in public_functions().items():
        for parameter in inspect.signature(function).parameters.values():
            kinds = re.findall(r"\w+", str(parameter.annotation))
            assert "Path" not in kinds or "str" in kinds, f"{name}({parameter})"


def test_every_result_has_a_bounded_text() -> None:
    for name, function in public_functions().items():
        # The return alone, and with the classes that only a type checker imports.
        returned = {"return": inspect.signature(function).return_annotation}
        only = types.SimpleNamespace(__annotations__=returned)
        names = {**vars(reading), **inspect.unwrap(function).__globals__}
        kind = typing.get_type_hints(only, names)["return"]
        for item in typing.get_args(kind) or (kind,):
            if hasattr(item, "__dataclass_fields__"):
                assert item.__repr__.__module__ == bounded.__module__, f"{name} -> {item}"


def test_dir_lists_what_there_is() -> None:
    assert set(edgeq.__all__) <= set(dir(edgeq))
    assert "Any" not in dir(edgeq)
    for name in dir(edgeq):
        assert getattr(edgeq, name) is not None


def test_every_command_has_its_documented_function() -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    rows = re.findall(r"^\| `edgeq ([\w ]+)` \| (.*) \|$", page, re.MULTILINE)
    assert [command for command, _ in rows] == cli.list_commands(click.Context(cli))
    for command, functions in rows:
        named = re.findall(r"`edgeq\.(\w+)`", functions)
        assert named, command
        assert set(named) <= set(edgeq.__all__)


def test_init_and_run_do_what_the_commands_do(
    float_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(edgeq.models.path("fashion_mnist_calibration.npz"))
    edgeq.init(str(float_file), "edgeq.toml", data=data, test_data=data, preprocess=["scale=1/255"])
    with pytest.raises(edgeq.errors.UsageError, match=r"edgeq\.toml already exists"):
        edgeq.init(str(float_file), "edgeq.toml")
    text = (tmp_path / "edgeq.toml").read_text()
    assert 'preprocess = ["scale=1/255"]' in text
    scheme = re.sub(r"(?m)^scheme = .*$", 'scheme = "fp16"', text)
    (tmp_path / "edgeq.toml").write_text(scheme)
    outcomes = edgeq.run("edgeq.toml")
    assert {item.state for item in outcomes} <= {"made", "left out"}
    assert [item.state for item in edgeq.run("edgeq.toml") if item.name == "convert"] == ["kept"]


def test_code_of_a_project_needs_trust(tmp_path: Path, float_file: Path) -> None:
    (tmp_path / "edgeq.toml").write_text(
        f'[model]\nsource = "{float_file}"\n[data]\ncalibration = "samples:images"\n'
    )
    (tmp_path / "samples.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(edgeq.errors.UsageError, match="pass trust=True"):
        edgeq.run(str(tmp_path / "edgeq.toml"))


# ---------------------------------------------------------------- in IPython

FIGURE = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e-?\d+)?")


def shown_by(cell: dict[str, Any]) -> str:
    """The words of a cell's outputs; of a report its headings."""
    text = ""
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", [])})
        page = "".join(data.get("text/html", data["text/plain"]))
        if "srcdoc" in page:
            page = "\n".join(re.findall(r"<h[23].*?</h[23]>", html.unescape(page)))
        text += f"{words(page)}\n"
    # Where it ran, and for whom the files are.
    text = re.sub(r"(?m)^local: .*$", "local", text)
    text = re.sub(r"(?m)^Environment \w+,", "Environment", text)
    return re.sub(r"\S*/(?=\w+\.\w+)", "", text)


def test_the_notebook_shows_what_its_cells_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("IPython")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    stored = json.loads(NOTEBOOK.read_text())
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(ROOT / "docs/notebook.py"))["run"](stored)
    assert len(made["cells"]) == len(stored["cells"]) > 8
    for ours, theirs in zip(made["cells"], stored["cells"], strict=True):
        new, old = shown_by(ours), shown_by(theirs)
        assert FIGURE.sub("0", new).split() == FIGURE.sub("0", old).split(), "run docs/notebook.py"
        # Another processor may round a sum in another way.
        pairs = zip(FIGURE.findall(new), FIGURE.findall(old), strict=True)
        assert all(float(one) == pytest.approx(float(two), rel=0.1, abs=0.1) for one, two in pairs)


def test_progress_in_a_notebook_is_one_line_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    monkeypatch.setattr(shell, "kernel", object(), raising=False)  # as in Jupyter's
    monkeypatch.setattr("edgeq.render.notebook._UPDATES_S", 0.0)
    published: list[tuple[str, bool, Any]] = []
    monkeypatch.setattr(
        shell.display_pub, "publish",
        lambda data, update=False, transient=None, **rest: published.append(
            (data["text/plain"], update, (transient or {}).get("display_id"))
        ),
    )  # fmt: skip
    with edgeq.show_progress() as tell:
        tell("calibrate\x1b[31m", 3, 60)
        tell("quantize", 1, None)
    texts = ["", "calibrate\\x1b[31m: 3 of 60", "quantize: 1 done", ""]
    assert [text for text, _, _ in published] == texts
    assert [update for _, update, _ in published] == [False, True, True, True]
    assert len({place for _, _, place in published}) == 1


def test_in_a_notebook_rich_displays_nothing_by_itself(
    record_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("IPython")
    shell = type("ZMQInteractiveShell", (), {})  # by this name rich knows Jupyter
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *given, **rest: displayed.append(given))
    assert "Verdict" in read_record(record_files["compare"]).value._repr_html_()
    assert displayed == []


def test_progress_elsewhere_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with edgeq.show_progress() as tell:
        for done in range(1000):
            tell("calibrate", done, 1000)
    assert capsys.readouterr().err == ""


def test_everything_shown_has_its_words() -> None:
    from edgeq.render.notebook import _TEXTS
    from edgeq.reporting.values import Report

    assert set(Shown.__subclasses__()) == {*_TEXTS, Report}
