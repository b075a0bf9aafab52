"""Android packages, with the real compilers and packers of Debian where they are installed.

Generated classes run on a desktop JVM: Android's few classes are fakes (`android_fakes`), and the
fake interpreter hands tensors to LiteRT's Python runtime.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from edgeq import models
from edgeq.converters.samples.preprocessing import apply
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.errors import PackageError
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container.archive import PAGE_BYTES, read_zip, write_zip
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.targets import android, find_target
from edgeq.packaging.targets.android import find_models, make_files
from edgeq.packaging.targets.android.literals import real, shown, string
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import Preprocessing, TensorSpec
from tests.conftest import make_once, share
from tests.tiny_models import FLOAT, INT8, Operator, graph, model, operator, schema, tensor

FAKES = Path(__file__).with_name("android_fakes")
# Its names are all there is to it, so there is nothing to fake.
DATA_TYPE = Path(android.__file__).parent / "stubs/org/tensorflow/lite/DataType.java"
Type = schema.TensorType
UINT8, INT32, INT64 = Type.UINT8, Type.INT32, Type.INT64
PACKAGES = {"javac": "default-jdk-headless", "aapt2": "aapt", "zipalign": "zipalign",
            "apksigner": "apksigner", "keytool": "default-jdk-headless",
            "kotlinc": "kotlin"}  # fmt: skip
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")


def needs(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not here: apt-get install {PACKAGES[command]}")


def run(*command: object, **options: Any) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=200, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------- models


def doubling(
    inputs: Mapping[str, tuple[tuple[int, ...], int, tuple[float, int] | None]],
    signature: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
) -> bytes:
    """A model of one addition for each input: `OUT_name = name + name`."""
    tensors, operators, versions = [], [], []
    for place, (name, (shape, dtype, quantized)) in enumerate(inputs.items()):
        for own, factor in ((name, 1), (f"out {name}", 2)):
            made = tensor(own, shape, dtype, scale=quantized and quantized[0] * factor)
            if quantized:
                made.quantization.zeroPoint = [quantized[1]]
            tensors.append(made)
        options = schema.AddOptionsT()
        operators.append(operator(0, [2 * place, 2 * place], [2 * place + 1], options))
        versions.append(2 if dtype == INT8 else 1)
    count = len(inputs)
    # The last input comes first in the file: order must not matter.
    main = graph(tensors, range(2 * count - 2, -1, -2), range(1, 2 * count, 2), operators)
    return model([main], [(Operator.ADD, max(versions))], signature=signature)


def gather(
    path: Path,
    content: bytes,
    data: Mapping[str, np.ndarray],
    *,
    count: int = 2,
    license: str | None = None,
    **options: Any,
) -> PackageInputs:
    path.write_bytes(content)
    contract = make_contract(path, **options)
    golden = make_golden(read_model(path), contract, data, LocalDevice(), count=count)
    return PackageInputs(contract, parse_model(content, "model.tflite"), golden, license)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="session")
def mobilenet(int8_mobilenet: Path, tmp_path_factory: pytest.TempPathFactory) -> PackageInputs:
    labels = ["T-shirt", "Trouser", "Pull\u2028over", 'Dr"ess', "Mantel (Übergröße)",
              "\u4eba\U0001f45f", "a\\b", "*/", "${x}", "\\u000a"]  # fmt: skip
    name = {"name": "fmnist mobilenet", "version": "1.4.0-rc1", "labels": {"": labels}}
    contract = make_contract(int8_mobilenet, **name)
    data = models.path("fashion_mnist_test.npz")
    golden = make_golden(read_model(int8_mobilenet), contract, data, LocalDevice(), count=3)
    return PackageInputs(
        contract,
        parse_model(int8_mobilenet.read_bytes(), "model.tflite"),
        golden,
        "Apache-2.0 & <more>",
    )


@pytest.fixture(scope="session")
def mobilenet_files(
    mobilenet: PackageInputs, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    needs("javac")
    return share(
        tmp_path_factory, "android-mobilenet", lambda folder: make_files(mobilenet, LOCAL_TOOLS)
    )


def images(tmp_path: Path) -> PackageInputs:
    """A picture that is resized, reordered and normalised; quantized to uint8."""
    content = doubling({"class": ((1, 9, 7, 3), UINT8, (0.02, 114))})
    parts = "resize=9x7,channels=bgr,scale=1/127.5,offset=-1,mean=0.1:0.2:0.3,std=0.9:1.1:0.7"
    data = {"class": pixels(3, 21, 16, 3)}
    return gather(tmp_path / "for.tflite", content, data, preprocess=[parts])


def grey_images(tmp_path: Path) -> PackageInputs:
    """Names that are keywords, other words of Java, or would end a comment."""
    content = doubling({"*/ \\u002a/ $x": ((1, 12, 10), INT8, (1 / 255, -128))})
    data = {"*/ \\u002a/ $x": pixels(3, 5, 6, 3)}
    parts = "letterbox=12x10,pad=9,channels=gray,scale=1/255"
    return gather(tmp_path / "Interpreter.tflite", content, data, preprocess=[parts])


def several(tmp_path: Path) -> PackageInputs:
    """Several inputs and outputs of all kinds, without a signature."""
    inputs = {
        "tensors": ((1, 6), FLOAT, None),
        "notify": ((1, 3), INT32, None),
        "while": ((1, 5), INT8, (0.1, 3)),
        "count": ((1, 2, 2), FLOAT, None),
    }
    data = {
        "tensors": np.linspace(-1e3, 1e3, 18).reshape(3, 6),
        "notify": np.array([[1, -2, 2**30 - 1], [-(2**30), 0, 5], [7, 8, 9]]),
        "while": np.linspace(-20, 20, 15, dtype=np.float32).reshape(3, 5),
        "count": pixels(3, 2, 2),
    }
    labels = {"out while": list("abcde"), "out count": ["no", "yes"]}
    return gather(
        tmp_path / "several_model.tflite", doubling(inputs), data, labels=labels,
        preprocess=["tensors:scale=0.25,offset=3", "count:scale=1/255"],
    )  # fmt: skip


def signed_by_name(tmp_path: Path) -> PackageInputs:
    """A signature whose names are not the tensors'."""
    inputs = {"a": ((1, 2), FLOAT, None), "b": ((1, 1), FLOAT, None)}
    signature = {"first": 0, "second": 2}, {"twice": 1, "probability": 3}
    data = {"first": np.ones((3, 2), np.float32), "second": np.full((3, 1), 0.2, np.float32)}
    return gather(
        tmp_path / "named.tflite", doubling(inputs, signature), data,
        labels={"probability": ["dull", "bright"]},
    )  # fmt: skip


