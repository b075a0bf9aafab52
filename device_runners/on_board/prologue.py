"""Runs first on a board: reports which Python this is and which modules it lacks.

It runs under any Python, also 2.7, because an interpreter that cannot run the keeper must still
report why. The shell passes it as text, as it does the keeper.
"""

import sys

# "" is the folder where a login starts: a json.py in that folder must not be imported.
sys.path[:] = [folder for folder in sys.path if folder]


def begin(modules, parts):  # type: ignore[no-untyped-def]
    """Answer in a frame like the keeper's, then read the keeper from stdin and run it.

    Args:
        modules: names that the keeper and the agent import, separated by blanks.
        parts: name and size in bytes of each of the keeper's modules, the main one last.
    """
    version, missing = sys.version_info, []
    if version >= (3, 8):
        for name in modules.split():
            try:
                __import__(name)
            except Exception:  # noqa: BLE001 - a library of the system may be what is missing
                missing.append(name)
    answer = '{"python": "' + ".".join(map(str, version[:3])) + '", "missing": "'
    answer += " ".join(missing) + '"}\n'
    mark = "edgeq" + "-keeper-1"  # never in this text as it is sent: a login may echo the text
    size = str(len(answer))
    sys.stdout.write("\n" + mark + " " + size + ".\n" + answer + "\n" + mark + " end\n")
    sys.stdout.flush()
    if version >= (3, 8) and not missing:
        from importlib.machinery import ModuleSpec
        from importlib.util import module_from_spec

        for name, size in parts:
            spec = ModuleSpec("edgeq_keeper." + name, None)
            module = sys.modules[spec.name] = module_from_spec(spec)
            exec(compile(sys.stdin.buffer.read(size), name, "exec"), module.__dict__)
        module.main()
