"""Scripts and files on an adb device that has only a shell and its usual small tools.

A script is a constant of ours; what varies is an argument, quoted for the device's shell. Android's
tools are toybox, so only options that toybox, busybox and coreutils share are used.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgeq.device_runners.links import adb_server
from edgeq.device_runners.links.link import LinkLostError, OnBytes, insist, require_room
from edgeq.errors import DeviceError
from edgeq.files import storage

_Result = TypeVar("_Result")

_SCRIPT_S = 900.0  # for a script to end: it may have to hash a large file
_PART_BYTES = 4 << 20  # of an upload: what is sent again when the link breaks
_MOST_LOSSES = 20  # of the link, while one thing is done
_MOVED = 9  # status of the script below

# A part goes into a separate file first: a link that breaks leaves the target unchanged.
# $1 target, $2 its size so far, $3 size of the part, $4 a name for it.
_APPEND = f"""
trap 'rm -f "$1.$4"' EXIT
head -c "$3" >"$1.$4" && [ "$(wc -c <"$1.$4")" -eq "$3" ] || exit 1
[ -e "$1" ] || : >"$1"
[ "$(wc -c <"$1")" -eq "$2" ] || exit {_MOVED}
cat "$1.$4" >>"$1"
"""

# adb's own environment names a folder that its user may write to and run programs from.
_OPEN = """
root="${TMPDIR:-/data/local/tmp}/edgeq-$(id -u)"
mkdir -p "$root/files" "$root/incoming" "$root/jobs" && chmod 700 "$root" || exit 1
find "$root/jobs" "$root/incoming" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} + 2>/dev/null
echo "$root"
"""
_SIZE = '[ ! -e "$1" ] && echo 0 || wc -c <"$1"'
_REMOVE = 'rm -f "$1" "$1".*'
_ROOM = 'df -Pk "$1" | tail -n 1'
# Started again after a lost reply, it finds the file where it belongs.
_ACCEPT = """
if [ -e "$1" ]; then chmod 700 "$1" && mv "$1" "$2" || exit 1; fi
sha256sum "$2"
"""
_FORGET = """
for path in "$1"/files/* "$1"/incoming/* "$1"/jobs/*; do
    [ -e "$path" ] && wc -c "$path" 2>/dev/null
    [ -e "$path/child" ] && [ ! -e "$path/status" ] && continue
    rm -rf "$path"
done
:
"""


class ScriptError(Exception):
    """A script that failed.

    Attributes:
        status: that it ended with.
        output: what it printed.
    """

    def __init__(self, status: int, output: str):
        last = output.strip().splitlines()[-1:] or [f"status {status}"]
        super().__init__(last[0].removeprefix("sh: "))
        self.status, self.output = status, output


def run_script(serial: str, script: str, *arguments: str, content: bytes = b"") -> str:
    """Run a script on a device; its output.

    Args:
        content: its standard input. The script must know the length: adb cannot end it.

    Raises:
        LinkLostError: the link broke, even where adb itself calls that a success.
        ScriptError: it failed.
    """
    # The output ends at a random mark, not at the end of the stream: adb ends a stream without an
    # error, and a process that is left running may keep it open.
    mark = f"edgeq-{secrets.token_hex(8)}"
    command = shlex.join(["sh", "-c", script, "edgeq", *arguments])
    service = f"exec:{command}; status=$?; echo; echo {mark} $status"

    def is_alive() -> bool:
        return adb_server.is_alive(serial)

    stream = adb_server.open_service(serial, service)
    try:
        stream.send(content, until_answer=True)
        output = stream.read_until(f"\n{mark} ".encode(), is_alive, _SCRIPT_S)
        status = stream.read_until(b"\n", is_alive, _SCRIPT_S)
    finally:
        stream.close()
    text = output.decode("utf-8", "replace")
    if int(status) != 0:
        raise ScriptError(int(status), text)
    return text


def append_file(serial: str, path: Path, target: str, offset: int, on_bytes: OnBytes) -> None:
    """Append a file's content behind an offset to a file that already has this many bytes.

    Raises:
        LinkLostError: the link broke, or the file there has another size by now.
        OSError: the device refused to write.
    """
    with path.open("rb") as source:
        source.seek(offset)
        while part := source.read(_PART_BYTES):
            words = (target, str(offset), str(len(part)), secrets.token_hex(4))
            try:
                run_script(serial, _APPEND, *words, content=part)
            except ScriptError as error:
                if error.status == _MOVED:
                    raise LinkLostError("an earlier part arrived late") from error
                raise OSError(str(error)) from error
            offset += len(part)
            on_bytes(len(part))


class Shell:
    """A cache and scripts on one device, over links that may break.

    Args:
        name: of the device, in messages.
        patience_s: for a link to come back.
    """

    def __init__(self, name: str, serial: str, patience_s: float):
        self.name, self.serial, self.patience_s = name, serial, patience_s
        self.sent_bytes = 0
        self._root: str | None = None

    @property
    def root(self) -> str:
        """The folder of edgeq's cache there."""
        if self._root is None:
            try:
                self._root = self.attempt(_OPEN).splitlines()[-1]
            except ScriptError as error:
                raise DeviceError(
                    f"{self.name} has no folder for edgeq's cache: {error}.",
                    hint=f"See what is wrong there: adb -s {self.serial} shell df /data/local/tmp",
                ) from error
        return self._root

    def call(self, script: str, *arguments: str, patience_s: float | None = None) -> str:
        """Run a script that should not fail; its output.

        Raises:
            DeviceError: it failed, or the link does not come back.
        """
        try:
            return self.attempt(script, *arguments, patience_s=patience_s)
        except ScriptError as error:
            raise DeviceError(
                f"{self.name} failed: {error}.".replace("..", "."), details=error.output
            ) from error

    def attempt(self, script: str, *arguments: str, patience_s: float | None = None) -> str:
        """Run a script; its output. It may be started twice if the link breaks.

        Raises:
            DeviceError: the link does not come back.
            ScriptError: it failed.
        """
        return self._insist(lambda: run_script(self.serial, script, *arguments), patience_s)

    def _insist(self, work: Callable[[], _Result], patience_s: float | None = None) -> _Result:
        for _ in range(_MOST_LOSSES):
            try:
                return work()
            except LinkLostError as error:
                lost = error

            def reach(lost: LinkLostError = lost) -> None:
                if not adb_server.is_alive(self.serial):
                    raise lost

            hint = "Run the same command again when adb devices shows it."
            insist(reach, self.name, self.patience_s if patience_s is None else patience_s, hint)
        raise DeviceError(
            f"The link to {self.name} was lost {_MOST_LOSSES} times in a row.",
            hint="Try another cable or port.",
        )

    def upload(self, path: Path, on_bytes: OnBytes) -> str:
        """Bring a file into the cache, unless it has it; its path there, named by its SHA-256.

        Raises:
            DeviceError: the disk there is full, or the link does not come back.
        """
        digest, size = storage.hash_file(path), path.stat().st_size
        final = f"{self.root}/files/{digest}"
        if int(self.call(_SIZE, final)) == size:
            return final
        self._require_room(path)
        incoming = f"{self.root}/incoming/{digest}-{secrets.token_hex(4)}"

        def count(sent: int) -> None:
            self.sent_bytes += sent
            on_bytes(sent)

        def send() -> None:
            offset = int(run_script(self.serial, _SIZE, incoming))
            append_file(self.serial, path, incoming, offset, count)

        try:
            self._insist(send)
            found = self.attempt(_ACCEPT, incoming, final).lstrip("\\").partition(" ")[0]
            if found != digest:
                self.call('rm -f "$1"', final)
                raise DeviceError(f"{self.name} failed: {digest} arrived as {found}.")
        except (OSError, ScriptError) as error:
            self._require_room(path)
            raise DeviceError(f"{self.name} cannot store {path.name}: {error}.") from error
        finally:
            with contextlib.suppress(DeviceError):
                self.call(_REMOVE, incoming, patience_s=0)
        return final

    def _require_room(self, path: Path) -> None:
        try:
            words = self.attempt(_ROOM, self.root).split()
            room = int(words[3]) * 1024
        except (ScriptError, IndexError, ValueError):
            return  # unknown; if the disk is full, the upload fails
        require_room(self.name, path, room, self.root)

    def clean(self) -> int:
        """Delete the cache, except what is running; the bytes of its files."""
        return sum(
            map(int, re.findall(r"^\s*(\d+)\b", self.call(_FORGET, self.root), re.MULTILINE))
        )
