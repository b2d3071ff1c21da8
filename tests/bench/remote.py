"""What a call to a remote server over mutual TLS costs beside the same call of a bare aiohttp client, in one run.

    .venv/bin/python tests/bench/remote.py [--rounds N] [--calls N] [--json]

The server is a process of its own that answers each POST with JSON. The client and the guard take turns, so that noise
hits both alike. Nothing fails on milliseconds: the program prints and exits 0. Bar: <= 0.6 ms more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402 - after the path is set
import uvloop  # noqa: E402
from aiohttp import web  # noqa: E402

from tests.fakes.remotes import Pki  # noqa: E402
from tests.lifecycle.stage import Host, House  # noqa: E402

TOOL = {"name": "echo", "description": "Echoes.", "inputSchema": {"type": "object"}}
POLICY = (
    'version = 1\nmode = "enforce"\n[[rule]]\nid = "e"\nserver = "*"\ntools = ["echo"]\neffect = "allow"\n'
)


def serve(certificate: str, ca: str) -> None:
    """The server: prints its port, then answers for ever."""

    async def handle(request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        if "id" not in message:
            return web.Response(status=202)
        result = {
            "initialize": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "b", "version": "1"},
            },
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }.get(message["method"])  # fmt: skip
        body = {"jsonrpc": "2.0", "id": message["id"]}
        body |= {"result": result} if result else {"error": {"code": -32601, "message": "no"}}
        return web.json_response(body)

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application()
        app.router.add_route("*", "/mcp", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    uvloop.run(main())


async def bare(url: str, pki: Pki, certificate: Path, calls: int) -> list[float]:
    """Seconds of each call of a bare client."""
    context = ssl.create_default_context(cafile=str(pki.ca_file))
    context.load_cert_chain(certificate)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    took = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for ident in range(calls + 20):
            body = request(ident)
            began = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                data = await answer.read()
            took.append(time.perf_counter() - began)
            assert b"done" in data
    return took[20:]


def request(ident: int) -> bytes:
    return json.dumps(
        {
            "jsonrpc": "2.0",
            "id": ident,
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"n": ident}},
        }
    ).encode()


def guarded(host: Host, calls: int) -> list[float]:
    """Seconds of each call of a host through the guard."""
    took = []
    for ident in range(1000, 1000 + calls + 20):
        line = request(ident) + b"\n"
        began = time.perf_counter()
        os.write(host.stdin, line)
        answer = b""
        while not answer.endswith(b"\n"):
            answer += os.read(host.stdout, 65536)
        took.append(time.perf_counter() - began)
        assert b"done" in answer, answer
    return took[20:]


def cpu(pid: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with House() as house, tempfile.TemporaryDirectory() as place:
        pki = Pki(Path(place))
        certificate, mine = pki.issue("server"), pki.issue("client", "bench@example.org")
        command = [sys.executable, __file__, "serve", str(certificate), str(pki.ca_file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                url = f"https://localhost:{int(process.stdout.readline())}/mcp"
                found = measure(house, pki, mine, url, options)
            finally:
                process.kill()
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<24} {value:8.3f}")


def measure(house: House, pki: Pki, mine: Path, url: str, options: argparse.Namespace) -> dict[str, float]:
    phrase = house.root / "phrase"
    phrase.write_text("correct horse battery\n")
    phrase.chmod(0o600)
    house.env["MCPGUARD_PASSPHRASE_FILE"] = str(phrase)
    house.serve()
    assert house.mcpguard("trust", "init", "--yes").returncode == 0
    house.policy(POLICY)
    known = ["--ca", str(pki.ca_file), "--client-cert", str(mine), "--client-key", str(mine)]
    done = house.mcpguard(
        "server", "add", "far", "--url", url, *known, "--allow-network", "loopback", "--yes"
    )
    assert done.returncode == 0, done.stderr
    host = house.host("far").greet()
    without: list[float] = []
    through: list[float] = []
    differences: list[float] = []
    busy: list[float] = []
    for _ in range(options.rounds):
        one = statistics.median(uvloop.run(bare(url, pki, mine, options.calls)))
        before = cpu(house.pid())
        two = statistics.median(guarded(host, options.calls))
        spent = (cpu(house.pid()) - before) / (options.calls + 20)
        without.append(one)
        through.append(two)
        differences.append(two - one)
        busy.append(spent)
    return {
        "bare aiohttp, ms": statistics.median(without) * 1000,
        "through mcpguard, ms": statistics.median(through) * 1000,
        "difference, ms": statistics.median(differences) * 1000,
        "in the quietest round": min(differences) * 1000,
        "CPU of the daemon, ms": statistics.median(busy) * 1000,
        "ratio": statistics.median(through) / statistics.median(without),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        main()
