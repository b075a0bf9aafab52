"""Spoken wake words and other words from eSpeak NG, and their features for wake word models.

The wheel espeakng-loader has the library and its voices; it is called through its C interface
(speak_lib.h of eSpeak NG). The features are those of openWakeWord: a mel spectrogram, and from it
an embedding of 96 values for each 80 ms. The two models that compute them are in the wheel of the
wake words.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

RATE = 16000
_SYNCHRONOUS, _SPEED, _PITCH, _UTF8 = 2, 1, 3, 1  # of speak_lib.h
_VOICES = ("en-us", "en", "en-us+f3", "en-us+m3", "en-gb-scotland", "en-us+f2", "en-us+f4")
_SPEEDS = (120, 150, 180)
_OTHERS = ("turn on the lights", "what time is it", "hello there my friend", "play some music")
# As the voices of eSpeak must read them to be understood.
_SPELLINGS = {"hey_mycroft": "hey my croft", "hey_rhasspy": "hey raspy", "okay_nabu": "okay nahboo"}

MEL_BANDS, MEL_FRAMES, MEL_HOP = 32, 76, 8  # of one embedding
EMBEDDING, EMBEDDINGS = 96, 16  # of one decision


class Voice:
    """The synthesizer.

    Args:
        folder: the package `espeakng_loader`, unpacked.
    """

    def __init__(self, folder: Path):
        self._library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), 0)
        if self._rate <= 0:
            raise RuntimeError(f"eSpeak NG does not find its data in {folder}.")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._receive)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: ctypes._Pointer[ctypes.c_short], count: int, _: int) -> int:
        if wave and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
        """Return the sound at `RATE`, in units of 16-bit samples."""
        self._chunks.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {voice}.")
        self._library.espeak_SetParameter(_SPEED, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        content = text.encode()
        size = ctypes.c_size_t(len(content) + 1)
        self._library.espeak_Synth(content, size, 0, 0, 0, _UTF8, None, None)
        sound = np.concatenate(self._chunks).astype(np.float32)
        places = np.arange(int(len(sound) * RATE / self._rate)) * self._rate / RATE
        return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def utterances(folder: Path, word: str, seed: int) -> list[np.ndarray]:
    """A wake word or another text in each voice and speed, with silence and noise around it.

    They are said in a new process, because what eSpeak said before changes what it says next.

    Args:
        folder: see `Voice`.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_utter, folder, word, seed).result()


def _utter(folder: Path, word: str, seed: int) -> list[np.ndarray]:
    return list(_sounds(Voice(folder), word, seed))


def _sounds(voice: Voice, word: str, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    wanted = _SPELLINGS.get(word, word.replace("_", " "))
    for name in _VOICES:
        for speed in _SPEEDS:
            for text in (wanted, str(random.choice(_OTHERS))):
                pitch = int(random.integers(35, 65))
                said = voice.say(text, name, speed + int(random.integers(-10, 10)), pitch)
                sound = np.concatenate([np.zeros(2 * RATE), said, np.zeros(RATE * 3 // 4)])
                noisy = sound * random.uniform(0.3, 1) + random.normal(0, 20, len(sound))
                yield noisy.astype(np.float32)


class Features:
    """The two feature models.

    Args:
        folder: with melspectrogram.tflite and embedding_model.tflite.
    """

    def __init__(self, folder: Path):
        self._mel = plain(folder / "melspectrogram.tflite")
        self._embedding = Interpreter(str(folder / "embedding_model.tflite"))

    def mel(self, sound: np.ndarray) -> np.ndarray:
        """Return the spectrogram [frames, 32], scaled as openWakeWord scales it."""
        return _run(self._mel, sound[np.newaxis]).reshape(-1, MEL_BANDS) / 10 + 2

    def windows(self, sound: np.ndarray) -> np.ndarray:
        """Return the inputs of the embedding model, [windows, 76, 32, 1]."""
        mel = self.mel(sound)
        begins = range(0, len(mel) - MEL_FRAMES + 1, MEL_HOP)
        return np.stack([mel[begin : begin + MEL_FRAMES] for begin in begins])[..., np.newaxis]

    def decisions(self, sound: np.ndarray) -> np.ndarray:
        """Return the inputs of a wake word model, [decisions, 16, 96]."""
        embedded = _run(self._embedding, self.windows(sound)).reshape(-1, EMBEDDING)
        begins = range(len(embedded) - EMBEDDINGS + 1)
        return np.stack([embedded[begin : begin + EMBEDDINGS] for begin in begins])


def plain(path: Path) -> Interpreter:
    """An interpreter without XNNPACK, which refuses shapes that are not known when it loads."""
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(str(path), experimental_op_resolver_type=kind)


def _run(interpreter: Interpreter, values: np.ndarray) -> np.ndarray:
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, list(values.shape))
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, values.astype(np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
