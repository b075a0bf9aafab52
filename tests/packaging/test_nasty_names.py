"""Names that would be code or markup elsewhere, in packages; compilers and parsers judge."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tree_sitter_swift
from markdown_it import MarkdownIt
from tree_sitter import Language, Node, Parser

from edgeq.escaping import printable
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.assembly.download_size import measure
from edgeq.packaging.targets.android import literals as java
from edgeq.packaging.targets.c import literals as cpp
from edgeq.packaging.targets.ios import literals as swift
from edgeq.packaging.targets.python import literals as python
from edgeq.packaging.text import show_package, show_verification
from edgeq.packaging.verification.verify import verify_package
from tests.nasty import NASTY, WHOLE, require_harmless, steering
from tests.packaging.targets.test_android import doubling, needs, run
from tests.tiny_models import FLOAT, add_one

NAMES = list(NASTY.values())
# Of several tensors in one file; a name of nothing but what is not printable is one, too.
TENSORS = [name for name in WHOLE.values() if len(name) < 300]


# ---------------------------------------------------------------- literals


def test_java_reads_each_name_back(tmp_path: Path) -> None:
    needs("javac")
    lines = "\n".join(
        f"    /** Input {java.shown(name)}. */\n    // {java.shown(name)}\n"
        f"    static final String S{number} = {java.string(name)};"
        for number, name in enumerate(NAMES)
    )
    printed = "\n".join(f"        show(S{number});" for number in range(len(NAMES)))
    source = (
        f"public final class Names {{\n{lines}\n    public static void main(String[] words) {{\n"
        f"{printed}\n    }}\n    static void show(String text) {{\n"
        "        StringBuilder made = new StringBuilder();\n"
        '        for (char unit : text.toCharArray()) made.append(String.format("%04x", (int) unit'
        "));\n        System.out.println(made);\n    }\n}\n"
    )
    (tmp_path / "Names.java").write_text(source)
    run("javac", "-encoding", "UTF-8", "Names.java", cwd=tmp_path)
    found = run("java", "-cp", ".", "Names", cwd=tmp_path).splitlines()
    assert found == [name.encode("utf-16-be", "surrogatepass").hex() for name in NAMES]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("standard", ["c++17", "c++11"])
def test_cpp_reads_each_name_back(tmp_path: Path, standard: str) -> None:
    printed = "\n".join(
        f"  show({cpp.string(name)}, sizeof({cpp.string(name)}) - 1);" for name in NAMES
    )
    source = (
        "#include <cstdio>\nstatic void show(const char* text, unsigned long size) {\n"
        "  for (unsigned long i = 0; i < size; ++i)\n"
        '    std::printf("%02x", static_cast<unsigned char>(text[i]));\n'
        f'  std::printf("\\n");\n}}\nint main() {{\n{printed}\n}}\n'
    )
    (tmp_path / "names.cc").write_text(source)
    # In strict standards, up to C++14, trigraphs are read: ??/ is a backslash.
    run("g++", f"-std={standard}", "-trigraphs", "-Werror", "names.cc", "-o", "names", cwd=tmp_path)
    found = run(tmp_path / "names").splitlines()
    assert found == [name.encode(errors="replace").hex() for name in NAMES]


@pytest.mark.parametrize("name", NAMES, ids=NASTY)
def test_python_reads_each_name_back(name: str) -> None:
    literal = python.string(name)
    assert literal.isascii() and "\n" not in literal
    assert ast.literal_eval(literal) == name


@pytest.mark.parametrize("name", NAMES, ids=NASTY)
def test_swift_takes_each_name_for_a_plain_string(name: str) -> None:
    literal = swift.string(name)
    source = f"let name = {literal}\nlet next = 1\n"
    root = Parser(Language(tree_sitter_swift.language())).parse(source.encode()).root_node
    assert kinds(root).isdisjoint({"ERROR", "interpolated_expression", "comment"})
    assert [child.type for child in root.children] == ["property_declaration"] * 2
    escapes = {"\\": "\\", '"': '"'}
    read = re.sub(
        r"\\(?:u\{([0-9a-f]+)\}|(.))",
        lambda found: chr(int(found[1], 16)) if found[1] else escapes[found[2]],
        literal[1:-1],
    )
    assert read == name.replace("\ud800", "\ufffd").replace("\udcff", "\ufffd")


def kinds(node: Node) -> set[str]:
    own = {node.type} | ({"ERROR"} if node.is_missing else set())
    return own.union(*map(kinds, node.children))


# ---------------------------------------------------------------- whole packages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with all the names as inputs."""
    made = tmp_path_factory.mktemp("nasty")
    (made / "model.tflite").write_bytes(doubling(dict.fromkeys(TENSORS, ((1, 2), FLOAT, None))))
    return made


