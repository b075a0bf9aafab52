"""SSH addresses, and their forms in a user's text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeq.device_runners.links import ssh_files
from edgeq.errors import UsageError

# Neither user nor host starts with a dash, and no shell finds a special character in them: a
# ProxyCommand or a Match exec of ~/.ssh/config may have them as words (%h, %r).
FORM = re.compile(
    r"(ssh://)?((?P<user>\w[\w.+-]*)@)?"
    r"(\[(?P<bracketed>[0-9A-Za-z:.%]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*))"
    r"(:(?P<port>\d{1,5}))?/?"
)

_ALIAS = re.compile(r"[A-Za-z0-9_][^\s/@:]*")


@dataclass(frozen=True)
class SshAddress:
    """A host and a user.

    Attributes:
        host: a name, an address, or an alias of the ssh configuration.
        user, port: None takes what the configuration says, or the defaults.
        python: that the keeper runs under, as words for a shell.
        keys: private key files; with them no configuration is read. By default the user's.
        known_hosts: a file; by default the user's.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    keys: tuple[str, ...] = ()
    known_hosts: str | None = None

    def __str__(self) -> str:
        return f"{self._login}{'' if self.port is None else f':{self.port}'}"

    @property
    def by_hand(self) -> str:
        """The arguments with which a user calls ssh."""
        return f"{'' if self.port is None else f'-p {self.port} '}{self._login}"

    @property
    def _login(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"


def parse(text: str) -> SshAddress | None:
    """`ssh://[user@]host[:port]`, `user@host[:port]`, or an alias of ssh; None for other text.

    Raises:
        UsageError: such a form with a part that cannot be.
    """
    if not text.startswith("ssh://") and "@" not in text:
        return SshAddress(text) if _ALIAS.fullmatch(text) and ssh_files.names(text) else None
    match = FORM.fullmatch(text)
    if match is None or int(match["port"] or 22) not in range(1, 65536):
        raise UsageError(
            f"{text!r} is not an SSH address.",
            hint="Write it as ssh://user@host or ssh://user@host:22",
        )
    port = match["port"]
    return SshAddress(
        match["bracketed"] or match["host"], match["user"], None if port is None else int(port)
    )
