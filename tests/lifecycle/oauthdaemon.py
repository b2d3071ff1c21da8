"""A daemon with one remote server, `files`, at the URL in its environment; it trusts the CA in a file there."""

import os
import ssl

from mcpguard.cli import daemonmain
from mcpguard.credentials.oauthsettings import Remote
from mcpguard.daemon import app, process
from mcpguard.daemon.oauthstore import MemoryStore
from mcpguard.daemon.outgoing import Fetch
from mcpguard.errors import TrustError
from tests.fakes.plainfetch import PlainFetch


class One:
    """The remote servers of this daemon."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def lookup(self, name: str) -> Remote:
        if name != "files":
            raise TrustError(f"no remote server is registered as {name!a}", hint="mcpguard server list")
        return Remote("files", os.environ["MCPGUARD_TEST_REMOTE"])

    def fetch(self, remote: Remote) -> Fetch:
        return PlainFetch(ssl.create_default_context(cafile=os.environ["MCPGUARD_TEST_CA"]))


class Guided(app.Daemon):
    """The daemon, with it."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, remotes=One(), **more)


process.Daemon = Guided
daemonmain.serve()
