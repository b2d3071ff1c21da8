"""Real hosts that start a real shim over real pipes and sockets; the test is the daemon that the shim connects to."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from mcpguard.system import peercred
from mcpguard.system.descriptors import close_all, receive
from mcpguard.system.kernel import Kernel

SHIM = """
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.recv(1)
s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
os.close(0)
os.close(1)
s.recv(1)
"""

PYTHON = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for line in sys.stdin:
    exec(line)
"""

PAIRS = """
import os, socket, subprocess, sys
ours, theirs = socket.socketpair()
child = subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs)
theirs.close()
for line in sys.stdin:
    exec(line)
"""

NODE = """
const { spawn } = require("child_process");
spawn(process.argv[1], process.argv.slice(2), { stdio: ["pipe", "pipe", "inherit"] });
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
"""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

PYTHON_HOST = [sys.executable, "-I", "-c", PYTHON]
PAIRS_HOST = [sys.executable, "-I", "-c", PAIRS]
NODE_HOST = ["node", "-e", NODE]


class Arrival:
    """A shim that connected, and what it passed."""

    def __init__(self, sock, peer, descriptors, host):
        self.sock = sock
        self.peer = peer
        self.descriptors = descriptors
        self.host = host

    @property
    def stdin(self):
        return self.descriptors[0]

    @property
    def stdout(self):
        return self.descriptors[1]

    def say(self, line):
        """Have a host of Python run a line."""
        self.host.stdin.write(line.encode() + b"\n")
        self.host.stdin.flush()


def reachable(path):
    """Let other users through the directories above; those of tests are private."""
    for above in [path, *path.parents[:-1]]:
        if above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o011)


def shim_command(path, *before):
    """What a host starts."""
    return [*before, sys.executable, "-I", "-c", SHIM, str(path)]


@contextmanager
def arrival(tmp_path, host, *before, env=None, kernel=None, command=None, attested=lambda _: None):
    """Start a host which starts the shim through `before`; until the end of the block all of it runs.

    `attested` is called with the host's process between the look at the shim and its message.
    """
    path = tmp_path / "run.sock"
    reachable(tmp_path)
    files = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX) as listener:
        for option in (16, 76):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        listener.settimeout(20)
        words = command(path) if command else [*host, *shim_command(path, *before)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, env=env) as process:
            try:
                with listener.accept()[0] as sock:
                    sock.settimeout(20)
                    peer = peercred.attest(sock, kernel or Kernel())
                    attested(process)
                    sock.send(b"x")
                    _, descriptors, sender = receive(sock, 1)
                    peercred.require_sender(peer, sender, kernel or Kernel())
                    sender.close()
                    yield Arrival(sock, peer, descriptors, process)
                    close_all(descriptors)
                    peer.close()
            finally:
                process.kill()
    path.unlink()
    assert len(os.listdir("/proc/self/fd")) == files
