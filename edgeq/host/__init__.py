"""Functions that each operating system needs in another form, under the same names.

No other module of edgeq uses what only POSIX or only Linux has, as `tests/hosts/test_portable.py`
checks. Exempt are the sandbox, which is a part of Linux, and code that runs on boards.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from edgeq.host.windows import (
        IS_WINDOWS,
        SEPARATE,
        Group,
        Log,
        copy_or_link,
        core_count,
        crash_of,
        discard,
        hint_if_open,
        is_root,
        kill,
        lock,
        make_room,
        may_be_gone,
        open_to_lock,
        open_to_read,
        own_home,
        remove,
        remove_tree,
        replace,
        user_number,
    )
else:
    from edgeq.host.posix import (
        IS_WINDOWS,
        SEPARATE,
        Group,
        Log,
        copy_or_link,
        core_count,
        crash_of,
        discard,
        hint_if_open,
        is_root,
        kill,
        lock,
        make_room,
        may_be_gone,
        open_to_lock,
        open_to_read,
        own_home,
        remove,
        remove_tree,
        replace,
        user_number,
    )

__all__ = [
    "IS_WINDOWS",
    "SEPARATE",
    "Group",
    "Log",
    "copy_or_link",
    "core_count",
    "crash_of",
    "discard",
    "hint_if_open",
    "is_root",
    "kill",
    "lock",
    "make_room",
    "may_be_gone",
    "open_to_lock",
    "open_to_read",
    "own_home",
    "remove",
    "remove_tree",
    "replace",
    "user_number",
]
