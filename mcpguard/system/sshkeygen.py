"""What does OpenSSH sign for us? `ssh-keygen -Y sign`, which reaches files, agents and hardware keys alike.

The message goes in by stdin, so that no file of ours can be exchanged while a person touches a key; passphrases and
PINs are asked for by ssh-keygen itself, on the terminal, and never pass through here. No shell is involved.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from mcpguard.errors import TrustError

_SIGNATURE_BYTES: Final = 16 * 1024
_SECONDS: Final = 120.0  # a person has to find and touch a key


def sign(key: Path, message: bytes, namespace: str) -> bytes:
    """The armoured SSHSIG of `message` (OpenSSH PROTOCOL.sshsig).

    Args:
        key: A private key file, or a public one whose private half an agent or a FIDO key holds.
        message: What is signed.
        namespace: The purpose, which the signature states.

    Raises:
        TrustError: OpenSSH is not installed, there is no such key, or ssh-keygen did not sign; what it said stands
            on standard error.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise TrustError(
            "ssh-keygen is not installed", hint="install OpenSSH 8.1 or later, or sign with --key"
        )
    if not key.is_file():
        raise TrustError(
            f"there is no SSH key {str(key)!a}", hint="give the path of a key, as ssh -i takes it"
        )
    words = [program, "-q", "-Y", "sign", "-n", namespace, "-f", str(key)]
    try:
        done = subprocess.run(  # noqa: S603 (an argument vector, no shell)
            words, input=message, stdout=subprocess.PIPE, timeout=_SECONDS, check=False
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrustError(f"ssh-keygen cannot be run: {reason}", hint="sign with --key instead") from error
    except subprocess.TimeoutExpired as error:
        raise TrustError(
            f"ssh-keygen did not sign within {_SECONDS:.0f} seconds", hint="try again"
        ) from error
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise TrustError(
            f"ssh-keygen did not sign with {str(key)!a} (exit code {done.returncode})",
            hint="see what it said above",
        )
    return done.stdout[:_SIGNATURE_BYTES]
