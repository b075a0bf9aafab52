"""Folders of WAV and `.npy` files, and the front ends of keyword models."""

import re
import struct
import wave

import numpy as np
import pytest

from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import apply, format_preprocessing, parse_preprocessing
from edgeq.converters.samples.sounds.front_end import transform
from edgeq.errors import DataError, UsageError
from edgeq.issues import make_issue
from edgeq.models import words
from edgeq.values import TensorSpec

# The front end of edgeq.models.words, as a user declares it.
WORDS = (
    "sound=log-mel,rate=22050,window=1024,hop=700,bands=20,low=80,high=7600,floor=0.001,"
    "taper=hanning"
)
FEATURES = TensorSpec("sound", (1, 31, 20), "float32")
PLAIN = TensorSpec("wave", (1, 8), "float32")


def raises(message, kind=DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def declare(text, spec=FEATURES):
    (how,) = parse_preprocessing([text], [spec])
    return how


def sounds(count, size=22050):
    return np.random.default_rng(0).uniform(-1, 1, (count, size)).astype(np.float32)


def write(path, samples, rate=22050, tag=3, bits=32, channels=1):
    """A WAV file; `samples` are bytes, or an array of what `tag` and `bits` say."""
    path.parent.mkdir(exist_ok=True)
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # of odd length, so padded
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + extra
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


# ---------------------------------------------------------------- front ends


def test_declared_log_mel_is_what_the_example_models_were_trained_with():
    clips = sounds(2)
    np.testing.assert_array_equal(apply(declare(WORDS), clips[1]), words.log_mel(clips)[1])


def test_integers_are_the_same_sound():
    clip = np.rint(sounds(1)[0] * 32767).astype(np.int16)
    expected = apply(declare(WORDS), clip / np.float32(32768))
    np.testing.assert_array_equal(apply(declare(WORDS), clip), expected)


def test_numbers_follow_the_front_end():
    clip = sounds(1)[0]
    plain = apply(declare(WORDS), clip)
    found = apply(declare(f"{WORDS},mean=2,std=4"), clip)
    np.testing.assert_allclose(found, (plain - 2) / 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (WORDS, (1, 31, 20)),
        ("sound=spectrogram,rate=16000,window=255,hop=128,power=1", (1, 124, 129)),
        ("sound=mfcc,rate=16000,window=480,hop=320,bands=40,coefficients=10,filters=tensorflow",
         (1, 49, 10, 1)),
        ("sound=log-mel,rate=16000,window=400,hop=160,fft=1024,bands=64,scale=0.1", (1, 96, 64)),
    ],
)  # fmt: skip
def test_what_is_declared_is_written_as_it_is_read(text, shape):
    spec = TensorSpec("sound", shape, "float32")
    how = declare(text, spec)
    assert declare(format_preprocessing(how), spec) == how
    assert format_preprocessing(how) == text


def test_tensorflow_computes_the_same(tensorflow_features):
    clip = sounds(1, 16000)[0]
    for text, expected in tensorflow_features(clip).items():
        size = expected.shape
        how = declare(text, TensorSpec("sound", (1, *size), "float32"))
        assert how.sound is not None
        found = transform(how.sound, clip, "x")
        assert found.shape == size
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def tensorflow_features():
    """Features of tf.signal, by the text that declares them."""
    tf = pytest.importorskip("tensorflow")

    def compute(clip):
        spectrum = tf.abs(tf.signal.stft(clip, 255, 128))
        wide = tf.abs(tf.signal.stft(clip, 480, 320)) ** 2
        filters = tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)
        mel = tf.math.log(wide @ filters + 1e-6)
        mfcc = tf.signal.mfccs_from_log_mel_spectrograms(mel)[..., :10]
        common = "rate=16000,window=480,hop=320,bands=40"
        ends = "low=20,high=4000,filters=tensorflow"
        return {
            # With an odd window, tf.signal takes the symmetric taper.
            "sound=spectrogram,rate=16000,window=255,hop=128,power=1,taper=hanning": (
                spectrum.numpy()
            ),
            f"sound=log-mel,{common},{ends}": mel.numpy(),
            f"sound=mfcc,{common},coefficients=10,{ends}": mfcc.numpy(),
        }

    return compute


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=16000", "rate= belongs to the front end of a sound. Write sound=KIND first, with "
         "KIND one of log-mel, mfcc, spectrogram."),
        ("sound=log-mel,rate=16000", "sound=log-mel needs window=, hop=, bands=. For example: "
         "sound=log-mel,rate=16000,window=480,hop=320,bands=40"),
        ("sound=mel", "--preprocess sound=mel: 'mel' is not a value of sound=. Did you mean "
         "'log-mel'? Known: log-mel, mfcc, spectrogram."),
        ("sound=log-mel,rate=16e3", "--preprocess sound=log-mel,rate=16e3: rate must be a whole "
         "number, not '16e3'."),
        (WORDS.replace("bands=20", "bands=40"), "sound=log-mel gives frames of 40 values, but "
         "input 'sound' is 31x20."),
        (WORDS.replace("7600", "12000"), "low=80 and high=12000 must rise from 0 to half of "
         "rate=22050."),
        ("sound=spectrogram,rate=8000,window=255,hop=128,low=20", "low= is not for "
         "sound=spectrogram. It is for sound=log-mel or sound=mfcc."),
        ("sound=spectrogram,rate=8000,window=255,hop=128,filters=htk", "filters= is not for "
         "sound=spectrogram. It is for sound=log-mel or sound=mfcc."),
        (f"{WORDS},coefficients=10", "coefficients= is not for sound=log-mel. It is for "
         "sound=mfcc."),
        (f"{WORDS},fft=512", "fft=512 is smaller than window=1024."),
        (f"{WORDS},resize=31x20", "sound= and resize= cannot be combined for input 'sound'. "
         "Numbers may follow a front end: scale=, offset=, mean=, std=."),
    ],
)  # fmt: skip
def test_front_ends_that_cannot_be_are_refused(text, message):
    with raises(message, UsageError):
        declare(text)


