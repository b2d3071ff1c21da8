import base64

from mcpguard.audit.checkpoint import origin, parse_key
from mcpguard.system.checkpointkey import log_key, sign, valid


def test_a_signature_holds_for_its_text_and_key_alone():
    key, other = log_key(b"s" * 32), log_key(b"t" * 32)
    signature = sign(b"s" * 32, b"text\n")
    assert valid(key, signature, b"text\n")
    assert not valid(key, signature, b"text")
    assert not valid(other, signature, b"text\n")
    assert not valid(key, signature[:-1], b"text\n")
    assert key.name == origin(key.public) != other.name


def test_the_note_that_go_tests_with_is_valid():
    # golang.org/x/mod/sumdb/note, Example: another implementation's key id and signature
    key = parse_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    blob = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert blob[:4] == key.ident
    assert valid(key, blob[4:], text)
