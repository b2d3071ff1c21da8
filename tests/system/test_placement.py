"""Where the system puts a process: groups, units, labels and tracers, as their texts say."""

import os
import subprocess

import pytest

from mcpguard.system import placement
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from tests.system.kernels import Labelled, NoProc


class Said(Process):
    """Ourselves, with other texts."""

    def __init__(self, kernel=None, **texts):
        super().__init__(kernel or Kernel(), os.pidfd_open(os.getpid()), os.getpid())
        self.texts = texts

    def text(self, name, limit=65536):
        found = self.texts.get(name.replace("/", "_"))
        if found is None:
            raise FileNotFoundError(name)
        return found[:limit]


@pytest.fixture
def said():
    made = []

    def make(kernel=None, **texts):
        made.append(Said(kernel, **texts))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("text", "group", "unit"),
    [
        (
            b"0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-acme-77.scope\n",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-acme-77.scope",
            "app-acme-77.scope",
        ),
        (b"0::/user.slice/user-1000.slice/session-3.scope\n", "/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        (b"0::/system.slice/acme.service/inner\n", "/system.slice/acme.service/inner", "acme.service"),
        (b"0::/system.slice/_cgroup.procs.service\n", "/system.slice/_cgroup.procs.service", "cgroup.procs.service"),
        (b"9:name=systemd:/a/b.service\n8:pids:/c\n0::/\n", "/a/b.service", "b.service"),
        (b"9:name=systemd:/\n0::/\n", "/", ""),
        (b"8:pids:/c\n", "", ""),
        (b"0::/with:colon/x.scope\n", "/with:colon/x.scope", "x.scope"),
        (b"0::/docker/abc\n", "/docker/abc", ""),
        (b"0::/.scope\n", "/.scope", ""),
        (b"nonsense\n", "", ""),
    ],
)  # fmt: skip
def test_groups_and_units(said, text, group, unit):
    found = placement.control_group(said(cgroup=text))
    assert (found, placement.unit_of(found)) == (group, unit)


def test_group_that_is_not_told(said):
    with pytest.raises(OSError):
        placement.control_group(said())


def test_nobody_traces_us_and_a_real_tracer_is_named(said):
    own = Process.find(Kernel(), os.getpid())
    assert placement.tracer(own) == 0
    own.close()
    assert placement.tracer(said(status=b"Name:\tx\nTracerPid:\t77\n")) == 77
    with pytest.raises(OSError, match="traces"):
        placement.tracer(said(status=b"Name:\tx\n"))


@pytest.mark.parametrize(
    ("text", "confined"),
    [
        (b"snap.acme.acme (enforce)\n", True),
        (b"/usr/bin/acme (kill)", True),
        (b"acme (complain)\n", False),
        (b"acme (unconfined)\n", False),
        (b"unconfined\n", False),
        (b"a label\n", False),
        (b"acme//child (enforce)", True),
    ],
)
def test_labels_of_apparmor(said, text, confined):
    assert placement.label_of(said(attr_current=text)) == placement.Label(text.decode().strip(), confined)


@pytest.mark.parametrize("enforce", [b"1", b"0", None])
@pytest.mark.parametrize(
    ("text", "free"),
    [
        (b"system_u:system_r:acme_t:s0\0", False),
        (b"unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0", True),
        (b"system_u:system_r:unconfined_service_t:s0\0", True),
        (b"system_u:system_r:init_t:s0\0", True),
        (b"kernel\0", True),
    ],
)
def test_labels_of_selinux(said, text, free, enforce):
    class Enforcing(Kernel):
        def content(self, path, limit):
            if enforce is None or path != "/sys/fs/selinux/enforce":
                raise FileNotFoundError(path)
            return enforce

    found = placement.label_of(said(Enforcing(), attr_current=text))
    assert found.text == text.decode().strip("\0")
    assert found.confined is (enforce == b"1" and not free)


@pytest.mark.parametrize("texts", [{}, {"attr_current": b""}, {"attr_current": b"\0"}])
def test_system_without_labels(said, texts):
    assert placement.label_of(said(**texts)) == placement.Label()


def test_label_when_connected(said):
    assert placement.label_at_connect(said(Labelled()), 0) == "snap.acme.acme (enforce)"
    assert placement.label_at_connect(said(), 0) == ""  # what is no socket has none


def test_process_that_is_hidden():
    with subprocess.Popen(["sleep", "60"]) as child:
        process = Process(NoProc(), os.pidfd_open(child.pid), child.pid)
        assert placement.label_of(process) == placement.Label()
        with pytest.raises(OSError):
            placement.tracer(process)
        process.close()
        child.kill()
