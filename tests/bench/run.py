"""One command, all figures: ratios against direct and socat in the same run, in turn, so that noise hits all alike.

    .venv/bin/python tests/bench/run.py [--rounds N] [--json]

Bars are those of the README. Nothing fails on milliseconds: the program prints and exits 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import load
import micro

HERE = Path(__file__).parent
SERVER = [sys.executable, "-S", "-E", str(HERE / "echo_server.py")]
MCPGUARD = str(Path(sys.executable).parent / "mcpguard")
GUARDED = [MCPGUARD, "run", "--name", "bench", "--"]
NPM_SERVER = "@modelcontextprotocol/server-everything"
RULES = 1000
_TIDY_SECONDS = 8.0
"""A daemon that has nothing to do gives back what only its start needed, once its last checkpoint is signed."""


def full_policy() -> str:
    """A policy that uses what policies have: roles, arguments, labels, flows, a rate, and many rules about others."""
    text = (
        f'version = 1\nmode = "enforce"\n[roles]\nme = ["uid:{os.getuid()}"]\nagents = ["role:me"]\n'
        '[[label]]\nserver = "*"\ntools = ["fetch"]\nreads = ["untrusted"]\n'
        '[[label]]\nserver = "*"\ntools = ["echo"]\nsends = ["external"]\n'
        '[[rule]]\nid = "bench"\nwho = ["role:agents"]\ntools = ["echo"]\neffect = "allow"\nrate = "1000000/s"\n'
        'args.size = { type = "integer", maximum = 100000000, optional = true }\n'
        '[[rule]]\nid = "leaks"\ntools = ["*"]\neffect = "deny"\nwhen = { sends = ["external"], after = ["untrusted"] }\n'
    )
    for number in range(RULES):
        text += (
            f'[[rule]]\nid = "r{number}"\nserver = "s{number % 10}"\ntools = ["tool_{number}"]\nwho = ["role:agents"]\n'
            'effect = "allow"\nargs.path = { under = ["/srv"] }\n'
        )
    return text


def pss(pid: int) -> float:
    """Proportional set size, MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    own = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return own + [below for child in own for below in children(child)]


def mcpguard(env: dict[str, str], *words: str, program: str = MCPGUARD) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], env=env, check=True, capture_output=True, text=True)


def relays(env: dict[str, str]) -> dict[str, tuple[list[str], dict[str, str] | None]]:
    found: dict[str, tuple[list[str], dict[str, str] | None]] = {"direct": (SERVER, None)}
    if shutil.which("socat"):
        found["socat"] = (["socat", "-", "EXEC:" + " ".join(SERVER)], None)
    found["mcpguard"] = ([*GUARDED, *SERVER], env)
    return found


def throughput(env: dict[str, str], rounds: int, *, pairs: bool) -> dict[str, dict[str, float]]:
    """Median figures of each relay over the rounds, relays in turn."""
    seen: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, (command, environment) in relays(env).items():
            seen.setdefault(name, []).append(load.measure(command, pairs=pairs, env=environment))
    return {
        name: {key: statistics.median(f[key] for f in figures) for key in figures[0]}
        for name, figures in seen.items()
    }


def register(env: dict[str, str], home: Path, program: str = MCPGUARD) -> None:
    """A manifest for the server, so that every figure is with policy, pins and audit."""
    secret = home / "passphrase"
    secret.write_text("bench\n")
    secret.chmod(0o600)
    words = ["server", "add", "bench", "--yes", "--", *SERVER]
    mcpguard(env | {"MCPGUARD_PASSPHRASE_FILE": str(secret)}, *words, program=program)


@contextlib.contextmanager
def home(policy: str, program: str = MCPGUARD) -> Iterator[dict[str, str]]:
    """An empty HOME with this policy and a manifest of the server; the environment in which everything is run.

    Its daemon is stopped at the end.
    """
    with tempfile.TemporaryDirectory(prefix="mcpguard-bench-") as name:
        env = {
            **os.environ,
            "HOME": name,
            "NPM_CONFIG_USERCONFIG": os.environ.get("NPM_CONFIG_USERCONFIG", str(Path.home() / ".npmrc")),
            "MCPGUARD_RUNTIME_DIR": f"{name}/run",
            "MCPGUARD_STATE_DIR": f"{name}/state",
        }
        file = Path(name) / "policy.toml"
        file.write_text(policy)
        mcpguard(env, "policy", "apply", str(file), program=program)
        register(env, Path(name), program)
        try:
            yield env
        finally:
            mcpguard(env, "daemon", "stop", program=program)


