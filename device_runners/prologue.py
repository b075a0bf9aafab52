"""What runs first on a board: says which Python this is and which modules it lacks.

It comes before the keeper, and runs under any Python, 2.7 too: an interpreter that cannot run the
keeper still has to say why. The shell passes it as text, as it does the keeper.
"""

import sys

# "" is the folder where a login starts: a json.py that lies there must not be imported.
sys.path[:] = [folder for folder in sys.path if folder]


def begin(modules, size):  # type: ignore[no-untyped-def]
    """Answer in a frame as the keeper's are, then read the keeper from stdin and become it.

    Args:
        modules: names that the keeper and the agent import, with blanks between.
        size: of the keeper's text.
    """
    version, missing = sys.version_info, []
    if version >= (3, 8):
        for name in modules.split():
            try:
                __import__(name)
            except Exception:  # noqa: BLE001 - a library of the system may be what is missing
                missing.append(name)
    told = '{"python": "' + ".".join(map(str, version[:3])) + '", "missing": "'
    told += " ".join(missing) + '"}\n'
    mark = "edgeq" + "-keeper-1"  # never in this text as it is sent: something may echo that
    sys.stdout.write("\n" + mark + " " + str(len(told)) + ".\n" + told + "\n" + mark + " end\n")
    sys.stdout.flush()
    if version >= (3, 8) and not missing:
        text = sys.stdin.buffer.read(size)
        exec(compile(text, "keeper", "exec"), {"__name__": "__main__"})
