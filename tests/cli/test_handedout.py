"""Where issued certificates go; the rest is in test_caissue.py and test_carenew.py."""

import click
import pytest
from cryptography.hazmat.primitives import serialization

from mcpguard.cli import handedout
from mcpguard.identity.certificates import read_request


def test_a_new_key_and_its_request():
    request, text = handedout._new_key("alice")
    key = serialization.load_pem_private_key(text, None)
    assert read_request(request.encode()) == key.public_key()
    assert handedout._new_key("alice")[1] != text


def test_one_place_at_most():
    with pytest.raises(click.UsageError, match="one of --out and --csr"):
        handedout.carry_out("ca-issue", "a", {}, handedout.Place("x", "y"), as_json=False)
