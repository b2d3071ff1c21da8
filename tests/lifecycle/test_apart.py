"""Callers that live apart: other users, other namespaces, sandboxes; and what an ordinary user's host can be worth.

Numbers are those of the list of abuse cases.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mcpguard
from tests.lifecycle.forms import FORMS, arrive, evidence, leave, socat, some_library
from tests.lifecycle.stage import Host, House, alive, command, house, until

pytestmark = pytest.mark.root

USER = 65533
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}}
TALK = (
    "import os, socket, sys\n"
    "s = socket.socket(socket.AF_UNIX)\n"
    "try: s.connect(sys.argv[1])\n"
    "except OSError as error: sys.exit(error.strerror)\n"
    "s.settimeout(10)\n"
    "try: sys.argv[1].endswith('admin.sock') and s.sendall(b'{\"verb\":\"stop\"}\\n')\n"
    "except BrokenPipeError: pass\n"  # refused before it had asked
    "print(os.geteuid(), s.makefile().readline())\n"
)
OTHER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
MAPPED = [*OTHER, "unshare", "--user", "--map-root-user"]


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    with house() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays(place: House) -> Iterator[None]:
    before = place.descriptors()
    yield
    for host in place.hosts:
        host.close()
    assert until(lambda: place.descriptors() <= before, 5)


def possible(*before: str) -> list[str]:
    """The words before a command, if the kernel lets us use them."""
    if (
        not shutil.which(before[0])
        or subprocess.run([*before, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{before[0]} cannot do this here")
    return list(before)


# --- other users ----------------------------------------------------------------------------------------


def talk(words: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    words = [*words, "/usr/bin/python3", "-I", "-c", TALK, str(path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", ["run.sock", "admin.sock"])
@pytest.mark.parametrize("words", [OTHER, MAPPED], ids=["62", "63"])
def test_cases_62_and_63_directory_and_socket_each_keep_other_users_out(
    place: House, words: list[str], name: str
) -> None:
    place.root.chmod(0o755)  # what is above it may be open
    door = place.run_dir / name
    for opened in (door, place.run_dir):
        mode = opened.stat().st_mode & 0o7777
        opened.chmod(0o777)
        said = talk(possible(*words), door)
        opened.chmod(mode)
        assert (said.returncode, said.stderr) == (1, "Permission denied\n")


@pytest.fixture
def open_doors(place: House) -> Iterator[None]:
    """Sockets that anybody reaches, as a mistake would leave them."""
    made = [place.root, place.run_dir, place.run_dir / "run.sock", place.run_dir / "admin.sock"]
    modes = [path.stat().st_mode for path in made]
    for path in made:
        path.chmod(0o777)
    yield
    for path, mode in zip(made, modes, strict=True):
        path.chmod(mode & 0o7777)


@pytest.mark.usefixtures("open_doors")
@pytest.mark.parametrize(("words", "uid"), [(OTHER, USER), (MAPPED, 0)], ids=["62", "63"])
def test_cases_62_and_63_whoever_gets_in_is_refused_by_the_real_uid(
    place: House, words: list[str], uid: int
) -> None:
    """The second one is uid 0, the daemon's, in a namespace of its own making: the kernel says who that really is."""
    said = talk(possible(*words), place.run_dir / "run.sock")
    assert said.stdout.startswith(f"{uid} refuse 5 uid {USER} may not use the daemon of uid 0")
    said = talk(words, place.run_dir / "admin.sock")
    found, _, reply = said.stdout.partition(" ")
    assert int(found) == uid
    assert json.loads(reply)["error"] == f"the other end belongs to uid {USER}, not 0"
    assert place.answers()


# --- namespaces -----------------------------------------------------------------------------------------

APART = {
    "user": ["unshare", "--user", "--map-root-user"],
    "pid": ["unshare", "--pid", "--fork", "--kill-child"],
    "pid and /proc": ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
    "bubblewrap": ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--dev", "/dev"],
    "bubblewrap and /proc": [
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--unshare-all",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
    ],
}


def refused(host: Host) -> str:
    """What host and user hear; nothing was started."""
    answer = host.ask("initialize", HELLO)
    message = str(answer["error"]["message"])
    (said,) = leave(host)
    assert message.removeprefix("mcpguard: ") in said
    assert host.wait() == 5
    assert not (host.home / "pid").exists()
    assert not alive(host.marker)
    return message


@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("who", ["host", "shim"])
def test_callers_in_namespaces_of_their_own_are_refused(place: House, apart: str, who: str) -> None:
    """The sandbox of an agent's shell, with or without its host in it, reaches the socket and nothing else."""
    before = possible(*APART[apart])
    host = (
        arrive(place, [*before, *FORMS["pairs"]]) if who == "host" else arrive(place, FORMS["pairs"], before)
    )
    assert "namespace" in refused(host)


def test_admin_socket_refuses_callers_in_namespaces_of_their_own(place: House) -> None:
    for before in APART.values():
        words = [*possible(*before), sys.executable, "-I", "-c", TALK, str(place.run_dir / "admin.sock")]
        said = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        reply = json.loads(said.stdout.partition(" ")[2])
        assert (reply["ok"], reply["code"]) == (False, "refused")
        assert "namespace" in reply["error"]
    assert place.answers()


def test_mount_namespace_alone_takes_the_grade_away(place: House) -> None:
    """Paths and files mean something else there; distributions start whole desktops in one, so it is no refusal."""
    host = arrive(place, [*possible("unshare", "--mount"), *FORMS["pairs"]]).greet()
    seen = evidence(place, host)
    assert (seen["pid"], seen["grade"]) == (host.process.pid, "G0")
    assert seen["because"] == "it lives in a mount namespace of its own, so the files it sees may be others"


