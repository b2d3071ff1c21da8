"""The system calls of macOS that say who a process is, one method each, through ctypes.

Never run: written against the documented interfaces, because no machine with macOS was at hand. What decides is in
`system.macos`, which is tested with a layer that answers as the documents say.

Source: xnu-11417 bsd/sys/un.h (LOCAL_PEER*), bsd/sys/codesign.h (csops), bsd/sys/proc_info.h (proc_pidfdinfo),
libproc.h; Security.framework SecCode.h, SecRequirement.h; CoreFoundation.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import select
import socket
import struct
from typing import Final

import msgspec

SOL_LOCAL: Final = 0
LOCAL_PEERCRED: Final = 1
LOCAL_PEERTOKEN: Final = 6
TOKEN_BYTES: Final = 32
"""`audit_token_t`: eight 32-bit words: auid, euid, egid, ruid, rgid, pid, asid, pidversion."""
_XUCRED_BYTES: Final = 76
_CS_OPS_STATUS: Final = 0
_PROC_PIDFDPIPEINFO: Final = 6
_PIPE_INFO_BYTES: Final = 184
_PIPE_HANDLES: Final = 160
"""Offset of `pipe_handle` and `pipe_peerhandle` in `struct pipe_fdinfo`: proc_fileinfo (24), vinfo_stat (136)."""
_PROC_PIDLISTFDS: Final = 1
_PROX_FDTYPE_PIPE: Final = 6
_FD_INFO_BYTES: Final = 8
_MOST_DESCRIPTORS: Final = 4096
_PROC_PIDTBSDINFO: Final = 3
_BSD_INFO_BYTES: Final = 136
_PARENT: Final = 16
_START: Final = 120
_PATH_BYTES: Final = 4096
_STRICT: Final = 1 << 4
"""kSecCSStrictValidate."""
_SIGNING_INFORMATION: Final = 1 << 1
"""kSecCSSigningInformation."""
_UTF8: Final = 0x08000100
"""kCFStringEncodingUTF8."""


class Signature(msgspec.Struct, frozen=True):
    """What a valid code signature says: the team, the identifier, and the entitlements that are set."""

    team: str
    identifier: str
    entitlements: frozenset[str]


class Parentage(msgspec.Struct, frozen=True):
    """Parent of a process, and when the process began, in microseconds since 1970."""

    parent: int
    began: int


class Calls:
    """The calls. Every method raises OSError if the system refuses."""

    def __init__(self) -> None:
        self._system = ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
        self._security = ctypes.CDLL("/System/Library/Frameworks/Security.framework/Security")
        self._core = ctypes.CDLL("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation")
        _declare(self._core, self._security)

    def token(self, fd: int) -> bytes:
        """The audit token of the process that last used the far end of a connected Unix socket, looked up now."""
        with socket.socket(fileno=os.dup(fd)) as sock:
            return sock.getsockopt(SOL_LOCAL, LOCAL_PEERTOKEN, TOKEN_BYTES)

    def uid(self, fd: int) -> int:
        """The user id at the far end, as it was when the socket was connected."""
        with socket.socket(fileno=os.dup(fd)) as sock:
            _, uid = struct.unpack_from("II", sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, _XUCRED_BYTES))
        return int(uid)

    def status(self, pid: int, token: bytes) -> int:
        """Code-signing flags (CS_*) of the process that the token names."""
        flags = ctypes.c_uint32()
        held = ctypes.create_string_buffer(token, TOKEN_BYTES)
        self._checked(
            self._system.csops_audittoken(pid, _CS_OPS_STATUS, ctypes.byref(flags), ctypes.c_size_t(4), held)
        )
        return flags.value

    def path(self, token: bytes) -> str:
        """Path of the executable, for people."""
        held = ctypes.create_string_buffer(token, TOKEN_BYTES)
        found = ctypes.create_string_buffer(_PATH_BYTES)
        if self._system.proc_pidpath_audittoken(held, found, ctypes.c_uint32(_PATH_BYTES)) <= 0:
            raise OSError(ctypes.get_errno(), "proc_pidpath_audittoken")
        return os.fsdecode(found.value)

    def parentage(self, pid: int) -> Parentage:
        """Parent and beginning of a process."""
        raw = self._info(self._system.proc_pidinfo, pid, _PROC_PIDTBSDINFO, _BSD_INFO_BYTES)
        seconds, micros = struct.unpack_from("QQ", raw, _START)
        return Parentage(struct.unpack_from("I", raw, _PARENT)[0], seconds * 1_000_000 + micros)

    def descriptors(self, pid: int) -> list[int]:
        """Numbers of the pipe descriptors that a process has open."""
        held = ctypes.create_string_buffer(_MOST_DESCRIPTORS * _FD_INFO_BYTES)
        size = self._system.proc_pidinfo(pid, _PROC_PIDLISTFDS, ctypes.c_uint64(0), held, len(held))
        if size <= 0:
            raise OSError(ctypes.get_errno(), "proc_pidinfo")
        return [fd for fd, kind in struct.iter_unpack("iI", held.raw[:size]) if kind == _PROX_FDTYPE_PIPE]

    def pipe(self, pid: int, fd: int) -> tuple[int, int]:
        """Kernel handles of a pipe descriptor: its own end, and the far end."""
        held = ctypes.create_string_buffer(_PIPE_INFO_BYTES)
        size = self._system.proc_pidfdinfo(pid, fd, _PROC_PIDFDPIPEINFO, held, _PIPE_INFO_BYTES)
        if size < _PIPE_HANDLES + 16:
            raise OSError(ctypes.get_errno(), "proc_pidfdinfo")
        near, far = struct.unpack_from("QQ", held.raw, _PIPE_HANDLES)
        return int(near), int(far)

    def watch(self, pid: int) -> int:
        """A kqueue that becomes readable when the process exits or executes another program."""
        queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
        change = select.kevent(  # type: ignore[attr-defined,unused-ignore]
            pid,
            filter=select.KQ_FILTER_PROC,  # type: ignore[attr-defined,unused-ignore]
            flags=select.KQ_EV_ADD,  # type: ignore[attr-defined,unused-ignore]
            fflags=select.KQ_NOTE_EXIT | select.KQ_NOTE_EXEC,  # type: ignore[attr-defined,unused-ignore]
        )
        queue.control([change], 0, 0)
        fd = os.dup(queue.fileno())
        queue.close()
        return fd

    def signature(self, token: bytes) -> Signature:
        """The code signature of the process that the token names, checked strictly. Never by pid."""
        core, security = self._core, self._security
        data = core.CFDataCreate(None, token, len(token))
        key = ctypes.c_void_p.in_dll(security, "kSecGuestAttributeAudit")
        keys, values = (ctypes.c_void_p * 1)(key), (ctypes.c_void_p * 1)(data)
        attributes = core.CFDictionaryCreate(None, keys, values, 1, None, None)
        code, info = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            _status(security.SecCodeCopyGuestWithAttributes(None, attributes, 0, ctypes.byref(code)))
            _status(security.SecCodeCheckValidity(code, _STRICT, None))
            _status(security.SecCodeCopySigningInformation(code, _SIGNING_INFORMATION, ctypes.byref(info)))
            return Signature(
                self._text(info, "kSecCodeInfoTeamIdentifier"),
                self._text(info, "kSecCodeInfoIdentifier"),
                self._entitlements(info),
            )
        finally:
            for held in (data, attributes, code.value, info.value):
                if held:
                    core.CFRelease(held)

    def _text(self, info: ctypes.c_void_p, name: str) -> str:
        key = ctypes.c_void_p.in_dll(self._security, name)
        return self._string(self._core.CFDictionaryGetValue(info, key))

    def _string(self, value: int | None) -> str:
        found = ctypes.create_string_buffer(_PATH_BYTES)
        if not value or not self._core.CFStringGetCString(value, found, _PATH_BYTES, _UTF8):
            return ""
        return found.value.decode("utf-8", "replace")

    def _entitlements(self, info: ctypes.c_void_p) -> frozenset[str]:
        """Names of the entitlements whose value is true."""
        core = self._core
        key = ctypes.c_void_p.in_dll(self._security, "kSecCodeInfoEntitlementsDict")
        table = core.CFDictionaryGetValue(info, key)
        if not table:
            return frozenset()
        count = core.CFDictionaryGetCount(table)
        keys, values = (ctypes.c_void_p * count)(), (ctypes.c_void_p * count)()
        core.CFDictionaryGetKeysAndValues(table, keys, values)
        true = ctypes.c_void_p.in_dll(core, "kCFBooleanTrue").value
        return frozenset(self._string(k) for k, v in zip(keys, values, strict=True) if v == true)

    def _info(self, call: ctypes._NamedFuncPointer, pid: int, flavour: int, size: int) -> bytes:
        held = ctypes.create_string_buffer(size)
        if call(pid, flavour, ctypes.c_uint64(0), held, size) != size:
            raise OSError(ctypes.get_errno(), "proc_pidinfo")
        return held.raw

    def _checked(self, result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "csops_audittoken")


def _status(status: int) -> None:
    """Raise for an OSStatus other than noErr."""
    if status != 0:
        raise OSError(status, "the code signature is not valid")


def _declare(core: ctypes.CDLL, security: ctypes.CDLL) -> None:
    """Say which functions return pointers and take sizes: ctypes would cut both to 32 bits."""
    pointer, index = ctypes.c_void_p, ctypes.c_long
    core.CFDataCreate.restype = core.CFDictionaryCreate.restype = core.CFDictionaryGetValue.restype = pointer
    core.CFDataCreate.argtypes = [pointer, ctypes.c_char_p, index]
    core.CFDictionaryCreate.argtypes = [pointer, pointer, pointer, index, pointer, pointer]
    core.CFDictionaryGetValue.argtypes = [pointer, pointer]
    core.CFDictionaryGetCount.argtypes, core.CFDictionaryGetCount.restype = [pointer], index
    core.CFDictionaryGetKeysAndValues.argtypes = [pointer, pointer, pointer]
    core.CFStringGetCString.argtypes = [pointer, ctypes.c_char_p, index, ctypes.c_uint32]
    core.CFRelease.argtypes = [pointer]
    security.SecCodeCopyGuestWithAttributes.argtypes = [pointer, pointer, ctypes.c_uint32, pointer]
    security.SecCodeCheckValidity.argtypes = [pointer, ctypes.c_uint32, pointer]
    security.SecCodeCopySigningInformation.argtypes = [pointer, ctypes.c_uint32, pointer]