def samples() -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(0)
    return {name: drawn.standard_normal((6, 2)).astype(np.float32) for name in TENSORS}


@pytest.fixture(scope="module", params=["android", "ios", "python"])
def package(request: pytest.FixtureRequest, folder: Path) -> Package:
    if request.param == "android":
        needs("javac")
    return make_package(
        folder / "model.tflite", request.param, data=samples(), name="nasty", vectors=2,
        description=NASTY["Markdown"] + NASTY["lines"] + NASTY["half"],
    )  # fmt: skip


def test_its_sources_stay_sources(package: Package) -> None:
    """The AAR's classes have gone through javac already."""
    for path, content in package.files.items():
        if path.endswith((".java", ".kt", ".swift", ".py", ".kts", ".pro", ".xml", ".pom")):
            text = content.decode()
            assert steering(text) == [], path
        if path.endswith(".py"):
            tree = ast.parse(text)
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
            assert "os" not in {alias.name for node in imports for alias in node.names}, path
        if path.endswith(".swift"):
            root = Parser(Language(tree_sitter_swift.language())).parse(content).root_node
            assert "ERROR" not in kinds(root), path
            assert "fatalError(" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", text), path
        if path.endswith(".kt"):
            assert "System.exit" not in text, path


def test_its_papers_hold_no_markup_of_others(package: Package) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    papers = [path for path in package.files if path.endswith(".md")]
    assert len(papers) == 2
    for path in papers:
        text = package.files[path].decode()
        assert steering(text) == [], path
        for token in reader.parse(text):
            assert token.type != "html_block", path
            for inner in token.children or ():
                assert inner.type not in ("html_inline", "image", "s_open"), (path, inner)
                assert "evil.example" not in str(inner.attrs), (path, inner)
        assert "://evil" not in text and "www.evil" not in text, path


def test_its_json_is_json_and_has_the_names(package: Package) -> None:
    for path, content in package.files.items():
        if path.endswith(".json"):
            text = content.decode()
            assert steering(text) == [], path
            json.loads(text)
    golden = json.loads(package.files["golden/golden.json"])
    assert set(golden["vectors"][0]["inputs"]) == set(TENSORS)
    manifest = json.loads(package.files["manifest.json"])
    assert {item["spec"]["name"] for item in manifest["contract"]["inputs"]} == set(TENSORS)


def test_its_files_are_called_what_any_system_takes(package: Package) -> None:
    for path in package.files:
        assert re.fullmatch(r"[A-Za-z0-9_./-]+", path) and ".." not in path.split("/"), path


def test_it_is_verified_and_shown(package: Package, tmp_path: Path) -> None:
    for path, content in package.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    result = verify_package(tmp_path, runs=False)
    assert [check.name for check in result.checks if check.verdict == "fail"] == []
    shown = show_verification(result) + show_package(
        package, measure({}, None, None), tmp_path, None
    )
    require_harmless(shown, *NAMES)


def test_a_wheel_with_such_names_works(folder: Path, tmp_path: Path) -> None:
    """Imported by a real Python, it has the names and has run nothing else."""
    package = make_package(
        folder / "model.tflite", "python", data=samples(), name="nasty", vectors=2
    )
    for path, content in package.files.items():
        if path.startswith("nasty/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    code = "import json, nasty; print(json.dumps([i.name for i in nasty.Nasty.INPUTS]))"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert sorted(json.loads(done)) == sorted(TENSORS)
    smoke = run(sys.executable, "-m", "nasty", cwd=tmp_path)
    assert smoke.endswith("\nPASS\n")
    require_harmless(smoke, *NAMES)


def test_a_data_file_of_such_a_name_is_named_harmlessly(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(add_one())
    data = tmp_path / "da\x1b[31mta\udcff|[x](http:evil).npz"
    with data.open("wb") as stream:
        np.savez(stream, x=np.arange(18, dtype=np.float32).reshape(6, 3))
    package = make_package(tmp_path / "model.tflite", "python", data=str(data), vectors=2)
    golden = json.loads(package.files["golden/golden.json"])
    assert golden["data"] == r"da\x1b[31mta\udcff|[x](http:evil).npz" == printable(data.name)
    assert r"da\\x1b\[31mta\\udcff\|\[x\]" in package.files["MODEL_CARD.md"].decode()
    json.loads(package.files["sbom.cdx.json"].decode())