def npm_starts(env: dict[str, str], home: Path, rounds: int) -> dict[str, float] | str:
    """Median milliseconds to the first answer of a server from npm: by npx, and guarded from its pinned tree.

    A sentence where npm, or what it installs from, is not there.
    """
    npx = ["npx", "-y", NPM_SERVER, "stdio"]
    own = env | {"MCPGUARD_PASSPHRASE_FILE": str(home / "passphrase")}
    for words in (["add", "npm", "--yes", "--", *npx], ["pin", "npm", "--yes"]):
        done = subprocess.run(
            [MCPGUARD, "server", *words], env=own, check=False, capture_output=True, text=True
        )
        if done.returncode:
            return (done.stderr.strip() or "npm is not there").splitlines()[-1]
    seen: dict[str, list[float]] = {"npx": [], "pinned": []}
    for _ in range(rounds):
        seen["npx"].append(load.start(npx, env))
        seen["pinned"].append(load.start([MCPGUARD, "run", "npm"], env))
    return {name: statistics.median(values) * 1000 for name, values in seen.items()}


def admission(env: dict[str, str]) -> float:
    """Median milliseconds from a shim's connection to its running server, by the audit log."""
    found = [
        record["admission_us"]
        for path in sorted(Path(env["MCPGUARD_STATE_DIR"], "audit").glob("*.jsonl"))
        for record in map(json.loads, path.read_text().splitlines())
        if record["type"] == "session" and record["event"] == "ready"
    ]
    return statistics.median(found) / 1000


def starts(env: dict[str, str], count: int) -> dict[str, float]:
    """Median milliseconds to the first answer, and of a bare interpreter."""
    out: dict[str, list[float]] = {"bare": [], "direct": [], "mcpguard": []}
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        out["bare"].append(time.perf_counter() - began)
        out["direct"].append(load.start(SERVER))
        out["mcpguard"].append(load.start([*GUARDED, *SERVER], env))
    return {name: statistics.median(values) * 1000 for name, values in out.items()}


def measured(env: dict[str, str]) -> tuple[int, float]:
    """The daemon's process, and its memory in MiB as it sees it itself: nobody else may look into it."""
    reply = json.loads(mcpguard(env, "status", "--json").stdout)
    return reply["pid"], reply["memory"]["pss_bytes"] / 2**20


def memory(env: dict[str, str], sessions: int) -> dict[str, float]:
    """MiB of the daemon alone, and of everything of ours with many sessions, shims and wardens included."""
    time.sleep(_TIDY_SECONDS)
    pid, daemon = measured(env)
    before = daemon + sum(map(pss, children(pid)))
    one = load.Host([*GUARDED, *SERVER], pairs=False, env=env)
    hosts = [one] + [load.Host([*GUARDED, *SERVER], pairs=False, env=env) for _ in range(sessions - 1)]
    try:
        wardens = [p for p in children(pid) if b"echo_server" not in Path(f"/proc/{p}/cmdline").read_bytes()]
        shims = [host.process.pid for host in hosts]
        total = measured(env)[1] + sum(map(pss, wardens)) + sum(map(pss, shims))
        return {
            "daemon": daemon,
            "before": before,
            "shim": statistics.median(map(pss, shims)),
            "session": (total - before) / sessions,
            "sessions": sessions,
        }
    finally:
        for host in hosts:
            host.close()


def bar(value: float, first: float, goal: float, *, more: bool = False) -> str:
    """How a figure stands to its bars."""
    held = (lambda limit: value >= limit) if more else (lambda limit: value <= limit)
    return "goal" if held(goal) else "first bar" if held(first) else "MISSED"


