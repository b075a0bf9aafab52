"""Front ends of keyword models as the templates need them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.sounds.features import frame_count
from edgeq.converters.samples.sounds.front_end import format_front_end, size_of
from edgeq.errors import PackageError
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.front_end import make_tables
from edgeq.packaging.contract.values import Contract, Golden, InputContract
from edgeq.packaging.targets.c import literals
from edgeq.values import FrontEnd

Described = dict[str, Any]

# Golden sounds that the sources have: one second of 16,000 samples takes 32 kB of flash.
SOUNDS = 1


def describe_sounds(contract: Contract, golden: Golden) -> list[Described]:
    """The front end of each input that is a sound: constants, tables and golden arrays.

    Raises:
        PackageError: float32 cannot compute the features.
    """
    return [
        _describe(item, item.front_end, golden)
        for item in contract.inputs
        if item.front_end is not None
    ]


def _describe(item: InputContract, sound: FrontEnd, golden: Golden) -> Described:
    name, tables = item.spec.name, make_tables(sound)
    tolerance = golden.feature_tolerances[name].get("float32")
    if tolerance is None:
        raise PackageError(
            f"float32 cannot compute the features of input {name!r}: rounding errors are larger "
            f"than floor={sound.floor:g}.",
            hint="Train and convert with a larger floor=, e.g. 1e-6.",
        )
    floats = {
        "kTaper": tables.taper,
        "kCosines": tables.cosines,
        "kSines": tables.sines,
        "kWeights": tables.weights,
        "kTransform": tables.transform,
    }
    stem = naming.pascal(item.identifier)
    return {
        "struct": f"{stem}Sound",
        "input": f"{stem}Input",
        "text": ",".join(format_front_end(sound)),
        "sound": sound,
        "odd": tables.odd,
        "samples": item.sound_length,
        "frames": frame_count(sound, item.sound_length),
        "size": size_of(sound),
        "scratch_bytes": 4 * (2 * sound.fft + (sound.bands if sound.coefficients else 0)),
        "floor": literals.number32(sound.floor),
        "floats": {
            key: literals.values(table.astype(np.float32))
            for key, table in floats.items()
            if table.size
        },
        "indices": {
            key: literals.values(table.astype(np.uint32))
            for key, table in (("kStarts", tables.starts), ("kCounts", tables.counts))
            if table.size
        },
        "tolerance": literals.number(np.float64(tolerance)),
        **_golden([vector.sounds[name] for vector in golden.vectors[:SOUNDS]]),
    }


def _golden(waves: list[NDArray[Any]]) -> Described:
    """Samples of 16 bits where they are exact, which take half of the flash."""
    scaled = np.stack(waves).astype(np.float64) * 32768
    limits = np.iinfo(np.int16)
    is_exact = (scaled == np.floor(scaled)) & (scaled >= limits.min) & (scaled <= limits.max)
    arrays = scaled.astype(np.int16) if is_exact.all() else np.stack(waves)
    return {"type": literals.TYPES[arrays.dtype.name], "golden": list(map(literals.values, arrays))}
