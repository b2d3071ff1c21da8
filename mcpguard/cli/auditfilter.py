"""The options that say which records of the audit log are wanted, the same for every verb that reads it.

Times are local (TZ), as they are shown. A day that is named for `--until` counts whole.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from mcpguard.audit.facets import DECISIONS
from mcpguard.audit.filters import HOST, UID, Filter
from mcpguard.cli import ago

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS: Final = {"today": 0, "yesterday": 1}
_FORMS: Final = "7d, 12h, 2026-11-20, 2026-11-20T10:00, today, yesterday or now"
_F = TypeVar("_F", bound=Callable[..., Any])


class Asked(msgspec.Struct, frozen=True):
    """What a person asks a log.

    Attributes:
        directory: The log; None is the one of this machine.
        wanted: Which records.
        indexed: Whether the index may be used.
    """

    directory: Path | None
    wanted: Filter
    indexed: bool


def _moment(_: click.Context, param: click.Parameter, value: str | None) -> str:
    try:
        return moment(value, time.time(), last=param.name == "until") if value is not None else ""
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"{value!r} is no time: expected {_FORMS}") from error


def moment(text: str, now: float, *, last: bool = False) -> str:
    """A point in time as records have it. `now` is in Unix time; `last`: a day means its end.

    Raises:
        ValueError, OverflowError, OSError: It is none.
    """
    if (back := ago.seconds(text)) is not None:
        return _utc(dt.datetime.fromtimestamp(now - back, dt.UTC))
    if text == "now":
        return _utc(dt.datetime.fromtimestamp(now, dt.UTC))
    if text in _DAYS:
        day = dt.datetime.fromtimestamp(now).date() - dt.timedelta(days=_DAYS[text])  # noqa: DTZ006 - local
    elif _DAY.fullmatch(text):
        day = dt.date.fromisoformat(text)
    else:
        return _utc(dt.datetime.fromisoformat(text).astimezone(dt.UTC))
    midnight = dt.datetime.combine(day + dt.timedelta(days=last), dt.time())
    return _utc(midnight.astimezone(dt.UTC))


def _utc(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z" if moment.year > 999 else ""


def _principal(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        number = value.removeprefix(UID)
        good = number.isascii() and number.isdigit() and len(number) < 11 if value.startswith(UID) else False
        if not good and not (value.startswith(HOST) and len(value) > len(HOST)):
            raise click.BadParameter(f"{value!r} is no principal: expected uid:NUMBER or host:NAME")
    return tuple(f"{UID}{int(one[4:])}" if one.startswith(UID) else one for one in values)


def _names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What a shell offers: names in the index that begin like this."""

    def offered(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        from mcpguard.system import logindex, paths

        directory = ctx.params.get("directory") or paths.audit_dir()
        found = logindex.known_names(directory, paths.index_dir(), kind)
        return [CompletionItem(name) for name in found if name.startswith(begun) and name.isprintable()]

    return offered


def _option(*names: str, **more: Any) -> Callable[[_F], _F]:
    return click.option(*names, multiple=True, **more)


_OPTIONS: Final = (
    click.option("--since", callback=_moment, metavar="TIME", help=f"From then on: {_FORMS}."),
    click.option("--until", callback=_moment, metavar="TIME", help="Before then; a day counts whole."),
    _option("--host", "hosts", metavar="NAME", shell_complete=_names("host"),
            help="Of this enrolled host; '(NAME)' for one that is not enrolled."),
    _option("--server", "servers", metavar="NAME", shell_complete=_names("server"), help="Of this server."),
    _option("--tool", "tools", metavar="NAME", shell_complete=_names("target"),
            help="About this tool, prompt or URI."),
    _option("--decision", "decisions", type=click.Choice(DECISIONS), metavar="WORD",
            help=f"Decided, answered or ended so: {', '.join(DECISIONS)}."),
    _option("--type", "types", metavar="TYPE", shell_complete=_names("type"),
            help="Of this type: call, outcome, finding, approval, session ..."),
    _option("--principal", "principals", metavar="WHO", callback=_principal,
            help="Of this caller: uid:NUMBER or host:NAME."),
    _option("--conn", "conns", metavar="NAME", shell_complete=_names("conn"), help="Of this connection."),
    click.option("--text", default="", help="With this text anywhere in the record; case counts."),
    click.option("--no-index", is_flag=True, help="Read the whole log; slow, and relies on nothing but the log."),
    click.argument("directory", required=False, type=click.Path(path_type=Path)),
)  # fmt: skip


def unfiltered(command: _F) -> _F:
    """Give a command only the log and whether the index is used, as one `asked`."""
    return _given(command, _OPTIONS[-2:])


def filtered(command: _F) -> _F:
    """Give a command the options, as one `asked`."""
    return _given(command, _OPTIONS)


def filtered_whole(command: _F) -> _F:
    """Likewise, for a command that reads the whole log in any case."""
    return _given(command, (*_OPTIONS[:-2], _OPTIONS[-1]))


def _given(command: _F, options: Sequence[Callable[[Any], Any]]) -> _F:
    def wrapper(*, directory: Path | None, no_index: bool = True, **more: Any) -> Any:
        wanted = Filter(**{name: more.pop(name) for name in Filter.__struct_fields__ if name in more})
        if wanted.since and wanted.until and wanted.since >= wanted.until:
            raise click.UsageError("--since is not before --until, so there is nothing between them")
        return command(asked=Asked(directory, wanted, not no_index), **more)

    wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
    if hasattr(command, "__click_params__"):
        wrapper.__click_params__ = command.__click_params__  # type: ignore[attr-defined]
    decorated: Any = wrapper
    for option in reversed(options):
        decorated = option(decorated)
    made: _F = decorated
    return made