def report(figures: dict[str, object]) -> list[str]:
    lines = ["| what | measured | first bar | goal | |", "|---|---|---|---|---|"]
    for kind in ("pipes", "socketpairs"):
        t = figures[kind]
        added = t["mcpguard"]["p50"] - t["direct"]["p50"]
        if "socat" in t:
            base = t["socat"]["p50"] - t["direct"]["p50"]
            ratio = added / base
            lines.append(
                f"| added round trip p50, {kind} | {ratio:.2f} x socat's ({added:.0f} us, socat {base:.0f} us, direct "
                f"{t['direct']['p50']:.0f} us) | 2.0 x | 1.0 x | {bar(ratio, 2, 1)} |"
            )
        else:
            lines.append(f"| added round trip p50, {kind} | {added:.0f} us (socat is not installed) | | | |")
        lines.append(
            f"| p99 of a round trip, {kind} | {t['mcpguard']['p99']:.0f} us (direct {t['direct']['p99']:.0f} us, socat {t.get('socat', {}).get('p99', 0):.0f} us) | | | |"
        )
        calls = t["mcpguard"]["calls"]
        lines.append(
            f"| calls a second, 64 outstanding, {kind} | {calls:,.0f} (direct {t['direct']['calls']:,.0f}) "
            f"| 30,000 | 60,000 | {bar(calls, 30_000, 60_000, more=True)} |"
        )
        share = t["mcpguard"]["mib"] / t["direct"]["mib"]
        lines.append(
            f"| 1 MiB results, {kind} | {share:.2f} x direct ({t['mcpguard']['mib']:.0f} MiB/s) "
            f"| 0.25 x | 0.5 x | {bar(share, 0.25, 0.5, more=True)} |"
        )
    s = figures["start"]
    over = (s["mcpguard"] - s["direct"]) / s["bare"]
    lines.append(
        f"| start to first answer, over direct | {over:.2f} x a bare `python -I -c pass` ({s['mcpguard']:.1f} ms, direct "
        f"{s['direct']:.1f} ms, bare {s['bare']:.1f} ms) | 2.0 x | 1.2 x | {bar(over, 2, 1.2)} |"
    )
    added = s["mcpguard"] - s["direct"] - s["bare"]
    lines.append(
        f"| what admission adds to that start, beside the shim's interpreter | {added:.1f} ms (connection to running "
        f"server by the daemon's clock {figures['admission']:.1f} ms) | 10 ms | | {bar(added, 10, 10)} |"
    )
    npm = figures["npm"]
    if isinstance(npm, str):
        lines.append(f"| start of a server from npm | not measured: {npm} | 1.0 x | | |")
    else:
        faster = npm["pinned"] / npm["npx"]
        lines.append(
            f"| start of a pinned npm server, guarded and verified | {faster:.2f} x `npx -y` ({npm['pinned']:.0f} ms, "
            f"npx {npm['npx']:.0f} ms) | 1.0 x | | {bar(faster, 1, 1)} |"
        )
    m = figures["memory"]
    lines.append(f"| PSS of the daemon | {m['daemon']:.1f} MiB | 40 MiB | | {bar(m['daemon'], 40, 40)} |")
    lines.append(f"| PSS of a shim | {m['shim']:.2f} MiB | | | |")
    lines.append(
        f"| PSS of each session more, of {m['sessions']:.0f}, shim and warden included | {m['session']:.2f} MiB "
        f"| 6 MiB | 1 MiB | {bar(m['session'], 6, 1)} |"
    )
    d = figures["decision"]
    ratio = d["10000"] / d["10"]
    lines.append(
        f"| decision with 10,000 rules | {ratio:.2f} x that with 10 ({d['10'] * 1e9:.0f} ns) | 1.2 x | 1.2 x "
        f"| {bar(ratio, 1.2, 1.2)} |"
    )
    lines.append(f"| gate, one call both ways, CPU | {figures['gate'] * 1e6:.1f} us | | | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with home(full_policy()) as env:
        load.start([*GUARDED, *SERVER], env)
        figures: dict[str, object] = {
            "start": starts(env, options.rounds * 4),
            "admission": admission(env),
            "npm": npm_starts(env, Path(env["HOME"]), options.rounds),
            "pipes": throughput(env, options.rounds, pairs=False),
            "socketpairs": throughput(env, options.rounds, pairs=True),
            "memory": memory(env, options.sessions),
            "decision": micro.decision(),
            "gate": micro.gate_call(),
        }
    print(json.dumps(figures) if options.json else "\n".join(report(figures)))


if __name__ == "__main__":
    main()