def test_program_mounted_over_another_one_is_named_by_what_it_is(place: House) -> None:
    """The link says /usr/bin/cat; the digest is the other file's, and the grade says what to think of it."""
    cat = os.path.realpath(shutil.which("cat") or "")
    python = os.path.realpath(sys.executable)
    script = f'mount --bind {python} {cat} && exec {cat} "$@"'
    words = [*possible("unshare", "--mount"), "sh", "-c", script, "sh"]
    env = {"PYTHONHOME": str(Path(python).parent.parent)}
    host = arrive(place, [*words, *FORMS["pairs"][2:]], env=env).greet()
    seen = evidence(place, host)
    assert seen["exe"] == cat
    assert seen["grade"] == "G0"
    digest = subprocess.run(["sha256sum", python], capture_output=True, text=True, check=True).stdout.split()[
        0
    ]
    (one,) = place.ask({"verb": "hosts"})["connected"]
    assert one["facts"]["executable"]["digest"] == digest


# --- what an ordinary user's host is worth --------------------------------------------------------------


class Lodging(House):
    """A house of another user: whose daemon, hosts and questions all run as that user."""

    def __init__(self) -> None:
        super().__init__()
        os.chown(self.root, USER, USER)
        self.words = [*self.interpreter(), "-m", "mcpguard"]

    def interpreter(self) -> list[str]:
        """An interpreter that others can reach, with our packages."""
        home = self.root / "venv"
        packages = home / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        packages.mkdir(parents=True)
        (home / "bin").mkdir()
        (home / "bin" / "python3").symlink_to("/usr/bin/python3")
        (home / "pyvenv.cfg").write_text("home = /usr/bin\n")
        ours = [
            str(Path(mcpguard.__file__).parents[1]),
            *(path for path in sys.path if path.endswith("-packages")),
        ]
        (packages / "ours.pth").write_text("\n".join(ours) + "\n")
        words = [str(home / "bin" / "python3"), "-I"]
        tried = subprocess.run(
            [*words, "-c", "import mcpguard, msgspec, click, cryptography, uvloop"],
            user=USER, group=USER, extra_groups=[], cwd="/", capture_output=True, check=False,
        )  # fmt: skip
        if tried.returncode:
            pytest.skip("there is no interpreter that another user can reach")
        return words

    def lodge(self, *words: str, **more: Any) -> Any:
        """Popen as that user."""
        return subprocess.Popen(
            words, env=self.env, user=USER, group=USER, extra_groups=[], cwd="/", text=True, **more
        )

    def settle(self) -> "Lodging":
        self.daemon = self.lodge(
            *self.words, "daemon", "start", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert until(self.answers)
        return self

    def said(self, *words: str) -> str:
        with self.lodge(*self.words, *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asked:
            return str(asked.stdout.read())

    def answers(self) -> bool:
        return self.said("status", "--json").startswith("{")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said("status", "--json"))
        return found

    def native_host(self, program: str, env: dict[str, str] | None = None) -> Host:
        """A native program as the host, and its server."""
        home = Path(self.root / secrets.token_hex(4))
        home.mkdir()
        os.chown(home, USER, USER)
        serve = [self.words[0], "-I", "-S", *command(home, "m")[3:]]
        words = [*self.words, "run", "--name", home.name, "--", *serve]
        host = Host(
            socat(program, self.root, words),
            self.env | (env or {}),
            user=USER,
            group=USER,
            extra_groups=[],
            cwd="/",
        )
        host.name = home.name  # type: ignore[attr-defined]
        host.home = home
        self.hosts.append(host)
        return host.greet()


@pytest.fixture(scope="module")
def lodging() -> Iterator[Lodging]:
    if not shutil.which("socat"):
        pytest.skip("needs socat")
    with Lodging() as made:
        yield made.settle()


def test_roots_native_program_run_by_an_ordinary_user_is_worth_g3(lodging: Lodging) -> None:
    program = os.path.realpath(shutil.which("socat") or "")
    host = lodging.native_host(program)
    seen = evidence(lodging, host)
    assert (seen["exe"], seen["uid"], seen["grade"]) == (program, USER, "G3")
    digest = subprocess.run(
        ["sha256sum", program], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert seen["sha256"] == digest
    assert seen["because"] == (
        "the system enforces no label that confines it, so a program of the same user can pass for it"
    )


@pytest.mark.parametrize("mode", ["owner", "writable", "directory"])
def test_program_that_its_user_can_change_is_not(lodging: Lodging, mode: str) -> None:
    directory = lodging.root / f"bin-{mode}"
    directory.mkdir()
    program = str(shutil.copy(shutil.which("socat") or "", directory / "acme"))
    if mode == "owner":
        os.chown(program, USER, USER)
    elif mode == "writable":
        os.chmod(program, 0o777)
    else:
        os.chown(directory, USER, USER)
    seen = evidence(lodging, lodging.native_host(program))
    assert (seen["exe"], seen["grade"]) == (program, "G2")
    assert seen["because"] == "others than root can change its executable"


def test_injection_takes_g3_away(lodging: Lodging) -> None:
    program = os.path.realpath(shutil.which("socat") or "")
    seen = evidence(lodging, lodging.native_host(program, {"LD_PRELOAD": some_library()}))
    assert (seen["exe"], seen["grade"], seen["injected"]) == (program, "G2", ["LD_PRELOAD"])
    assert seen["because"] == "it bears signs of foreign code: LD_PRELOAD"
