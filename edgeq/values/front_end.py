"""The front end of a keyword model; Python packages contain this file unchanged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrontEnd:
    """How a sound becomes the input of a keyword model.

    Attributes:
        kind: "spectrogram", "log-mel" or "mfcc".
        rate: samples per second of the sound.
        window: samples in a frame.
        hop: samples from one frame to the next.
        fft: points of the Fourier transform.
        bands: number of mel bands, 0 for a spectrogram.
        coefficients: number of cepstral coefficients, 0 for the others.
        low: Hz, where the lowest band begins.
        high: Hz, where the highest band ends.
        floor: added to the energy of each band before the logarithm.
        power: 2 for energies, 1 for magnitudes.
        taper: "hann" (periodic) or "hanning" (symmetric, as in NumPy).
        filters: "htk" (triangles over Hz) or "tensorflow" (triangles over mel).
    """

    kind: str
    rate: int
    window: int
    hop: int
    fft: int
    bands: int = 0
    coefficients: int = 0
    low: float = 0.0
    high: float = 0.0
    floor: float = 1e-6
    power: int = 2
    taper: str = "hann"
    filters: str = "htk"
