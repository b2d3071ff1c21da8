"""Where mcpguard keeps what: one function a place. Nothing is created here."""

from __future__ import annotations

import os
import posix
from pathlib import Path

import platformdirs

from mcpguard.system.rundir import SYSTEM, runtime_directory

_SYSTEM_STATE = "/var/lib/mcpguard"


def be_the_system() -> None:
    """From now on, the places are those of a daemon for everybody, unless variables name others."""
    posix.environ.setdefault(b"MCPGUARD_RUNTIME_DIR", SYSTEM.encode())
    os.environ.setdefault("MCPGUARD_STATE_DIR", _SYSTEM_STATE)


def runtime_dir() -> Path:
    """Directory of the sockets and the lock."""
    return Path(runtime_directory())


def run_socket() -> Path:
    """The socket of shims."""
    return runtime_dir() / "run.sock"


def admin_socket() -> Path:
    """The socket of people: status, policy, approvals."""
    return runtime_dir() / "admin.sock"


def state_dir() -> Path:
    """What must survive a restart. `MCPGUARD_STATE_DIR`, else the platform's place (XDG_STATE_HOME on Linux).

    A relative path would be another place for the daemon than for the command line, and is ignored.
    """
    named = os.environ.get("MCPGUARD_STATE_DIR", "")
    return Path(named) if named.startswith("/") else platformdirs.user_state_path("mcpguard", appauthor=False)


def audit_dir() -> Path:
    """The audit log."""
    return state_dir() / "audit"


def index_dir() -> Path:
    """Indexes of audit logs: made from them, and of no worth of their own."""
    return state_dir() / "index"


def policy_dir() -> Path:
    """The policy that was applied last, and the one before."""
    return state_dir() / "policy"


def hosts_dir() -> Path:
    """The enrolled hosts."""
    return state_dir() / "hosts"


def wrapped_dir() -> Path:
    """What was put into the configurations of hosts, and copies of what they were."""
    return state_dir() / "wrapped"


def trust_dir() -> Path:
    """Whose signatures count, what was revoked, and which versions were seen."""
    return state_dir() / "trust"


def keys_dir() -> Path:
    """Private signing keys, encrypted."""
    return state_dir() / "keys"


def certificates_dir() -> Path:
    """The certificate registry and the keys of our own authority."""
    return state_dir() / "certificates"


def servers_dir() -> Path:
    """The registered servers: their manifests and definitions."""
    return state_dir() / "servers"


def store_dir() -> Path:
    """Installed package trees that servers run from."""
    return state_dir() / "store"


def memory_dir() -> Path:
    """What a daemon must remember of the one before."""
    return state_dir() / "memory"


def quarantine_dir() -> Path:
    """What is in quarantine."""
    return state_dir() / "quarantine"


def baseline_dir() -> Path:
    """What detectors have learned."""
    return state_dir() / "baseline"


def export_dir() -> Path:
    """Where the audit log flows to (`export.toml`), and how far each sink has it."""
    return state_dir() / "export"


def auth_dir() -> Path:
    """How peers beyond stdio are recognised: `auth.toml`, and the digests of API keys."""
    return state_dir() / "auth"


def serve_dir() -> Path:
    """Where the daemon listens beside its own sockets (`serve.toml`)."""
    return state_dir() / "serve"


def presence_dir() -> Path:
    """The ways in which people show presence."""
    return state_dir() / "presence"


def server_home() -> Path:
    """Home directory of the servers of a daemon for everybody."""
    return state_dir() / "home"


def daemon_log() -> Path:
    """What a daemon that was started on demand has to say to a developer."""
    return state_dir() / "daemon.log"


def secrets_dir() -> Path:
    """The vault, and when its secrets were used."""
    return state_dir() / "secrets"
