"""What `mcpguard ca import` does: read the files that were named, show what would count, ask."""

from __future__ import annotations

import os

import click

from mcpguard.cli import certified, passphrase
from mcpguard.cli.terminal import confirm, tell
from mcpguard.identity.certificates import read, read_pem
from mcpguard.identity.pathcheck import utc
from mcpguard.model import JsonObject


def imported(options: JsonObject) -> JsonObject:
    """Carry out `ca import` with these options.

    Raises:
        TrustError: A file cannot be read, nobody can be asked, or it is refused.
    """
    kinds = [kind for kind in ("chain", "svid", "workload_api") if options[kind]]
    if len(kinds) != 1:
        raise click.UsageError("say one of --chain, --svid and --workload-api")
    if kinds[0] == "chain":
        return _authority(options)
    if options["svid"] and not (options["key"] and options["bundle"]):
        raise click.UsageError("--svid goes with --key and --bundle")
    tell(
        "Authorities of the SPIFFE trust domain will vouch for its names, and its certificate can be shown as ours."
    )
    confirm("Follow it?", yes=bool(options["yes"]))
    asked: JsonObject = {
        "name": options["name"], "certificate": _absolute(options["svid"]), "key": _absolute(options["key"]),
        "bundle": _absolute(options["bundle"]), "socket": options["workload_api"] or "",
    }  # fmt: skip
    return _answer(certified.ask("ca-import", {k: v for k, v in asked.items() if v}))


def _authority(options: JsonObject) -> JsonObject:
    content = certified.read_file(str(options["chain"]))
    for der in read_pem(content):
        found = read(der)
        tell(f"{found.subject}  until {utc(found.ends)}  SHA-256 {found.fingerprint}")
    accepted = [str(each) for each in options["accept"] or []]
    words = ", ".join(accepted) or "nothing by itself, only servers that you pin"
    tell(f"It may vouch for: {words}", "Compare the fingerprint of the root with what its owner told you.")
    confirm("Let it count?", yes=bool(options["yes"]))
    name, chain = options["name"], content.decode("latin-1")
    if not options["key"]:
        asked: JsonObject = {"name": name, "chain": chain, "permitted": accepted}
        if options["crl"]:
            asked["list_file"] = _absolute(options["crl"])
        return _answer(certified.ask("ca-import", asked))
    key = certified.read_file(str(options["key"])).decode("latin-1")
    encrypted = "ENCRYPTED" in key
    words = passphrase.of("the key", str(options["passphrase_file"] or "") or None) if encrypted else ""
    domain = str(options["domain"])
    permitted = accepted or ["dns:localhost", f"dns:{domain}", "ip:127.0.0.0/8", "ip:::1/128"]
    certified.ask(
        "ca-adopt",
        {
            "name": name,
            "domain": domain,
            "permitted": permitted,
            "chain": chain,
            "key": key,
            "passphrase": words,
        },
    )
    return {"name": name, "issues": True}


def _answer(reply: JsonObject) -> JsonObject:
    return {"name": reply["name"], "fault": reply["fault"]}


def _absolute(path: object) -> str:
    return os.path.abspath(str(path)) if path else ""  # noqa: PTH100 (links stay as they are: they are what changes)
