"""Names that a model, a record or a folder may hold, each made to harm another reader."""

from __future__ import annotations

import re

from edgeq.escaping import printable

NASTY = {
    "colours": "\x1b[31mred\x1b[2J\x1b[1;1H",
    "a link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a title": "\x1b]0;owned\x07",
    "bell and backspace": "PASS\x07\x08\x08\x08\x08FAIL\x7f",
    "C1": "\x9b31mred\x9d0;owned\x9c\x85\x90",
    "turned": "a\u202egnp.exe\u202c\u2066b\u2069\u200f",
    "without width": "pay\u200bpal\ufeff\u200d\u2060\u00ad",
    "half": "\ud800half\udcff",
    "lines": "x\nPASS  everything\r\n::error::x\n## heading\n\n| a | b |",
    "other lines": "a\u2028b\u2029c\x0bd\x0ce\x1cf",
    "tabs": "\ta\t\tb",
    "HTML": "</title></script><script>window.hacked = 1</script><img src=x onerror=hacked()>",
    "an attribute": "\" onload='window.hacked = 1' x=`",
    "entities": "&lt;img src=x&gt; &#60;b&#62; &amp;",
    "a comment's end": "*/ --> ]]> \"\"\" ''' */",
    "a comment's beginning": "<!-- /* // # ;",
    "Markdown": "| [x](http://evil.example) ![y](//evil.example/z) `c` ``` **b** _i_ ~~s~~ \\",
    "a link by itself": "https://evil.example www.evil.example ftp://evil.example a@evil.example",
    "a mention": "@everyone @org/team #123 owner/repo#1 GH-7 !5 %9 ~bug &4 $6",
    "an emoji, a formula": ":tada: $x^2$ $$y$$ [^1]",
    "a list": "- [ ] x",
    "a numbered list": "1. x",
    "another list": "+ x",
    "a rule": "---",
    "a heading": "# big",
    "another heading": "===",
    "a quotation": "> [!WARNING]",
    "quotes": "\"'`\\\"\\'",
    "Java": "\\u000a\\u0022; System.exit(1); //",
    "a bare escape": "\\u0022 \\x22 \\n \\N{DIGIT ONE} \\",
    "Kotlin": '${System.exit(1)} $name """',
    "Swift": "\\(fatalError()) \\u{22} #\\(x)",
    "C": "??/ ??' %s%n%d \\",
    "Python": '"""\nimport os\nos.abort()\n"""',
    "TOML": '"\n[devices.pi4]\naddress = "local:./evil"\n#',
    "a shell": "$(touch evil) `touch evil`; touch evil & x",
    "rich": "[red]x[/red] [/] [link=https://evil.example]y[/link] :smile:",
    "a template": "{{ 7 * 7 }}{% raw %}{# x #} %(x)s {0}",
    "letters": "größe 入力 вход 😀",
    "long": "n" * 300,
}
# All in one, for what takes long.
ALL = " ".join(NASTY.values())
# What a flatbuffer and a JSON file can hold.
WHOLE = {key: text for key, text in NASTY.items() if key != "half"}

_OWN = re.compile(r"\x1b\[[0-9;]*m")


def steering(text: str) -> list[str]:
    """What would steer a terminal in what was printed there, beside colours and line breaks."""
    plain = _OWN.sub("", text).replace("\n", "")
    return sorted({repr(char) for char in plain if not char.isprintable()})


def require_harmless(text: str, *names: str) -> None:
    """Nothing steers the terminal, and names (such as colours) did not get through as they are."""
    assert steering(text) == []
    for name in names:
        assert printable(name) == name or name not in text