def test_a_clip_that_is_no_sound_is_named():
    how = declare(WORDS)
    with raises(
        "Sample 1 holds int64 values: a sound has real values from -1 to 1, or signed integers "
        "of 8 to 32 bits."
    ):
        apply(how, np.zeros(22050, np.int64), "sample 1")
    with raises("Sample 1 has 1000 samples, fewer than window=1024."):
        apply(how, np.zeros(1000, np.float32), "sample 1")


# ---------------------------------------------------------------- folders


def test_a_folder_of_wav_files_feeds_a_keyword_model(tmp_path):
    clips = sounds(4)
    for number, clip in enumerate(clips):
        write(tmp_path / ("no" if number < 2 else "yes") / f"{number}.wav", clip)
    samples = open_samples(tmp_path, [FEATURES], [declare(WORDS)])
    found = list(samples.iterate())
    assert [sample.label for sample in found] == [0, 0, 1, 1]
    assert (samples.ref.kind, samples.class_names) == ("sounds", ("no", "yes"))
    np.testing.assert_array_equal(found[3].inputs["sound"], words.log_mel(clips)[3])


def test_clips_of_other_lengths_are_fitted_and_that_is_said(tmp_path):
    clip = sounds(1, 30000)[0]
    write(tmp_path / "long.wav", clip)
    write(tmp_path / "short.wav", clip[:20000])
    samples = open_samples(tmp_path, [FEATURES], [declare(WORDS)])
    found = [sample.inputs["sound"] for sample in samples.iterate()]
    padded = np.concatenate([clip[:20000], np.zeros(2050, np.float32)])
    expected = words.log_mel(np.stack([clip[:22050], padded]))
    np.testing.assert_array_equal(found, expected)
    end = f"1 sounds of {tmp_path} were"
    expected_issues = (
        f"{end} cut at the end, so that all have 22024 samples, e.g. long.wav.",
        f"{end} filled with zeros, so that all have 22024 samples, e.g. short.wav.",
    )
    assert samples.issues == tuple(
        make_issue("data.clips_fitted", text) for text in expected_issues
    )


@pytest.mark.parametrize(
    ("tag", "bits", "stored"),
    [
        (1, 8, np.array([0, 64, 128, 192, 255, 128, 128, 128], np.uint8)),
        (1, 16, np.array([-32768, -16384, 0, 16384, 32512, 0, 0, 0], "<i2")),
        (1, 24, b"".join(
            struct.pack("<i", value << 8)[1:]
            for value in (-(1 << 23), -(1 << 22), 0, 1 << 22, 127 << 16, 0, 0, 0)
        )),
        (1, 32, np.array([-(2**31), -(2**30), 0, 2**30, 127 << 24, 0, 0, 0], "<i4")),
        (3, 32, np.array([-1, -0.5, 0, 0.5, 127 / 128, 0, 0, 0], "<f4")),
        (3, 64, np.array([-1, -0.5, 0, 0.5, 127 / 128, 0, 0, 0], "<f8")),
    ],
)  # fmt: skip
def test_all_usual_formats_hold_the_same_sound(tmp_path, tag, bits, stored):
    write(tmp_path / "a.wav", stored, tag=tag, bits=bits)
    found = next(open_samples(tmp_path, [PLAIN]).iterate()).inputs["wave"]
    np.testing.assert_array_equal(found, [-1, -0.5, 0, 0.5, 127 / 128, 0, 0, 0])