def unquantized(tmp_path: Path) -> PackageInputs:
    """Integers that go in as they are: pixels, resized all the same, and large numbers."""
    tensors = [tensor("image", [1, 4, 5, 3], UINT8), tensor("shape", [2], INT32, buffer=1),
               tensor("flat", [1, 60], UINT8), tensor("ids", [1, 2, 1], INT64),
               tensor("shape2", [2], INT32, buffer=2), tensor("same", [1, 2], INT64)]  # fmt: skip
    operators = [operator(0, [0, 1], [2], schema.ReshapeOptionsT()),
                 operator(0, [3, 4], [5], schema.ReshapeOptionsT())]  # fmt: skip
    main = graph(tensors, [0, 3], [2, 5], operators)
    shapes = [np.array(shape, np.int32) for shape in ([1, 60], [1, 2])]
    data = {
        "image": pixels(3, 12, 11, 3),
        "ids": np.array([[[2**40 + 1], [-1]], [[0], [7]], [[5], [-(2**62)]]]),
    }
    content = model([main], [(Operator.RESHAPE, 1)], shapes)
    options = {"preprocess": ["image:resize=4x5,channels=bgr"]}
    return gather(tmp_path / "2 ids.tflite", content, data, **options)


def spectrogram(tmp_path: Path) -> PackageInputs:
    """The shape of a grey image, and no image."""
    content = doubling({"mfcc": ((1, 7, 5, 1), INT8, (0.5, 83))})
    data = {"mfcc": np.linspace(-90, 30, 105).reshape(3, 7, 5, 1)}
    return gather(tmp_path / "sound.tflite", content, data)


KINDS: list[Callable[[Path], PackageInputs]] = [
    images,
    grey_images,
    several,
    signed_by_name,
    unquantized,
    spectrogram,
]


# ---------------------------------------------------------------- on a desktop JVM


class Desktop:
    """A package's classes, compiled test and fakes on one class path."""

    def __init__(self, files: Mapping[str, bytes], folder: Path, fakes: Path):
        self.files, self.folder = files, folder
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        (self.aar,) = folder.glob("*.aar")
        inside = read_zip(self.aar.read_bytes(), "aar")
        (folder / "classes.jar").write_bytes(inside["classes.jar"])
        (self.asset,) = (name for name in inside if name.startswith("assets/"))
        # Fakes stand in for what the classes of the AAR were compiled against.
        parts = folder / "classes.jar", folder / "built", fakes
        self.path = os.pathsep.join(map(str, parts))
        self.compile(*(folder / "module/src/androidTest/java").rglob("*.java"))

    def compile(self, *sources: Path) -> None:
        options = "-proc:none", "-encoding", "UTF-8", "-d", self.folder / "built"
        run("javac", *options, "-cp", self.path, *sources)

    def java(self, *arguments: str, archive: Path | None = None, path: str | None = None) -> str:
        archive = archive or self.aar
        offset, info = stored_at(archive, self.asset)
        properties = {
            "python": sys.executable,
            "litert": FAKES / "litert.py",
            "assets": self.folder / "module/src/androidTest/assets",
            "apk": archive,
            "model": f"{Path(self.asset).name}:{offset}:{info.file_size}",
        }
        given = [f"-Dfake.{key}={value}" for key, value in properties.items()]
        return run("java", "-Xshare:auto", *given, "-cp", path or self.path, *arguments)

    def demo(self, package: str, body: str) -> str:
        """Run statements inside the package."""
        source = self.folder / "Demo.java"
        source.write_text(
            f"package {package};\nimport java.util.*;\nimport android.content.Context;\n"
            "import android.graphics.Bitmap;\nclass Demo {\n"
            f"public static void main(String[] given) throws Exception {{\n{body}\n}}\n}}\n"
        )
        self.compile(source)
        return self.java("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", f"{package}.Demo")


