"""The servers that a configuration in the language of a shell starts (`crushrc` of Crush), as far as its words tell.

Such a file is a program: names come out of variables, commands stand in conditions, other files are sourced. What is
written out as `mcp add NAME ...` is found here, so that a person hears of it; nothing is edited, because only running
the file would tell what it says.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from itertools import takewhile
from typing import Final

from mcpguard.hosts.entries import Entry, Form
from mcpguard.hosts.tree import text_of

_LINE: Final = re.compile(r"(?:[^\\\n]|\\(?s:.))*")
"""A line, with those that it goes on in behind a backslash."""
_ADD: Final = re.compile(
    r"(?:^|[;&|({]|\b(?:then|do|else)\b)\s*mcp[ \t]+add[ \t\\\n]+(?P<rest>[^\s;&|#].*)", re.DOTALL
)
_ENDS: Final = ";&|"
"""What ends a command."""
_PAIRS: Final = ("--env", "--header")
_BY_HAND: Final = (
    "a shell script starts it, which mcpguard does not edit; by hand: its --command becomes mcpguard, and "
    "--args run --args --name --args NAME --args -- --args COMMAND come before its other --args"
)


def commands_of(data: bytes, file: str) -> list[Entry]:
    """The servers that are written out in a script.

    Raises:
        ConfigError: It is no text.
    """
    text = text_of(data, file)
    found: dict[str, Entry] = {}
    for line in _LINE.finditer(text):
        add = None if line[0].lstrip().startswith("#") else _ADD.search(line[0])
        while add:
            place = add.start("rest")
            entry = _entry(add["rest"], text.count("\n", 0, line.start() + place) + 1)
            found[entry.name] = entry  # the last one counts, as in Crush
            add = _ADD.search(line[0], place)
    return sorted(found.values(), key=lambda entry: entry.line)


def _entry(words: str, line: int) -> Entry:
    try:
        name, *rest = _words(words)
    except ValueError:  # quotes that end elsewhere
        name = words.split(maxsplit=1)[0].strip("\"'")
        return Entry(name, ("mcp", name), line, Form.SCRIPT, why=_BY_HAND)
    options: defaultdict[str, list[str]] = defaultdict(list)
    env: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in _PAIRS and len(rest) > 1 and not equals:
            key, value = rest.pop(0), rest.pop(0)
            env |= {key: value} if flag == "--env" else {}
        elif flag.startswith("--"):
            options[flag].append(value if equals or not rest else rest.pop(0))
    url = next(iter(options["--url"]), "")
    if url or options["--type"] in (["http"], ["sse"]):
        return Entry(name, ("mcp", name), line, Form.REMOTE, url=url)
    argv = (*options["--command"][-1:], *options["--args"])
    enabled = options["--disabled"][-1:] not in (["true"], ["1"], ["yes"])
    return Entry(name, ("mcp", name), line, Form.SCRIPT, argv=argv, env=env, enabled=enabled, why=_BY_HAND)


def _words(text: str) -> list[str]:
    """The words of the first command.

    Raises:
        ValueError: A quote does not end.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_ENDS)
    lexer.whitespace_split = True
    return list(takewhile(lambda word: word.strip(_ENDS) or not word, lexer))
