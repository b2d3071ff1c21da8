"""Where are the private signing keys of this user, and who can read them?

One file `ID.key` for each key in a directory of the owner alone. The file says in clear which public key it is, and
holds the private one encrypted under a passphrase (scrypt, RFC 7914; ChaCha20-Poly1305, RFC 8439), or says that the
private key is kept by the keyring of the desktop.

Rule 1: a file that others may read is refused, encrypted or not.
Rule 2: the clear part is authenticated with the private key, so that no file can be passed off as another key's.
Rule 3: nothing here overwrites a key, and nothing here prints one.

Cost: `SCRYPT_COST` takes 0.39 s and 128 MiB on a 2-core virtual machine (2**15 takes 0.10 s, 2**18 0.71 s).

Decided:
    *A file format of our own*, because OpenSSH's hardens passphrases with bcrypt only, and its files invite people to
    use one key for two things. SSH keys that exist stay where they are and sign through `ssh-keygen`.
    *The keyring needs a file too*, because the keyring API cannot list what it holds.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.keys import PrivateKey, PublicKey, parse_public_key
from mcpguard.system.files import private_directory

SCRYPT_COST: Final = 2**17
"""scrypt `n`: what OWASP's password storage guide asks for with r = 8, p = 1."""
_COSTS: Final = (2**14, 2**20)  # what a file may ask of us: 16 MiB to 1 GiB
_BLOCK, _LANES = 8, 1
_SEED_BYTES: Final = 32
_FILE_BYTES: Final = 16 * 1024
_SUFFIX: Final = ".key"
_KEYRING_SERVICE: Final = "mcpguard signing key"
_PLACES: Final = ("file", "keyring")


class Kept(msgspec.Struct, frozen=True):
    """A key of this user, as far as its file tells without a passphrase.

    Attributes:
        path: The file.
        ident: `SHA256:...`; empty if the file cannot be used.
        line: Public key as an OpenSSH line.
        comment: What its owner wrote beside it.
        place: `file` or `keyring`.
        problem: Why the file cannot be used; empty if it can.
    """

    path: str
    ident: str = ""
    line: str = ""
    comment: str = ""
    place: str = "file"
    problem: str = ""


class Keyring(Protocol):
    """What is used of a keyring (the `keyring` library's backend API)."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a secret under a service and a name."""

    def get_password(self, service: str, username: str) -> str | None:
        """The secret; None if there is none."""


class _Kdf(msgspec.Struct, frozen=True):
    name: str
    n: int
    r: int
    p: int
    salt: str


class _Cipher(msgspec.Struct, frozen=True):
    name: str
    nonce: str
    ciphertext: str


