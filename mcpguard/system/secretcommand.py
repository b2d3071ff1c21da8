"""What does a program print that keeps secrets: op, vault, pass, aws and the like?

Rule 1: no shell: words go to execve(2) as they are. The program is looked up in the PATH of the system, never in one
that a host has set.
Rule 2: it gets a short environment, of its own variables (`_OWN`) and no others; nothing to read; and
`limits.SECRET_SECONDS`, after which all that it has started is killed.
Rule 3: what it says on stderr is repeated to nobody: it may be the secret, or a part of it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.credentials.secretref import SecretRef
from mcpguard.errors import SecretError
from mcpguard.system.secretfile import trimmed

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin:/snap/bin"
_KEPT: Final = (
    "LANG", "LC_ALL", "LC_CTYPE", "TZ", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_OWN: Final = {
    "op": ("OP_",), "vault": ("VAULT_",), "bao": ("BAO_", "VAULT_"), "pass": ("PASSWORD_STORE_", "GNUPGHOME"),
    "gopass": ("GOPASS_", "PASSWORD_STORE_", "GNUPGHOME"), "gpg": ("GNUPGHOME",), "aws": ("AWS_",),
    "gcloud": ("CLOUDSDK_", "GOOGLE_"), "az": ("AZURE_",), "bw": ("BW_",), "doppler": ("DOPPLER_",),
    "infisical": ("INFISICAL_",), "sops": ("SOPS_", "GNUPGHOME", "AWS_"), "kubectl": ("KUBECONFIG",),
}  # fmt: skip
"""How names of variables begin that a program of this name gets from the daemon's environment."""


def from_command(
    ref: SecretRef, environment: Mapping[str, str] | None = None, seconds: float = limits.SECRET_SECONDS
) -> bytes:
    """What the program of a `cmd://` reference prints, one line end at its end removed.

    Blocks; for a thread. `environment` is the daemon's.

    Raises:
        SecretError: It is not there, fails, takes too long, or prints nothing or too much.
    """
    name = ref.argv[0]
    found = name if name.startswith("/") else shutil.which(name, path=PATH)
    if found is None or not os.access(found, os.X_OK):
        raise SecretError(
            f"the program {name!a} is not there or cannot be run", hint="name it by its absolute path"
        )
    process = subprocess.Popen(  # noqa: S603 (words, no shell)
        [found, *ref.argv[1:]],
        env=_environment(Path(found).name, os.environ if environment is None else environment),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        printed = _printed(process, name, seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    return trimmed(printed)


def _printed(process: subprocess.Popen[bytes], name: str, seconds: float) -> bytes:
    printed = _all(process, name, time.monotonic() + seconds, seconds)
    if process.wait():
        raise SecretError(
            f"the program {name!a} failed with exit code {process.returncode}",
            hint="try the same command at a terminal",
        )
    return printed


def _all(process: subprocess.Popen[bytes], name: str, deadline: float, seconds: float) -> bytes:
    """What it prints until it closes its output and ends."""
    output = process.stdout.fileno() if process.stdout else -1
    printed = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([output], [], [], left)[0]:
            break
        more = os.read(output, 65536)
        if not more:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
                return printed
            break
        printed += more
        if len(printed) > limits.SECRET_BYTES:
            raise SecretError(
                f"the program {name!a} printed more than a secret", hint="have it print one field"
            )
    raise SecretError(
        f"the program {name!a} did not print a secret within {seconds:g} s", hint="sign in to it first"
    )


def _environment(program: str, ours: Mapping[str, str]) -> dict[str, str]:
    person = pwd.getpwuid(os.geteuid())
    prefixes = _OWN.get(program, ())
    kept = {
        name: value
        for name, value in ours.items()
        if name in _KEPT or (prefixes and name.startswith(prefixes))
    }
    home = ours.get("HOME", person.pw_dir)
    return {"PATH": PATH, "HOME": home, "USER": person.pw_name, "LOGNAME": person.pw_name, **kept}
