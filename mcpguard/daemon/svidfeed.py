"""One SVID source as the keeper of certificates has it: the newest sound certificate, and what is wrong since."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import serialization

from mcpguard.errors import TrustError
from mcpguard.identity import certificates, subjectnames
from mcpguard.identity.certificates import read
from mcpguard.identity.certregistry import SvidSource
from mcpguard.identity.pathcheck import Anchor, check_life
from mcpguard.system.svids import Svid, Svids, opened


class Shown(msgspec.Struct, frozen=True):
    """A certificate of ours as it is shown to others.

    Attributes:
        chain: It and its intermediates, DER.
        key: Its private key, PEM, in clear.
    """

    chain: tuple[bytes, ...]
    key: bytes


class SvidFeed:
    """What an SVID source gives.

    Args:
        source: The source, as the registry names it.
        svids: Where it comes from; None opens what the source names.

    Attributes:
        shown: The newest certificate with its key; None before the first.
        anchors: The authorities of its trust domain, for names of that trust domain alone.
        fault: Why there is none, or none newer; empty if all is well.
    """

    def __init__(self, source: SvidSource, svids: Svids | None = None) -> None:
        self.source = source
        self._svids = svids or opened(source)
        self._last: Svid | None = None
        self.shown: Shown | None = None
        self.anchors: tuple[Anchor, ...] = ()
        self.fault = "nothing has come yet"

    def latest(self) -> Svid | TrustError:
        """Ask the source; blocks. What comes is to be given to `take`."""
        try:
            return self._svids.latest()
        except TrustError as error:
            return error

    def take(self, given: Svid | TrustError, now: float) -> bool:
        """Take what the source has given, if it is sound; whether something is other than before."""
        if isinstance(given, TrustError):
            self.fault = given.sentence()
            return False
        if given == self._last:
            self.fault = ""
            return False
        try:
            domain = _checked(given, now)
        except TrustError as error:
            self.fault = error.sentence()
            return False
        self._last, self.fault = given, ""
        self.shown = Shown(given.chain, given.key)
        name, permitted = self.source.name, (f"uri:{domain}",)
        self.anchors = tuple(Anchor(root, (), permitted, name, only_uris=True) for root in given.bundle)
        return True

    def close(self) -> None:
        """Let go of the source."""
        self._svids.close()


def _checked(given: Svid, now: float) -> str:
    """The trust domain of an SVID that can be shown.

    Raises:
        TrustError: It is none, is over, its key is another's, or it comes without authorities.
    """
    leaf = read(given.chain[0])
    check_life(leaf, now)
    spiffe = [each for each in leaf.names.uris if each.startswith(subjectnames.SPIFFE)]
    if len(spiffe) != 1 or leaf.authority:
        raise TrustError(
            "what the source gives is not an X.509-SVID", hint="it has one spiffe:// name, and issues nothing"
        )
    if not given.bundle or not all(read(each).authority for each in given.bundle):
        raise TrustError("the SVID comes without the authorities of its trust domain", hint="give its bundle")
    try:
        key = serialization.load_pem_private_key(given.key, None)
        same = certificates.pin(key.public_key()) == leaf.pin  # type: ignore[arg-type]  # others have no pin
    except (ValueError, TypeError, AttributeError) as error:
        raise TrustError("the private key of the SVID cannot be read", hint="PEM, not encrypted") from error
    if not same:
        raise TrustError("the private key is not that of the SVID", hint="is one of the files being written?")
    return subjectnames.host_of(spiffe[0])
