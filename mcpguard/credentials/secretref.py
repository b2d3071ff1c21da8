"""References to secrets: where a value is to be looked up, never the value.

::

    vault://NAME                      our own vault: mcpguard secret set NAME
    keyring://SERVICE/NAME            the keyring of the desktop
    file:///PATH?identity=/PATH       a file that age has encrypted, and the file with its identity
    file:///PATH?sealed               a file that `mcpguard secret seal` has encrypted
    file:///PATH?plain                a file in plain text, which its owner alone may read (0600)
    env://NAME                        a variable of the daemon, as its service unit sets it
    cmd://op read op://Private/x/y    what a program prints; words as in a shell, and no shell
    systemd-cred://NAME               a credential of the daemon's unit (LoadCredentialEncrypted=)

Each may end in `#file`: the variable is then the path of a file (0600) that has the value and is gone with the
server.

Rule 1: what is not exactly one of these is refused; nothing is guessed, and no reference is a value.
Rule 2: a sentence about a reference does not repeat it, since people paste the value there by mistake.

Not here: looking anything up (`system`), who may have what (`daemon.secrets`).

Source: systemd.exec(5), CREDENTIALS; RFC 3986 for percent-encoding.
"""

from __future__ import annotations

import re
import shlex
from typing import Final
from urllib.parse import unquote

import msgspec

from mcpguard import limits
from mcpguard.errors import SecretError
from mcpguard.model import HOST_REFERENCE

HOST_PREFIX: Final = HOST_REFERENCE.encode()
"""As environments have it."""
SCHEMES: Final = ("vault", "keyring", "file", "env", "cmd", "systemd-cred")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_OWN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@%+=/-]{0,255}")
_HANDLE: Final = re.compile(r"\$\{secret:([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9-]{0,31})://(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SHELL: Final = re.compile(r"[$`;|&<>()*?\[\]{}~!#]")
_FILE: Final = "#file"


class SecretRef(msgspec.Struct, frozen=True):
    """A reference.

    Attributes:
        scheme: One of `SCHEMES`.
        name: Name in the vault, the keyring, the environment or the unit's credentials; path of a file.
        service: Of the keyring.
        way: Of a file: `age`, `sealed` or `plain`.
        identity: Path of the file with the identity that opens an age file.
        argv: Of a program.
        as_file: Whether the server gets the path of a file and not the value.
    """

    scheme: str
    name: str = ""
    service: str = ""
    way: str = ""
    identity: str = ""
    argv: tuple[str, ...] = ()
    as_file: bool = False

    @property
    def told(self) -> str:
        """The reference for people and records; of a program its name alone, since arguments may say too much."""
        match self.scheme:
            case "keyring":
                return f"keyring://{self.service}/{self.name}"
            case "cmd":
                return f"cmd://{self.argv[0]}"
            case _:
                return f"{self.scheme}://{self.name}"


def is_name(text: str) -> bool:
    """Whether a text is a name that people may give a secret in the vault, and that a handle may have."""
    return _NAME.fullmatch(text) is not None


def is_own_name(text: str) -> bool:
    """Whether a text may name something in the vault that mcpguard keeps for itself: there is a `/` in it."""
    return "/" in text and _OWN.fullmatch(text) is not None


def handles(text: str) -> list[str]:
    """The names in the handles of a text, in order."""
    return _HANDLE.findall(text)


def filled(text: str, values: dict[str, str]) -> str:
    """A text in which known handles are replaced; others stay, and what is put in is not looked at again."""
    return _HANDLE.sub(lambda found: values.get(found[1], found[0]), text)


def parse_ref(text: str) -> SecretRef:
    """A reference, read strictly.

    Raises:
        SecretError: It is none; the sentence does not repeat it.
    """
    found = _SCHEME.fullmatch(text) if len(text) <= limits.SECRET_REF_CHARS else None
    if found is None or found[1] not in SCHEMES:
        raise _refused("it does not begin with one of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    scheme, rest = found[1], found[2]
    if any(not char.isprintable() for char in rest):
        raise _refused("it holds a character that cannot be seen")
    made = _READERS[scheme](rest.removesuffix(_FILE))
    return msgspec.structs.replace(made, as_file=rest.endswith(_FILE))


def host_name(value: bytes) -> str | None:
    """The name in a value of a host's configuration that refers to the vault; None if it does not.

    Raises:
        SecretError: It begins like one, and what follows is no name.
    """
    if not value.startswith(HOST_PREFIX):
        return None
    name = value.removeprefix(HOST_PREFIX).decode("utf-8", "replace")
    if not is_name(name):
        raise _refused(f"{HOST_PREFIX.decode()} is followed by a name of letters, digits, and _ . -")
    return name


def _vault(rest: str) -> SecretRef:
    if not is_name(rest):
        raise _refused("vault:// is followed by a name of 1 to 64 letters, digits, and _ . -")
    return SecretRef("vault", rest)


def _keyring(rest: str) -> SecretRef:
    service, slash, name = rest.partition("/")
    service, name = _decoded(service), _decoded(name)
    if not (slash and service and name):
        raise _refused("keyring:// is followed by SERVICE/NAME")
    return SecretRef("keyring", name, service=service)


def _file(rest: str) -> SecretRef:
    path, mark, said = rest.partition("?")
    path = _absolute(_decoded(path))
    if said in ("plain", "sealed"):
        return SecretRef("file", path, way=said)
    if mark and said.startswith("identity="):
        return SecretRef(
            "file", path, way="age", identity=_absolute(_decoded(said.removeprefix("identity=")))
        )
    raise _refused(
        "file:// ends in ?identity=/PATH for a file of age, in ?sealed for one of ours, or in ?plain"
    )


def _env(rest: str) -> SecretRef:
    if not _VARIABLE.fullmatch(rest):
        raise _refused("env:// is followed by the name of a variable")
    return SecretRef("env", rest)


def _cmd(rest: str) -> SecretRef:
    """Words as a shell splits them; what only a shell understands is refused outside quotes, not passed on."""
    bare = re.sub(r"'[^']*'|\"[^\"\\]*\"|\\.", "", rest)
    if _SHELL.search(bare):
        raise _refused("cmd:// is followed by words and no shell reads them: quote what is meant as it is")
    try:
        words = tuple(shlex.split(rest))
    except ValueError as error:
        raise _refused("cmd:// has a quotation without an end") from error
    if not words or not words[0] or ("/" in words[0] and not words[0].startswith("/")):
        raise _refused("cmd:// is followed by a program, by its name or its absolute path")
    return SecretRef("cmd", argv=words)


def _credential(rest: str) -> SecretRef:
    if not is_name(rest):
        raise _refused("systemd-cred:// is followed by the name of a credential")
    return SecretRef("systemd-cred", rest)


_READERS: Final = {
    "vault": _vault, "keyring": _keyring, "file": _file, "env": _env, "cmd": _cmd, "systemd-cred": _credential,
}  # fmt: skip


def _decoded(text: str) -> str:
    if _ESCAPE.search(text):
        raise _refused("a % in it is not followed by two hexadecimal digits")
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise _refused("what % stands for in it is not UTF-8") from error
    if not plain.isprintable():
        raise _refused("it holds a character that cannot be seen")
    return plain


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise _refused("file:// is followed by an absolute path, so by a third slash")
    return path


def _refused(why: str) -> SecretError:
    return SecretError(f"not a reference to a secret: {why}", hint="see docs/secrets.md")