def test_files_of_the_standard_library_are_read(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.arange(8, dtype="<i2").tobytes())
    found = next(open_samples(tmp_path, [PLAIN]).iterate()).inputs["wave"]
    np.testing.assert_array_equal(found * 32768, np.arange(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 16000}, "Sound b.wav of {0} has 16000 samples per second, not 22050. Convert it: "
         "ffmpeg -i IN.wav -ar 22050 OUT.wav"),
        ({"channels": 2}, "Sound b.wav of {0} has 2 channels instead of one. Mix them: "
         "ffmpeg -i IN.wav -ac 1 OUT.wav"),
        ({"tag": 2}, "Sound b.wav of {0} has format 2 with 32 bits; only PCM of 8 to 32 bits "
         "and floats are read. Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"),
    ],
)  # fmt: skip
def test_sounds_that_do_not_fit_are_named(tmp_path, options, message):
    write(tmp_path / "a.wav", sounds(1, 8)[0])
    write(tmp_path / "b.wav", sounds(1, 8)[0], **options)
    samples = open_samples(tmp_path, [PLAIN])
    with raises(message.format(tmp_path)):
        list(samples.iterate())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"OggS", "is not a WAV file. Convert it, or remove it."),
        (b"RIFF\0\0\0\0WAVEfmt ", "is damaged or truncated. Repair or remove it."),
        (
            b"RIFF\0\0\0\0WAVEdata\x10\0\0\0" + b"\0" * 12,
            "is truncated: a part of it states 16 bytes, and 12 follow. Repair or remove it.",
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"
            + struct.pack("<HHIIHH", 1, 1, 8000, 32000, 4, 24)
            + b"data\x20\0\0\0"
            + b"\0" * 32,
            "has 24 bits in 4 bytes, which is not read. "
            "Convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        ),
    ],
)
def test_damaged_sounds_are_named(tmp_path, content, message):
    (tmp_path / "a.wav").write_bytes(content)
    with raises(f"Sound a.wav of {tmp_path} {message}"):
        open_samples(tmp_path, [PLAIN])


def test_a_sound_that_was_written_into_a_pipe_ends_with_its_file(tmp_path):
    """Its header could not be corrected, so it states the largest size."""
    write(tmp_path / "a.wav", sounds(1, 8)[0])
    content = (tmp_path / "a.wav").read_bytes()
    size = struct.pack("<I", 32)
    (tmp_path / "a.wav").write_bytes(content.replace(b"data" + size, b"data\xff\xff\xff\xff"))
    (sample,) = open_samples(tmp_path, [PLAIN]).iterate()
    np.testing.assert_array_equal(sample.inputs["wave"], sounds(1, 8)[0])


def test_a_folder_of_npy_files_holds_a_sample_in_each(tmp_path):
    rows = np.arange(32.0).reshape(4, 8)
    for number, row in enumerate(rows):
        np.save(tmp_path / f"{number}.npy", row)
    samples = open_samples(tmp_path, [PLAIN])
    np.testing.assert_array_equal([x.inputs["wave"] for x in samples.iterate()], rows)
    assert samples.ref.kind == "arrays"
    np.save(tmp_path / "2.npy", np.array([{}]))
    with pytest.raises(DataError, match=r"^Array 2\.npy of .* holds Python objects"):
        list(open_samples(tmp_path, [PLAIN]).iterate())


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(8))
    write(tmp_path / "a.wav", sounds(1, 8)[0])
    with raises(
        f"{tmp_path} holds .npy files and .wav files. Keep the samples in a separate folder."
    ):
        open_samples(tmp_path, [PLAIN])


def test_damaged_bytes_give_a_sound_or_one_sentence(tmp_path):
    write(tmp_path / "a.wav", sounds(1, 8)[0])
    whole = (tmp_path / "a.wav").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = np.frombuffer(whole, np.uint8).copy()
        content[random.integers(0, len(content), 3)] = random.integers(0, 256, 3)
        (tmp_path / "a.wav").write_bytes(content[: random.integers(8, len(content) + 1)].tobytes())
        try:
            open_samples(tmp_path, [PLAIN])
        except DataError as error:
            refused += 1
            assert "\n" not in error.message
    assert 100 < refused < 300


def test_a_long_clip_is_transformed_in_blocks(monkeypatch):
    clip = sounds(1)[0]
    whole = apply(declare(WORDS), clip)
    monkeypatch.setattr("edgeq.converters.samples.sounds.features._BLOCK_POINTS", 5 * 1024)
    np.testing.assert_allclose(apply(declare(WORDS), clip), whole, rtol=1e-6)
