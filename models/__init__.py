"""Small trained models and samples to try edgeq with. Installed as `edgeq.models`."""

if __name__ != "edgeq.models":
    # A second import path would make a second copy of every class, unequal to the first.
    raise ImportError("this folder is the package edgeq.models: write 'import edgeq.models'")

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Find a shipped file, such as "fmnist_cnn.keras".

    Raises:
        ValueError: no file with this name is shipped.
    """
    known = sorted(file.name for file in _FOLDER.iterdir() if file.suffix in (".keras", ".npz"))
    if name not in known:
        raise ValueError(f"edgeq.models has no file {name!r}; known: {', '.join(known)}.")
    return _FOLDER / name