def stored_at(archive: Path, name: str) -> tuple[int, zipfile.ZipInfo]:
    """Where an entry's content begins, read from the local header and not from the directory."""
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(name)
    content = archive.read_bytes()
    lengths = struct.unpack("<HH", content[info.header_offset + 26 : info.header_offset + 30])
    return info.header_offset + 30 + sum(lengths), info


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("javac")

    def compile_all(folder: Path) -> None:
        run("javac", "-proc:none", "-d", folder, *FAKES.rglob("*.java"), DATA_TYPE)

    return make_once(tmp_path_factory, "android-fakes", compile_all)


@pytest.fixture(scope="session")
def desktop(
    mobilenet_files: dict[str, bytes], fakes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Desktop:
    return Desktop(mobilenet_files, tmp_path_factory.mktemp("desktop"), fakes)


def test_the_instrumentation_test_passes_with_the_aars_own_classes(desktop: Desktop) -> None:
    shown = desktop.java("RunTests", "edgeq.fmnist_mobilenet.GoldenTest")
    assert shown.endswith("3 passed\n")
    assert shown.count("closed") == 3


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_for_every_kind_of_interface(
    kind: Callable[[Path], PackageInputs], fakes: Path, tmp_path: Path
) -> None:
    made = kind(tmp_path)
    desktop = Desktop(make_files(made, LOCAL_TOOLS), tmp_path / "package", fakes)
    shown = desktop.java("RunTests", f"edgeq.{made.contract.name}.GoldenTest")
    assert shown.endswith("2 passed\n")


def test_a_wrong_vector_fails(mobilenet: PackageInputs, fakes: Path, tmp_path: Path) -> None:
    vector = mobilenet.golden.vectors[0]
    (name,) = vector.inputs
    for part, word in (("inputs", name), ("outputs", next(iter(vector.outputs)))):
        array = getattr(vector, part)[word].copy()
        array.reshape(-1)[0] ^= 0x40
        wrong = replace(vector, **{part: {word: array}})
        golden = replace(mobilenet.golden, vectors=(wrong,))
        desktop = Desktop(
            make_files(replace(mobilenet, golden=golden), LOCAL_TOOLS), tmp_path / part, fakes
        )
        with pytest.raises(AssertionError, match=r"java\.lang\.AssertionError"):
            desktop.java("RunTests", "edgeq.fmnist_mobilenet.GoldenTest")


# Wanted, found, tolerance, and whether it is near, as Java spells them.
NEAR = [
    ("float", "1f, 2f", "1f, 2.25f", "0.25", True),
    ("float", "1f, 2f", "1f, 1.75f", "0.25", True),
    ("float", "1f, 2f", "1f, 2.2500002f", "0.25", False),
    ("float", "1f, 2f", "Float.NaN, 2f", "0.25", False),
    ("float", "1f, 2f", "1f, Float.NaN", "1e9", False),
    ("float", "1f, 2f", "Float.POSITIVE_INFINITY, 2f", "1e9", False),
    ("float", "1f, 2f", "1f, 2f", "0.0", True),
    ("float", "1f, 2f", "1f, 2.0000002f", "0.0", False),
    ("long", "-128, 5", "-126, 5", "2.0", True),
    ("long", "-128, 5", "-126, 3", "2.0", True),
    ("long", "-128, 5", "-125, 5", "2.0", False),
    ("long", "-128, 5", "-128, 2", "2.0", False),
    ("long", "-128, 5", "127, 5", "254.0", False),
]


def test_each_value_is_held_to_the_tolerance(desktop: Desktop) -> None:
    package = "edgeq.fmnist_mobilenet"
    lines = []
    for kind, wanted, found, tolerance, _ in NEAR:
        lines.append(
            f'near = GoldenTest.class.getDeclaredMethod("near", String.class, {kind}[].class, '
            f"{kind}[].class, double.class); near.setAccessible(true);\n"
            f'try {{ near.invoke(null, "y", new {kind}[] {{{wanted}}}, new {kind}[] {{{found}}}, '
            f"{tolerance}); System.out.println(true); }}\n"
            "catch (java.lang.reflect.InvocationTargetException error) { "
            "System.out.println(!(error.getCause() instanceof AssertionError)); }"
        )
    shown = desktop.demo(package, "java.lang.reflect.Method near;\n" + "\n".join(lines))
    assert shown.split() == [str(is_near).lower() for *_, is_near in NEAR]


def test_settings_labels_bitmaps_and_refusals(desktop: Desktop, mobilenet: PackageInputs) -> None:
    raw = next(iter(mobilenet.golden.vectors[0].raw.values())).reshape(28, 28)
    colors = ", ".join(str(int(v) * 0x10101 - (1 << 24)) for v in raw.reshape(-1))
    best = int(np.argmax(next(iter(mobilenet.golden.vectors[0].real.values()))))
    top = f"top{naming.pascal(mobilenet.contract.outputs[0].identifier)}"
    found = desktop.demo(
        "edgeq.fmnist_mobilenet",
        f"""
        int[] colors = {{{colors}}};
        FmnistMobilenetModel.Settings settings = new FmnistMobilenetModel.Settings();
        try (FmnistMobilenetModel model =
                new FmnistMobilenetModel(new Context(), settings.threads(2).xnnpack(false))) {{
            FmnistMobilenetResult result = model.run(new Bitmap(colors, 28));
            System.out.println("best " + result.{top}(3).get(0).index);
            System.out.println("count " + result.{top}(99).size());
            try {{
                model.run(new byte[10], 5, 2, 1);
            }} catch (IllegalArgumentException error) {{
                System.out.println(error.getMessage());
            }}
            try {{
                model.run(new float[] {{1f}});
            }} catch (IllegalArgumentException error) {{
                System.out.println(error.getMessage());
            }}
            float[] nothing = new float[784];
            for (float wrong : new float[] {{Float.NaN, 1 / 0f, -1 / 0f, 1e30f}}) {{
                nothing[5] = wrong;
                try {{
                    System.out.println(model.run(nothing).{top}(10).size());
                }} catch (IllegalArgumentException error) {{
                    System.out.println(error.getMessage());
                }}
            }}
        }}
        float[] equal = {{1, 3, 3}};
        String[] names = {{"a", "b", "c"}};
        for (Object score : FmnistMobilenetResult.best(equal, names, 2)) System.out.println(score);
        for (String label : FmnistMobilenetLabels.of{top[3:]}()) {{
            System.out.println("<" + label + ">");
        }}
        System.out.println(FmnistMobilenetModel.SHA256);
        """,
    )
    lines = found.splitlines()
    assert lines[:4] == ["xnnpack false", "threads 2", f"best {best}", "count 10"]
    assert lines[4] == "The image must have 28 rows of 28 pixels."
    assert "takes 784 values, not 1." in lines[5]
    assert lines[6:10] == ["image contains NaN or infinity."] * 3 + ["10"]
    assert lines[10:13] == ["closed", "b 3.0", "c 3.0"]
    labels = mobilenet.contract.outputs[0].labels
    assert "".join(f"<{label}>\n" for label in labels) in found
    assert lines[-1] == hashlib.sha256(mobilenet.model.content).hexdigest()


SIZES = [
    (28, 28, 28, 28), (28, 28, 14, 14), (28, 28, 57, 31), (224, 160, 96, 96), (96, 64, 97, 63),
    (1, 1, 5, 7), (9, 1, 1, 9), (3, 200, 2, 11), (200, 3, 17, 3), (31, 33, 31, 8), (64, 48, 48, 64),
    (480, 640, 224, 224), (60, 60, 6, 33), (60, 60, 6, 34), (64, 48, 63, 49), (49, 48, 50, 49),
]  # fmt: skip


def test_resizing_and_grey_are_the_calibrations_bit_for_bit(
    desktop: Desktop, tmp_path: Path
) -> None:
    wanted, statements = [], []
    for number, (height, width, to_height, to_width) in enumerate(SIZES):
        for channels in (1, 3):
            array = pixels(height, width, channels, seed=number)
            if number % 3 == 0:  # extremes, where a filter's rounding shows
                array = (array > 127).astype(np.uint8) * 255
            path = tmp_path / f"{number}-{channels}"
            path.write_bytes(array.tobytes())
            resized = apply(Preprocessing(resize=(to_height, to_width)), array)
            wanted.append(hashlib.sha256(resized.astype(np.uint8).tobytes()).hexdigest())
            sizes = f"{height}, {width}, {channels}, {to_height}, {to_width}"
            statements.append(f'show(Tensors.resize(read("{path}"), {sizes}));')
            boxed = apply(Preprocessing(resize=(to_height, to_width), pad=200), array)
            wanted.append(hashlib.sha256(boxed.astype(np.uint8).tobytes()).hexdigest())
            statements.append(f'show(Tensors.letterbox(read("{path}"), {sizes}, 200));')
            if channels == 3:
                grey = Image.fromarray(array).convert("L")
                wanted.append(hashlib.sha256(grey.tobytes()).hexdigest())
                statements.append(f'show(Tensors.gray(read("{path}")));')
    body = (
        "\n".join(statements)
        + """
    }
    static byte[] read(String path) throws Exception {
        return java.nio.file.Files.readAllBytes(java.nio.file.Paths.get(path));
    }
    static void show(byte[] pixels) throws Exception {
        byte[] digest = java.security.MessageDigest.getInstance("SHA-256").digest(pixels);
        System.out.println(String.format("%064x", new java.math.BigInteger(1, digest)));
    """
    )
    assert desktop.demo("edgeq.fmnist_mobilenet", body).splitlines() == wanted


def test_quantizing_rounds_and_saturates_as_numpy_does(desktop: Desktop) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([
        rng.normal(0, 3, 500), [0.0, -0.0, 0.49999997, -0.49999997, 0.5, 1.5, -0.5, -2.5],
        [1e30, -1e30, np.inf, -np.inf, 8388609.0],
    ]).astype(np.float32)  # fmt: skip
    given = ", ".join(f"Float.intBitsToFloat({bits})" for bits in values.view(np.int32).tolist())
    statements, wanted = [f"float[] values = {{{given}}};"], []
    for dtype, scale, zero_point in (
        ("int8", 1.0, 0), ("int8", 0.0235, -128), ("uint8", 0.0078125, 114), ("int16", 1e-4, 0),
    ):  # fmt: skip
        spec = TensorSpec("x", (1, len(values)), dtype, (scale,), (zero_point,))
        tensor_ = quantmath.quantize(values, spec)
        wanted.append(str(tensor_.tolist()))
        wanted.append(str(quantmath.dequantize(tensor_, spec).view(np.int32).tolist()))
        layout = f"{tensor_.itemsize}, {str(tensor_.dtype.kind == 'i').lower()}"
        parts = f"{real(scale)}, {zero_point}, {layout}"
        statements.append(f"""
        {{
            java.nio.ByteBuffer tensor = Tensors.quantize(values, {parts});
            System.out.println(Arrays.toString(Tensors.getIntegers(tensor, {layout})));
            float[] real = Tensors.dequantize(tensor, {parts});
            int[] bits = new int[real.length];
            for (int i = 0; i < bits.length; i++) bits[i] = Float.floatToRawIntBits(real[i]);
            System.out.println(Arrays.toString(bits));
        }}""")
    assert desktop.demo("edgeq.fmnist_mobilenet", "\n".join(statements)).splitlines() == wanted


@pytest.fixture(scope="session")
def named(fakes: Path, tmp_path_factory: pytest.TempPathFactory) -> Desktop:
    """Two float inputs, by name."""
    folder = tmp_path_factory.mktemp("named")
    return Desktop(make_files(signed_by_name(folder), LOCAL_TOOLS), folder / "package", fakes)


CATCH = "catch (IllegalArgumentException error) { System.out.println(error.getMessage()); }\n"


def test_one_number_with_two_labels_is_a_probability(named: Desktop) -> None:
    found = named.demo(
        "edgeq.named",
        f"""
        try (NamedModel model = new NamedModel(new Context())) {{
            for (float half : new float[] {{0.1f, 0.25f, 0.4f}}) {{
                NamedModel.Inputs inputs = new NamedModel.Inputs();
                inputs.second(new float[] {{half}}).first(NamedCodec.prepareFirst(new float[2]));
                System.out.println(model.run(inputs).topProbability(1));
            }}
            try {{
                model.run(new NamedModel.Inputs().first(new float[2]));
            }} {CATCH}
            try {{
                java.nio.ByteBuffer half = NamedCodec.prepareSecond(new float[1]);
                model.run(new NamedModel.Inputs().first(half).second(half));
            }} {CATCH}
        }}
        """,
    )
    assert found.splitlines()[1:-1] == [
        *("[dull 0.8]", "[dull 0.5]", "[bright 0.8]"),
        *("second is missing.", "first takes 8 bytes, not 4."),
    ]


# What a caller does to a buffer of two floats before it is given to `run`, and what comes out.
BUFFERS = [
    ("Tensors.allocate(8)", "b.putFloat(1).putFloat(2);", "[2.0, 4.0]"),
    ("ByteBuffer.allocate(8).order(NATIVE)", "b.putFloat(3).putFloat(4);", "[6.0, 8.0]"),
    ("ByteBuffer.allocate(8).order(NATIVE)", "b.putFloat(5).putFloat(6).flip();", "[10.0, 12.0]"),
    ("ByteBuffer.allocate(8).order(NATIVE)", "b.putFloat(7);", "first takes a whole buffer; this "
     "one is at 4 of 8 bytes: fill all 8."),
    ("ByteBuffer.allocate(8).order(NATIVE)", "b.putFloat(7).flip();", "first takes a whole buffer; "
     "this one is at 0 of 4 bytes: fill all 8."),
    ("ByteBuffer.allocate(8)", "b.putFloat(8).putFloat(9);", "first takes a buffer of "
     "order(ByteOrder.nativeOrder()); set it before you fill it."),
    ("ByteBuffer.allocateDirect(8)", "b.putFloat(8).putFloat(9);", "first takes a buffer of "
     "order(ByteOrder.nativeOrder()); set it before you fill it."),
    ("ByteBuffer.allocate(16).order(NATIVE)", "b.putFloat(8).putFloat(9);",
     "first takes 8 bytes, not 16."),
]  # fmt: skip


def test_a_buffer_is_taken_whole_or_refused_and_never_the_sample_before(named: Desktop) -> None:
    given = "\n".join(
        f"""
        {{
            ByteBuffer b = {made};
            {filled}
            for (int i = 0; i < 2; i++) {{
                try {{
                    float[] found = model.run(second.first(b)).twice;
                    System.out.println(Arrays.toString(found));
                }} {CATCH}
            }}
        }}"""
        for made, filled, _ in BUFFERS
    ).replace("NATIVE", "java.nio.ByteOrder.nativeOrder()")
    body = (
        (
            "try (NamedModel model = new NamedModel(new Context())) { NamedModel.Inputs second = "
            f"new NamedModel.Inputs().second(new float[1]);\n{given}\n}}"
        )
        .replace("ByteBuffer b", "java.nio.ByteBuffer b")
        .replace("= ByteB", "= java.nio.ByteB")
    )
    found = named.demo("edgeq.named", body).splitlines()[1:-1]
    assert found == [wanted for *_, wanted in BUFFERS for _ in range(2)]


def test_threads_that_share_a_model_get_their_own_answers(named: Desktop) -> None:
    found = named.demo(
        "edgeq.named",
        """
        try (NamedModel model = new NamedModel(new Context())) {
            List<Thread> threads = new ArrayList<>();
            java.util.concurrent.atomic.AtomicInteger right =
                    new java.util.concurrent.atomic.AtomicInteger();
            for (int i = 0; i < 4; i++) {
                float own = i;
                threads.add(new Thread(() -> {
                    for (int k = 0; k < 20; k++) {
                        NamedModel.Inputs inputs = new NamedModel.Inputs();
                        inputs.first(new float[] {own, -own}).second(new float[] {own});
                        float[] twice = model.run(inputs).twice;
                        if (twice[0] == 2 * own && twice[1] == -2 * own) right.incrementAndGet();
                    }
                }));
            }
            for (Thread thread : threads) thread.start();
            for (Thread thread : threads) thread.join();
            System.out.println(right);
        }
        """,
    )
    assert found.splitlines()[1:-1] == ["80"]


def twins(mobilenet: PackageInputs) -> dict[str, bytes]:
    """What is said of files that differ in one tensor's type or quantization, and the files."""
    found = {}
    for side, part, value, words in (
        ("inputs", "scale", [0.25], "INT8 .* with scale 0.25 and zero point -128, not INT8 .*"),
        ("inputs", "zeroPoint", [3], "INT8 .* and zero point 3, not INT8 .* point -128"),
        ("inputs", "type", UINT8, "UINT8 .*, not INT8 "),
        ("outputs", "scale", [0.25], "INT8 .* with scale 0.25 and zero point -128, not INT8 .*"),
        ("outputs", "zeroPoint", [7], "INT8 .* and zero point 7, not INT8 .* point -128"),
        ("outputs", "type", UINT8, "UINT8 .*, not INT8 "),
    ):
        tree = flatbuffer.parse(mobilenet.model.content, "the model")
        main = tree.subgraphs[0]
        own = main.tensors[getattr(main, side)[0]]
        setattr(own if part == "type" else own.quantization, part, value)
        name = getattr(mobilenet.contract, side)[0].spec.name
        found[f"{name} is {words}"] = flatbuffer.serialize(tree)
    tree = flatbuffer.parse(mobilenet.model.content, "the model")
    tree.signatureDefs[0].inputs[0].name = b"other"
    return {**found, "is not a valid name": flatbuffer.serialize(tree)}


def test_another_model_is_refused_as_the_apps_asset_and_as_a_file(
    desktop: Desktop, mobilenet: PackageInputs, tmp_path: Path
) -> None:
    places = {"own": mobilenet.model.content, **twins(mobilenet)}
    made = []
    for number, content in enumerate(places.values()):
        (tmp_path / f"{number}.tflite").write_bytes(content)
        made.append(f'new java.io.File("{tmp_path / f"{number}.tflite"}")')
    loads = "\n".join(
        f"try (FmnistMobilenetModel model = new FmnistMobilenetModel({model}, settings)) {{ "
        f'System.out.println("loaded"); }} {CATCH}'
        for model in (*made, f"java.nio.ByteBuffer.wrap(java.nio.file.Files.readAllBytes("
                      f"{made[0]}.toPath()))")
    )  # fmt: skip
    settings = "FmnistMobilenetModel.Settings settings = new FmnistMobilenetModel.Settings();"
    found = desktop.demo("edgeq.fmnist_mobilenet", f"{settings}\n{loads}").splitlines()
    said = [line for line in found if not line.startswith("xnnpack")]
    assert said.count("closed") == len(places) + 1
    said = [line for line in said if line != "closed"]
    assert said[0] == said[-1] == "loaded"
    for number, (line, words) in enumerate(zip(said[1:-1], list(places)[1:], strict=True), 1):
        told = (
            f"^{tmp_path}/{number}.tflite is not the model that this code was made for: .*{words}"
        )
        assert re.search(told, line), line
    swapped = tmp_path / "swapped.aar"
    swapped.write_bytes(write_zip({desktop.asset: places.popitem()[1]}, stored=(desktop.asset,)))
    with pytest.raises(AssertionError, match=r"fmnist_mobilenet\.tflite is not the model"):
        desktop.java("RunTests", "edgeq.fmnist_mobilenet.GoldenTest", archive=swapped)


def test_kotlin_compiles_and_runs(
    desktop: Desktop, mobilenet: PackageInputs, tmp_path: Path
) -> None:
    needs("kotlinc")
    (source,) = (desktop.folder / "module/src/main/kotlin").rglob("*.kt")
    main, identifier = tmp_path / "Main.kt", mobilenet.contract.outputs[0].identifier
    readme = (desktop.folder / "README.md").read_text()
    (shown,) = re.findall(r"```kotlin\n(FmnistMobilenetModel\(context.*?)```", readme, re.S)
    main.write_text(
        "package edgeq.fmnist_mobilenet\n"
        "import android.content.Context\nimport android.graphics.Bitmap\n"
        f"fun shown(context: Context, bitmap: Bitmap) {{\n{shown}}}\n"
        "fun main() = FmnistMobilenetKotlinModel(android.content.Context(), threads = 3).use {\n"
        f"    println(it.run(FloatArray(784)).{naming.camel(identifier)}.size)\n}}\n"
    )
    made = tmp_path / "main.jar"
    run("kotlinc", source, main, "-cp", desktop.path, "-include-runtime", "-d", made)
    found = desktop.java("edgeq.fmnist_mobilenet.MainKt", path=f"{desktop.path}{os.pathsep}{made}")
    assert found.splitlines() == ["xnnpack true", "threads 3", "10", "closed"]


# ---------------------------------------------------------------- files


def test_the_aar_holds_the_model_aligned_and_classes_without_stubs(
    desktop: Desktop, mobilenet: PackageInputs
) -> None:
    offset, info = stored_at(desktop.aar, "assets/fmnist_mobilenet.tflite")
    assert info.compress_type == zipfile.ZIP_STORED
    assert offset % PAGE_BYTES == 0
    assert desktop.aar.read_bytes()[offset : offset + info.file_size] == mobilenet.model.content
    inside = read_zip(desktop.aar.read_bytes(), "aar")
    assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} < set(inside)
    classes = read_zip(inside["classes.jar"], "jar")
    names = {name for name in classes if name.endswith(".class")}
    assert all(name.startswith("edgeq/fmnist_mobilenet/FmnistMobilenet")
               or name == "edgeq/fmnist_mobilenet/Tensors.class" for name in names)  # fmt: skip
    assert "edgeq/fmnist_mobilenet/FmnistMobilenetModel.class" in names
    # 52 is Java 8, which every Android runs.
    assert {struct.unpack(">H", classes[name][6:8])[0] for name in names} == {52}
    assert b"Build-Jdk-Spec: " in classes["META-INF/MANIFEST.MF"]


