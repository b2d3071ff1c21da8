"""The registered server of the corpus: a manifest that pins what `fixture.json` says, signed by a key that counts."""

import json
import os
import sys
from pathlib import Path

import msgspec

from mcpguard.identity.definitions import definition_digest
from mcpguard.identity.described import Definitions, encode_definitions
from mcpguard.identity.manifest import ExecutablePin, Launch, Manifest, encode_manifest
from mcpguard.identity.trust import LOCAL
from mcpguard.system.pinned import digest_of
from tests.identity.signing import A
from tests.identity.trusting import role, signed, trusted

NAME = "wire-pinned"
ALWAYS = "2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z"
SOCKET = "tape"
"""Where the tape finds its socket: in the directory that the host starts the shim in, which the manifest leaves open,
because the command is the same for each connection."""
TAPE = str(Path(__file__).with_name("tape.py"))
PYTHON = os.path.realpath(sys.executable)
FIXTURE = json.loads((Path(__file__).parent.parent / "vectors" / "fixture.json").read_text())
KEPT = 2
"""Descriptors that the daemon keeps of what it has verified: the interpreter and the script."""
TOOLS = {
    "read_file": FIXTURE["tool"],
    **{name: {"name": name, "inputSchema": {"type": "object"}} for name in ("other_tool", "ping_tool")},
}


def manifest() -> Manifest:
    """What is pinned: the three tools, the name that the server gives itself, and that it gives no instructions."""
    return Manifest(
        name=NAME,
        version=1,
        not_before=ALWAYS[0],
        expires=ALWAYS[1],
        launch=Launch(argv=(PYTHON, "-I", "-S", TAPE, SOCKET), host_argv=("tape",)),
        executables=tuple(
            ExecutablePin(path, digest_of(path), Path(path).stat().st_size) for path in (PYTHON, TAPE)
        ),
        server_name="s",
        tools={name: definition_digest(tool) for name, tool in TOOLS.items()},
    )


def requests() -> list[bytes]:
    """What makes a daemon trust the key and know the server: lines for admin.sock, in order."""
    trust = msgspec.structs.replace(trusted(expires=ALWAYS[1]), publishers={LOCAL: role(A)})
    lines = [
        {"verb": "trust-put", "text": signed(trust.encode(), A).decode()},
        {
            "verb": "server-put",
            "name": NAME,
            "text": signed(encode_manifest(manifest()), A).decode(),
            "definitions": encode_definitions(Definitions(tools=TOOLS)).decode(),
        },
    ]
    return [json.dumps(line).encode() + b"\n" for line in lines]
