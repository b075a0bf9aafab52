"""Which folders are packages: a rule, so that a new folder needs no entry.

Three packages lie at the top of the repository. `edgeq/converters`, `edgeq/device_runners` and
`edgeq/models` are symbolic links to them for work in a checkout; a build does not need the links,
which a clone on some systems lacks.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "edgeq": "edgeq",
    "edgeq.converters": "converters",
    "edgeq.device_runners": "device_runners",
    "edgeq.models": "models",
}
LINKS = ["converters*", "device_runners*", "models*"]

packages = [
    name
    for package, folder in FOLDERS.items()
    for name in (package, *(f"{package}.{inner}" for inner in find_packages(folder, exclude=LINKS)))
]
setup(packages=packages, package_dir=FOLDERS)