def test_equal_ingredients_make_equal_bytes(
    mobilenet: PackageInputs,
    mobilenet_files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("TZ", "Pacific/Kiritimati"), ("LC_ALL", "tr_TR.UTF-8"),
                        ("TMPDIR", str(tmp_path)), ("JDK_JAVAC_OPTIONS", "-g"),
                        ("CLASSPATH", str(tmp_path))):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    assert make_files(mobilenet, LOCAL_TOOLS) == mobilenet_files


def test_every_copy_of_the_model_is_found(
    mobilenet: PackageInputs, mobilenet_files: dict[str, bytes]
) -> None:
    assert find_target("android").find_models(mobilenet_files) == {
        "module/src/main/assets/fmnist_mobilenet.tflite": mobilenet.model.content,
        "fmnist_mobilenet-1.4.0-rc1.aar!assets/fmnist_mobilenet.tflite": mobilenet.model.content,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("fmnist_mobilenet-1.4.0-rc1.aar"), "The AAR is missing"),
        (lambda files: files.update({"fmnist_mobilenet-1.4.0-rc1.aar": b"PK"}), "damaged"),
        (lambda files: files.pop("module/src/main/assets/fmnist_mobilenet.tflite"), "no model"),
        (lambda files: files.update({"b.aar": empty_zip()}), "b.aar holds no model"),
    ],
)
def test_a_package_without_its_models_is_refused(
    mobilenet_files: dict[str, bytes], change: Callable[[dict[str, bytes]], object], message: str
) -> None:
    files = dict(mobilenet_files)
    change(files)
    with pytest.raises(PackageError, match=message):
        find_models(files)