class _KeyFile(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    kind: str
    public: str
    comment: str = ""
    place: str = "file"
    kdf: _Kdf | None = None
    cipher: _Cipher | None = None


class KeyFiles:
    """The keys in `directory`, which need not exist before the first `create`.

    Args:
        directory: Where the files are.
        cost: scrypt `n` of new files.
        keyring: The keyring; None looks for the desktop's when one is needed.
    """

    def __init__(self, directory: Path, *, cost: int = SCRYPT_COST, keyring: Keyring | None = None) -> None:
        self.directory = directory
        self._cost = cost
        self._keyring = keyring

    def create(self, private: PrivateKey, passphrase: str, comment: str = "") -> Path:
        """Keep a key in an encrypted file; the file's path.

        Raises:
            TrustError: The passphrase is empty, the key is kept already, or the file cannot be written.
        """
        if not passphrase:
            raise TrustError("a private key is not kept without a passphrase", hint="choose one")
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        kdf = _Kdf("scrypt", self._cost, _BLOCK, _LANES, _text(salt))
        head = _head(private.public, comment, "file")
        sealed = ChaCha20Poly1305(_derived(kdf, passphrase)).encrypt(nonce, private.raw(), _clear_part(head))
        cipher = _Cipher("chacha20-poly1305", _text(nonce), _text(sealed))
        return self._write(private.public, msgspec.structs.replace(head, kdf=kdf, cipher=cipher))

    def create_in_keyring(self, private: PrivateKey, comment: str = "") -> Path:
        """Keep a key in the desktop's keyring; the path of the file that says so.

        Raises:
            TrustError: There is no keyring that keeps secrets, or the key is kept already.
        """
        keyring = self._the_keyring()
        ident, secret = private.public.ident, _text(private.raw())
        if self._path(private.public).exists():
            raise self._there_already(private.public)
        with keyring_errors_told():
            keyring.set_password(_KEYRING_SERVICE, ident, secret)
            if keyring.get_password(_KEYRING_SERVICE, ident) != secret:
                raise TrustError("the keyring does not give back what it was given", hint=_WITHOUT_KEYRING)
        return self._write(private.public, _head(private.public, comment, "keyring"))

    def list(self) -> tuple[Kept, ...]:
        """Every key, in order of file names. What cannot be used is listed with its problem.

        Raises:
            TrustError: The directory cannot be read, or is somebody else's.
        """
        try:
            paths = sorted(self.directory.glob("*" + _SUFFIX))
            if paths:
                private_directory(self.directory)
        except OSError as error:
            raise _unusable(self.directory, error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error
        return tuple(self._kept(path) for path in paths)

    def find(self, ident: str) -> Kept:
        """The one key whose id is `ident` or begins with it, with or without `SHA256:`.

        Raises:
            TrustError: None is, several are, or its file cannot be used.
        """
        wanted = ident.removeprefix("SHA256:")
        keys = self.list()
        found = [key for key in keys if key.ident and key.ident.removeprefix("SHA256:").startswith(wanted)]
        if len(found) == 1 and wanted:
            return found[0]
        if found:
            raise TrustError(
                f"{len(found)} keys begin with {ident!a}", hint="give more of the id: mcpguard key list"
            )
        for key in keys:
            if key.problem:
                raise TrustError(f"there is no key {ident!a}; {key.path} cannot be used", hint=key.problem)
        raise TrustError(f"there is no key {ident!a}", hint="mcpguard key list")

    def load(self, ident: str, passphrase: str = "") -> PrivateKey:
        """The private key whose id is `ident` or begins with it; one in the keyring needs no passphrase here.

        Raises:
            TrustError: As for `find`; or the passphrase is wrong, the file was changed, the keyring has no such key.
        """
        kept = self.find(ident)
        content = _parsed(Path(kept.path))
        public = parse_public_key(content.public)
        ringed = content.place == "keyring"
        seed = self._from_keyring(kept) if ringed else _opened(content, passphrase, kept.path)
        private = PrivateKey(seed)
        if private.public.ident != public.ident:
            raise TrustError(
                f"{kept.path} names another public key than its own", hint="restore it from a copy"
            )
        return private

    def _from_keyring(self, kept: Kept) -> bytes:
        with keyring_errors_told():
            secret = self._the_keyring().get_password(_KEYRING_SERVICE, kept.ident)
        if secret is None:
            raise TrustError(
                f"the keyring has no key {kept.ident}",
                hint=f"unlock the keyring it was made in, or remove {kept.path}",
            )
        return _seed(secret, "the keyring")

    def _the_keyring(self) -> Keyring:
        return self._keyring if self._keyring is not None else desktop_keyring()

    def _kept(self, path: Path) -> Kept:
        try:
            content = _parsed(path)
            public = parse_public_key(content.public)
        except TrustError as error:
            return Kept(str(path), problem=error.sentence())
        return Kept(str(path), public.ident, public.line(), content.comment, content.place)

    def _path(self, public: PublicKey) -> Path:
        """The id without `SHA256:`, in the alphabet of RFC 4648 section 5: file names have no slash."""
        name = public.ident.removeprefix("SHA256:").replace("+", "-").replace("/", "_")
        return self.directory / f"{name}{_SUFFIX}"

    def _write(self, public: PublicKey, content: _KeyFile) -> Path:
        path = self._path(public)
        data = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        try:
            private_directory(self.directory)
            new = self.directory / f".{path.name}.{os.getpid()}"
            descriptor = os.open(
                new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                os.link(new, path)  # unlike rename, never replaces
            finally:
                new.unlink()
        except FileExistsError as error:
            raise self._there_already(public) from error
        except OSError as error:
            raise _unusable(path, error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error
        return path

    def _there_already(self, public: PublicKey) -> TrustError:
        return TrustError(f"the key {public.ident} is kept already", hint=f"it is in {self._path(public)}")


_WITHOUT_KEYRING: Final = "keep the key in a file: mcpguard key generate"


def desktop_keyring() -> Keyring:
    """The keyring of the desktop, through the `keyring` library.

    Raises:
        TrustError: The library is not installed, or it has no backend that keeps secrets from others.
    """
    try:
        import keyring  # noqa: PLC0415 (an optional extra, slow to import)
    except ImportError as error:
        raise TrustError(
            "the keyring library is not installed",
            hint="pip install 'mcpguard[keyring]', or " + _WITHOUT_KEYRING,
        ) from error
    with keyring_errors_told():
        backend = keyring.get_keyring()
        keeps = backend.priority >= 1  # less is the library's mark of those that store nothing, or readable
    if not keeps:
        raise TrustError(
            f"no keyring of this desktop keeps secrets ({backend_name(backend)} was found)",
            hint=_WITHOUT_KEYRING,
        )
    found: Keyring = backend
    return found


def backend_name(backend: object) -> str:
    """What a keyring is called by those who choose one."""
    return f"{type(backend).__module__}.{type(backend).__qualname__}"


@contextlib.contextmanager
def keyring_errors_told() -> Iterator[None]:
    """Whatever a backend raises (D-Bus, a locked or absent service) becomes one sentence."""
    try:
        yield
    except TrustError:
        raise
    except Exception as error:  # noqa: BLE001 (backends are plug-ins)
        raise TrustError(
            f"the keyring refused: {type(error).__name__}", hint=_WITHOUT_KEYRING
        ) from None  # a backend's message may quote what it was given


def _head(public: PublicKey, comment: str, place: str) -> _KeyFile:
    return _KeyFile(1, public.kind, public.line(), comment, place)


def _clear_part(content: _KeyFile) -> bytes:
    """What the cipher authenticates beside the key."""
    return msgspec.json.encode(msgspec.structs.replace(content, kdf=None, cipher=None))


def _derived(kdf: _Kdf, passphrase: str) -> bytes:
    salt = base64.b64decode(kdf.salt, validate=True)
    scrypt = Scrypt(salt=salt, length=32, n=kdf.n, r=kdf.r, p=kdf.p)
    return scrypt.derive(passphrase.encode("utf-8", "surrogateescape"))


def _opened(content: _KeyFile, passphrase: str, path: str) -> bytes:
    kdf, cipher = content.kdf, content.cipher
    if kdf is None or cipher is None:
        raise TrustError(f"{path} holds no private key", hint="restore it from a copy")
    try:
        nonce, sealed = (
            base64.b64decode(cipher.nonce, validate=True),
            base64.b64decode(cipher.ciphertext, validate=True),
        )
        return ChaCha20Poly1305(_derived(kdf, passphrase)).decrypt(nonce, sealed, _clear_part(content))
    except InvalidTag as error:
        raise TrustError(
            f"the passphrase does not open {path}",
            hint="try again; if it is the right one, the file was changed",
        ) from error
    except (ValueError, MemoryError) as error:
        raise TrustError(
            f"{path} is not a key file of this version", hint="restore it from a copy"
        ) from error


def _parsed(path: Path) -> _KeyFile:
    """The content of a key file, checked as far as that goes without a passphrase.

    Raises:
        TrustError: Others may read it, or it is not one.
    """
    data = _read(path)
    try:
        content = msgspec.json.decode(data, type=_KeyFile)
    except (ValueError, RecursionError) as error:
        raise TrustError(f"{path} is not a key file", hint="restore it from a copy, or remove it") from error
    kdf, cipher = content.kdf, content.cipher
    known = content.version == 1 and content.place in _PLACES
    if kdf is not None:
        known &= (
            kdf.name == "scrypt" and _COSTS[0] <= kdf.n <= _COSTS[1] and (kdf.r, kdf.p) == (_BLOCK, _LANES)
        )
    if cipher is not None:
        known &= cipher.name == "chacha20-poly1305"
    if not known:
        raise TrustError(f"{path} is not a key file of this version", hint="it was made by another mcpguard")
    return content


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise TrustError(f"{path} is not a regular file", hint="remove it")
            if facts.st_uid != os.geteuid():
                raise TrustError(f"{path} belongs to uid {facts.st_uid}", hint="use keys of your own")
            if facts.st_mode & 0o077:
                mode = f"{stat.S_IMODE(facts.st_mode):04o}"
                raise TrustError(f"others may read {path} (mode {mode})", hint=f"chmod 600 {path}")
            return file.read(_FILE_BYTES)
    except OSError as error:
        raise _unusable(path, error) from error


def _seed(text: str, place: str) -> bytes:
    try:
        seed = base64.b64decode(text, validate=True)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise TrustError(f"what {place} holds is not a key", hint="mcpguard key list")
    return seed


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unusable(path: Path, error: OSError) -> TrustError:
    return TrustError(
        f"{path} cannot be used: {(error.strerror or str(error)).lower()}", hint="see who owns it: ls -l"
    )
