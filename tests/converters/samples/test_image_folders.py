"""Folders of images, made with Pillow."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import TensorSpec

COLOUR = TensorSpec("image", (-1, 2, 3, 3), "float32")
GRAY = TensorSpec("image", (-1, 2, 3, 1), "float32")
FLAT = TensorSpec("image", (-1, 2, 3), "float32")
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def raises(message):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def save(path, pixels=PIXELS, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_flat_folder_is_read_in_order_of_names_without_labels(tmp_path):
    save(tmp_path / "b.png", PIXELS + 1)
    save(tmp_path / "a.PNG")
    samples = open_samples(tmp_path, [COLOUR])
    assert [sample.inputs["image"][0, 0, 0] for sample in samples.iterate()] == [0.0, 1.0]
    assert (samples.count, samples.has_labels, samples.class_names) == (2, False, ())
    assert samples.ref.kind == "images"


def test_class_folders_give_labels(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/1.png", "eel/1.png"):
        save(tmp_path / name)
    samples = open_samples(tmp_path, [COLOUR])
    assert samples.class_names == ("cat", "dog", "eel")
    assert [sample.label for sample in samples.iterate()] == [0, 0, 1, 2]
    assert [sample.label for sample in samples.iterate((1, 3))] == [0, 2]
    assert samples.ref.class_names == ("cat", "dog", "eel")


def test_a_class_folder_whose_name_is_no_text_has_its_escape_in_the_record(tmp_path):
    for name in (b"a\xff", b"b"):
        save(tmp_path / os.fsdecode(name) / "1.png")
    assert open_samples(tmp_path, [COLOUR]).ref.class_names == ("a\\udcff", "b")


def test_what_macs_and_notebooks_leave_in_a_folder_is_no_class(tmp_path):
    for name in ("cat/1.png", "dog/1.png", "dog/._1.png", "__MACOSX/._cat", ".ipynb_checkpoints/a"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5")
    for name in ("cat/1.png", "dog/1.gif"):
        save(tmp_path / name, PIXELS[:, :, 0])
    (tmp_path / "dog/1.png").unlink()
    samples = open_samples(tmp_path, [COLOUR])
    assert (samples.class_names, samples.count) == (("cat", "dog"), 2)
    assert [sample.label for sample in samples.iterate()] == [0, 1]


def test_digest_covers_names_and_bytes_of_images_only(tmp_path):
    save(tmp_path / "a.png")
    digest = open_samples(tmp_path, [COLOUR]).ref.sha256
    (tmp_path / ".DS_Store").touch()
    assert open_samples(tmp_path, [COLOUR]).ref.sha256 == digest
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert open_samples(tmp_path, [COLOUR]).ref.sha256 != digest


def test_jpeg_is_decoded(tmp_path):
    save(tmp_path / "a.jpg", np.full((2, 3, 3), (200, 100, 50), np.uint8), quality=100)
    sample = next(open_samples(tmp_path, [COLOUR]).iterate())
    np.testing.assert_allclose(sample.inputs["image"][0, 0], (200, 100, 50), atol=3)


@pytest.mark.parametrize("spec", [GRAY, FLAT])
def test_gray_files_feed_gray_models_without_a_note(tmp_path, spec):
    save(tmp_path / "a.png", PIXELS[:, :, 0])
    samples = open_samples(tmp_path, [spec])
    assert next(samples.iterate()).inputs["image"].shape == spec.shape[1:]
    assert samples.issues == ()


def test_gray_files_feed_colour_models(tmp_path):
    save(tmp_path / "a.png", PIXELS[:, :, 0])
    sample = next(open_samples(tmp_path, [COLOUR]).iterate())
    np.testing.assert_array_equal(sample.inputs["image"][1, 2], [15, 15, 15])


def test_colour_files_feed_gray_models_when_declared(tmp_path):
    save(tmp_path / "a.png", np.full((8, 8, 3), (10, 20, 30), np.uint8))
    declared = parse_preprocessing(["resize=2x3,channels=gray,scale=1/9"], [GRAY])
    sample = next(open_samples(tmp_path, [GRAY], declared).iterate())
    np.testing.assert_allclose(sample.inputs["image"], np.full((2, 3, 1), 2.0))


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "LA", "1"])
def test_every_8_bit_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    sample = next(open_samples(tmp_path, [COLOUR]).iterate())
    np.testing.assert_array_equal(sample.inputs["image"], np.full((2, 3, 3), 255))


def test_transparent_palette_becomes_rgb(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    sample = next(open_samples(tmp_path, [COLOUR]).iterate())
    np.testing.assert_array_equal(sample.inputs["image"][0, 0], (10, 20, 30))


def test_orientation_is_applied_only_if_that_is_declared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees, clockwise
    save(tmp_path / "a.png", exif=exif)
    save(tmp_path / "b.png")
    samples = open_samples(tmp_path, [COLOUR])
    message = (
        f"1 images of {tmp_path} carry an EXIF orientation, which is not applied, e.g. a.png; "
        "--preprocess exif=apply turns them."
    )
    assert [sample.inputs["image"].shape for sample in samples.iterate()] == [(2, 3, 3)] * 2
    assert samples.issues == (make_issue("data.orientation_ignored", message),)
    turned = TensorSpec("image", (1, 3, 2, 3), "float32")
    samples = open_samples(tmp_path, [turned], parse_preprocessing(["exif=apply"], [turned]))
    first = next(samples.iterate((0,))).inputs["image"]
    np.testing.assert_array_equal(first, np.rot90(PIXELS, -1))
    assert samples.issues == ()


def test_dropped_transparency_is_noted(tmp_path):
    save(tmp_path / "a.png", np.dstack([PIXELS, np.full((2, 3), 255, np.uint8)]))
    save(tmp_path / "b.png", np.dstack([PIXELS, np.full((2, 3), 254, np.uint8)]))
    samples = open_samples(tmp_path, [COLOUR])
    for sample in samples.iterate():
        np.testing.assert_array_equal(sample.inputs["image"], PIXELS)
    message = f"1 images of {tmp_path} have transparency, which is dropped, e.g. b.png."
    assert samples.issues == (make_issue("data.transparency_dropped", message),)


def test_other_files_are_noted(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    samples = open_samples(tmp_path, [COLOUR])
    message = f"1 files of {tmp_path} are not images, e.g. notes.txt."
    assert samples.issues == (make_issue("data.files_ignored", message),)


def test_numbered_classes_out_of_order_are_noted(tmp_path):
    for number in (0, 2, 10):
        save(tmp_path / f"{number}/a.png")
    message = (
        f"The class folders of {tmp_path} are numbers sorted as text, as keras sorts them: "
        "'10' has label 1."
    )
    issues = open_samples(tmp_path, [COLOUR]).issues
    assert issues == (make_issue("data.class_order", message),)


@pytest.mark.parametrize(
    ("shape", "spec", "option"),
    [
        ((8, 9, 3), COLOUR, "resize=2x3"),
        ((8, 9, 3), GRAY, "resize=2x3,channels=gray"),
        ((2, 3, 3), GRAY, "channels=gray"),
        ((8, 9), GRAY, "resize=2x3"),
    ],
)
def test_images_that_do_not_fit_name_the_option(tmp_path, shape, spec, option):
    save(tmp_path / "a.png", np.zeros(shape, np.uint8))
    height, width, channels = (*shape, 1)[:3]
    with raises(
        f"Input 'image' takes 2x3x{spec.shape[3]}, but image a.png is "
        f"{height}x{width}x{channels}. Declare it: --preprocess {option}"
    ):
        open_samples(tmp_path, [spec])


def test_images_do_not_fit_channels_first(tmp_path):
    save(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with raises(
        "Input 'image' takes 3x8x8 (channels first), but image a.png is 8x8x3 (channels last). "
        "Store the samples as x.transpose(0, 3, 1, 2), or one PyTorch sample as "
        "x.permute(2, 0, 1). "
        "If the model came from .pt2 or .onnx, convert it again with --layout nhwc: channels last."
    ):
        open_samples(tmp_path, [TensorSpec("image", (1, 3, 8, 8), "float32")])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_truncated_image_among_good_ones_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.{suffix}", noise)
    broken = tmp_path / f"b.{suffix}"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    samples = open_samples(tmp_path, [TensorSpec("image", (1, 64, 64, 3), "float32")])
    expected = rf"^Image b\.{suffix} of .* cannot be read: .*\. Repair or remove it\.$"
    with pytest.raises(DataError, match=expected):
        list(samples.iterate())


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("not pixels")
    with raises(
        f"Image a.png of {tmp_path} is not a BMP, GIF, JPEG, PNG, PPM or WEBP image. "
        "Repair or remove it."
    ):
        open_samples(tmp_path, [COLOUR])


def test_16_bits_are_kept_and_refused_as_colour(tmp_path):
    deep = np.array([[0, 1, 256], [40_000, 65_534, 65_535]], np.uint16)
    save(tmp_path / "a.png", deep)
    samples = open_samples(tmp_path, [GRAY], parse_preprocessing(["scale=1/65535"], [GRAY]))
    found = next(samples.iterate()).inputs["image"][:, :, 0]
    np.testing.assert_array_equal(found, deep.astype(np.float32) * np.float32(1 / 65535))
    with raises(
        "Image a.png has pixel mode 'I;16', not 8 bits per channel. "
        "Convert it to 8 bits, or give the samples as an .npy file."
    ):
        open_samples(tmp_path, [COLOUR])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [],
            "{0} holds no images, .npy or .wav files. Looked for .bmp, .gif, .jpeg, .jpg, .pgm, "
            ".png, .ppm, .webp, .npy, .wav files.",
        ),
        (
            ["a.png", "cat/a.png"],
            "{0} holds both images and folders, e.g. a.png and cat/. "
            "Keep either images only, or one folder of images per class.",
        ),
        (
            ["cat 1/a.png"],
            "{0} holds a single class folder, cat 1/. "
            "For images without labels name that folder: --data '{0}/cat 1'",
        ),
    ],
)
def test_folders_without_a_clear_layout_are_refused(tmp_path, names, message):
    for name in names:
        save(tmp_path / name)
    with raises(message.format(tmp_path)):
        open_samples(tmp_path, [COLOUR])


def test_nested_class_folders_are_refused(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with raises(
        f"Class folder train/ of {tmp_path} holds a folder itself: cat/. "
        "Name the folder whose folders are the classes."
    ):
        open_samples(tmp_path, [COLOUR])


def test_one_of_several_classes_is_asked_about(tmp_path):
    for name in ("train/arrow", "train/circle", "val/arrow", "val/more/circle"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name / "a.png")
    folder = tmp_path / "train/arrow"
    message = (
        f"{folder} has no class folders, and the folders beside it hold images, too: one class "
        "only? Name its parent folder 'train' for all classes."
    )
    assert open_samples(folder, [COLOUR]).issues == (make_issue("data.one_class", message),)
    assert open_samples(tmp_path / "val/arrow", [COLOUR]).issues == ()  # more/ holds a folder


def test_a_missing_folder_names_the_nearest(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError) as caught:
        open_samples(tmp_path / "trian", [COLOUR])
    assert caught.value.hint.startswith(f"Did you mean '{tmp_path}/train'? Known: ")


def test_a_list_of_names_never_hides_one(tmp_path):
    for count, shown in ((5, "c0, c1, c2, c3, c4"), (6, "c0, c1, c2, c3 and 2 more")):
        for number in range(count):
            save(tmp_path / f"c{number}/a.png")
        (issue,) = open_samples(tmp_path, [COLOUR]).issues
        assert issue.message.endswith(f" in alphabetical order: {shown}.")
