"""`mcpguard`: dispatch. Each verb's module is imported when it is used; `run` never comes here."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any, Final

import click

from mcpguard import __version__
from mcpguard.approvals.book import ApprovalError
from mcpguard.audit.record import visible
from mcpguard.errors import ConfigError, DaemonError, GuardError, PeerError, SecretError, TrustError

FAILED, USAGE, NOT_RUNNING, REFUSED, CONFIG = 1, 2, 3, 5, 6
DRIFT: Final = 7
EXPIRED: Final = 124

VERBS: Final = {
    "init": "put every server of every host behind mcpguard, watching only",
    "doctor": "is everything as it should be, and what to do where it is not",
    "scan": "every server in every host, guarded or not, and what to look at",
    "run": "start an MCP server behind mcpguard (what hosts call)",
    "demo": "see it work: a real server, a real client, a dozen lines",
    "status": "daemon, connections, calls allowed and denied",
    "metrics": "counters for Prometheus",
    "host": "trust agent hosts; put mcpguard before their servers",
    "server": "register, pin, verify and compare MCP servers",
    "remote": "log in at remote servers, and out again",
    "policy": "check, apply, show and explain policy",
    "pending": "what waits for a person's approval",
    "approve": "let a call through that waits",
    "deny": "refuse a call that waits",
    "console": "watch calls and answer those that wait, on one screen",
    "findings": "what looked unusual, and what to do about it",
    "quarantine": "keep a server or a host away until you let it back",
    "presence": "how you show that you are there",
    "apikey": "keys for programs that come over a listener",
    "audit": "search, count, report and verify the audit log",
    "key": "signing keys of yours",
    "trust": "whose signatures count",
    "ca": "a small certificate authority of your own",
    "cert": "certificates that count, until when, pinned where",
    "secret": "keep secrets for servers, out of configurations",
    "sign": "sign a manifest",
    "verify": "check a signed manifest",
    "proxy": "listen on a Unix socket, one guarded server for each connection",
    "serve": "let peers beyond stdio in: Unix sockets, TLS; Streamable HTTP",
    "daemon": "start and stop the daemon, its log; make it a service",
    "completion": "completion script for bash, zsh or fish",
    "version": "print the version",
}

EXIT_CODES: Final = """\
Exit codes: 0 ok; 1 failed; 2 usage; 3 not running; 5 refused; 6 configuration invalid, nothing written;
7 something has drifted; 124 the time for an answer is over.
`mcpguard run`: the server's own; 128+n if signal n ended it; 125 mcpguard failed; 126 not executable; 127 not found.
"""


class _Verbs(click.Group):
    """Commands by name, imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"mcpguard.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and (near := difflib.get_close_matches(args[0], VERBS, n=1)):
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]}?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="mcpguard %(version)s")
def cli() -> None:
    """A reference monitor between agent hosts and MCP servers.

    Put `mcpguard run --` before a server's command in a host's configuration. Without a policy it watches and
    records; `mcpguard policy apply FILE` makes it enforce.
    """


def exit_code(error: GuardError) -> int:
    """The exit code of an error by who must act."""
    match error:
        case ConfigError():
            return CONFIG
        case DaemonError():
            return NOT_RUNNING if "not running" in error.message else FAILED
        case PeerError() | SecretError() | TrustError():
            return REFUSED
        case ApprovalError(code="expired"):
            return EXPIRED
        case _:
            return FAILED


def main() -> int:
    """Entry point of every verb but `run`; returns the exit code."""
    try:
        code: Any = cli.main(prog_name="mcpguard", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("mcpguard: interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except (GuardError, OSError) as error:
        return told(error)
    return code if isinstance(code, int) else 0


def told(error: GuardError | OSError) -> int:
    """Say on standard error what went wrong; returns the exit code."""
    if isinstance(error, GuardError):
        click.echo(f"mcpguard: {visible(error.sentence())}", err=True)
        return exit_code(error)
    where = f"{error.filename}: " if error.filename else ""
    click.echo(f"mcpguard: {where}{(error.strerror or str(error)).lower()}", err=True)
    return FAILED