def empty_zip() -> bytes:
    made = io.BytesIO()
    zipfile.ZipFile(made, "w").close()
    return made.getvalue()


def test_the_runtime_follows_what_the_model_needs(mobilenet: PackageInputs) -> None:
    needs("javac")
    for release, runtime, sdk in (
        (None, "litert:1.4.2", "23"), ("2.18.0", "litert:1.4.2", "23"),
        ("2.21.0", "litert:2.3.0", "24"),
    ):  # fmt: skip
        contract = replace(mobilenet.contract, min_runtime_version=release)
        files = make_files(replace(mobilenet, contract=contract), LOCAL_TOOLS)
        gradle = files["module/build.gradle.kts"].decode()
        assert f'api("com.google.ai.edge.litert:{runtime}")' in gradle
        assert f"minSdk = {sdk}" in gradle
        assert f"com.google.ai.edge.litert:{runtime}" in files["README.md"].decode()


def test_the_readme_tells_how_pictures_become_upright(mobilenet_files: dict[str, bytes]) -> None:
    told = mobilenet_files["README.md"].decode()
    for line in ("upright.postRotate(image.getImageInfo().getRotationDegrees());",
                 "upright.postScale(-1f, 1f)", "ExifInterface(path).getRotationDegrees()",
                 "bitmap = bitmap.copy(Bitmap.Config.ARGB_8888, false)"):  # fmt: skip
        assert line in told
    (source,) = (text for path, text in mobilenet_files.items() if path.endswith("Model.java"))
    assert b"@param bitmap upright" in source


