"""Arguments in a record, encrypted under a key of their own: without it they are erased, and the chain stays whole.

The record holds `"sealed":{"key":N,"data":"..."}` among its `args`: base64 of ChaCha20-Poly1305 (RFC 8439) over the
JSON that `record.arguments` made. Each key encrypts once, so its nonce is zero; that it is the N-th is authenticated.

Rule: what is encrypted was redacted before. Encryption is for erasure, not for keeping secrets.

Not here: where keys are (`system.argumentkeys`); that a key is used once (whoever draws it).
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mcpguard.errors import JournalError
from mcpguard.model import Json, JsonObject

KEY_BYTES: Final = 32
"""Size of the key of one record, bytes."""
NOT_KEPT: Final = b',"sealed":{"key":0,"data":""}'
"""What stands in a record whose arguments should have been kept and could not be."""
_NONCE: Final = bytes(12)
_ABOUT: Final = b"mcpguard arguments 1 %d"


def member(number: int, key: bytes, plain: bytes) -> bytes:
    """The member of `args` for `record.call`, with the comma before it; `number` is that of the key, from 1."""
    data = base64.b64encode(ChaCha20Poly1305(key).encrypt(_NONCE, plain, _ABOUT % number))
    return b',"sealed":{"key":%d,"data":"%b"}' % (number, data)


def number_of(body: JsonObject) -> int:
    """The number of the key of a record's arguments; 0 if it holds none."""
    args = body.get("args")
    sealed = args.get("sealed") if isinstance(args, dict) else None
    number = sealed.get("key") if isinstance(sealed, dict) else 0
    return number if type(number) is int and number > 0 else 0


def opened(body: JsonObject, key: bytes) -> JsonObject:
    """What a record keeps of its arguments: `arguments`, and `cut` if that is not all.

    Raises:
        JournalError: It was sealed under another key, or is damaged.
    """
    try:
        data = base64.b64decode(body["args"]["sealed"]["data"], validate=True)
        plain = ChaCha20Poly1305(key).decrypt(_NONCE, data, _ABOUT % number_of(body))
        found: Json = msgspec.json.decode(plain)
    except (InvalidTag, binascii.Error, KeyError, TypeError, ValueError) as error:
        raise JournalError(
            "the arguments of this record cannot be opened: they are not as they were sealed"
        ) from error
    return found if isinstance(found, dict) else {}