def test_the_pom_is_xml_whatever_the_license_is(mobilenet_files: dict[str, bytes]) -> None:
    pom = ElementTree.fromstring(mobilenet_files["fmnist_mobilenet-1.4.0-rc1.pom"])
    texts = [element.text for element in pom.iter()]
    assert "Apache-2.0 & <more>" in texts
    assert "com.google.ai.edge.litert" in texts


def test_without_a_compiler_it_says_what_to_install(
    mobilenet: PackageInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(PackageError, match=r"no javac.*default-jdk-headless"):
        make_files(mobilenet, LOCAL_TOOLS)


def test_a_compiler_that_fails_is_quoted(
    mobilenet: PackageInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "bin" / "javac"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho too old\n[ $1 = -version ] || exit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PackageError, match="does not compile") as caught:
        make_files(mobilenet, LOCAL_TOOLS)
    assert "too old" in (caught.value.details or "")


def test_sound_is_no_bitmap(tmp_path: Path) -> None:
    needs("javac")
    files = make_files(spectrogram(tmp_path), LOCAL_TOOLS)
    texts = [content for path, content in files.items() if path.endswith((".java", ".md"))]
    texts = [text for text in texts if b"final class Tensors " not in text]
    assert len(texts) == 5
    assert not any(b"itmap" in text or b"pixels" in text for text in texts)
    assert b"SoundResult result = model.run(values);" in files["README.md"]
    assert b"upright" not in files["README.md"]
    row = b"| mfcc | int8 1x7x5x1. 35 real values. Prepared here: quantized. |"
    assert row in files["README.md"]


def test_what_does_not_fit_is_refused(mobilenet: PackageInputs) -> None:
    (item,) = mobilenet.contract.inputs
    spec = replace(item.spec, shape=(8, *item.spec.shape[1:]))
    contract = replace(mobilenet.contract, inputs=(replace(item, spec=spec),))
    with pytest.raises(PackageError, match="takes 8 samples at a time"):
        make_files(replace(mobilenet, contract=contract), LOCAL_TOOLS)
    (item,) = mobilenet.contract.outputs
    contract = replace(mobilenet.contract, outputs=(replace(item, labels=("x",) * 30_001),))
    with pytest.raises(PackageError, match="30000 labels"):
        make_files(replace(mobilenet, contract=contract), LOCAL_TOOLS)


def test_many_labels_compile(mobilenet: PackageInputs) -> None:
    needs("javac")
    (item,) = mobilenet.contract.outputs
    labels = tuple(f"label {number}" for number in range(30_000))
    contract = replace(mobilenet.contract, outputs=(replace(item, labels=labels),))
    assert make_files(replace(mobilenet, contract=contract), LOCAL_TOOLS)


def test_literals() -> None:
    assert string('a"\\\n\x07é\U0001f45f') == '"a\\"\\\\\\012\\007\\351\\ud83d\\udc5f"'
    assert shown("a*/\\u002a|`\n") == "a?/?u002a???"
    assert real(1 / 255) == "0.003921569f"


# ---------------------------------------------------------------- an APK


def test_an_apk_with_the_aars_content_is_built_aligned_signed_and_run(
    desktop: Desktop, mobilenet: PackageInputs, tmp_path: Path
) -> None:
    needs("aapt2", "zipalign", "apksigner", "keytool")
    if not FRAMEWORK.is_file():
        pytest.skip("Android's resources are not here: apt-get install android-framework-res")
    with zipfile.ZipFile(desktop.aar) as aar:
        aar.extractall(tmp_path / "aar")
    # The library's manifest as the merger hands it on; the app has no code of its own.
    manifest = (tmp_path / "aar/AndroidManifest.xml").read_text()
    app = manifest.replace("</manifest>", '<application android:hasCode="false" /></manifest>')
    (tmp_path / "AndroidManifest.xml").write_text(app)
    linked, aligned, signed = (tmp_path / f"{step}.apk" for step in ("linked", "aligned", "signed"))
    link = "aapt2", "link", "-o", linked, "-I", FRAMEWORK, "-0", ".tflite"
    run(*link, "--manifest", tmp_path / "AndroidManifest.xml", "-A", tmp_path / "aar/assets")
    run("zipalign", "-f", PAGE_BYTES, linked, aligned)
    run("zipalign", "-c", PAGE_BYTES, aligned)
    run("zipalign", "-c", PAGE_BYTES, desktop.aar)
    key = tmp_path / "key.jks"
    secret = "-storepass", "secret1", "-keypass", "secret1"
    run("keytool", "-genkeypair", "-keystore", key, *secret, "-alias", "a", "-keyalg", "RSA",
        "-dname", "CN=edgeq test", "-validity", 2)  # fmt: skip
    run("apksigner", "sign", "--ks", key, "--ks-pass", "pass:secret1", "--out", signed, aligned)
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in run(
        "apksigner", "verify", "--verbose", signed
    )
    for archive in (aligned, signed):
        offset, info = stored_at(archive, desktop.asset)
        assert info.compress_type == zipfile.ZIP_STORED
        assert offset % PAGE_BYTES == 0
        assert archive.read_bytes()[offset : offset + info.file_size] == mobilenet.model.content
    found = desktop.java("RunTests", "edgeq.fmnist_mobilenet.GoldenTest", archive=signed)
    assert found.endswith("3 passed\n")
