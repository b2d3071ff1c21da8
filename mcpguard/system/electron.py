"""What do the fuses of an Electron application allow?

An Electron executable may be root's, and still runs any script if it is started with ELECTRON_RUN_AS_NODE, with
NODE_OPTIONS or with --inspect, unless its fuses forbid it. They are a few characters in the file behind a marker.

Source: Electron docs/tutorial/fuses.md; @electron/fuses, FuseV1Options.
"""

from __future__ import annotations

from typing import Final

MARKER: Final = b"dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX"
_WIRE_BYTES: Final = 34
"""Version, length, and at most so many fuses that matter here."""
_NAMES: Final = {
    0: "RunAsNode",
    2: "EnableNodeOptionsEnvironmentVariable",
    3: "EnableNodeCliInspectArguments",
}
_SET: Final = ord("1")


class Fuses:
    """Looks for fuses in a file that is fed to it piece by piece."""

    def __init__(self) -> None:
        self._kept = b""
        self._open: dict[str, None] = {}

    def feed(self, data: bytes) -> None:
        """The next piece; one that is empty ends the file."""
        text = self._kept + data
        at = text.find(MARKER)
        while at >= 0:
            wire = text[at + len(MARKER) : at + len(MARKER) + _WIRE_BYTES]
            if len(wire) < _WIRE_BYTES and data:
                break  # the rest is in the next piece
            self._read(wire)
            at = text.find(MARKER, at + 1)
        keep = len(MARKER) + _WIRE_BYTES - 1
        self._kept = text[at:] if at >= 0 else text[-keep:]

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the fuses found that let others choose what runs."""
        return tuple(self._open)

    def _read(self, wire: bytes) -> None:
        count = wire[1] if len(wire) > 1 else 0
        fuses = wire[2 : 2 + count]
        self._open.update({name: None for n, name in _NAMES.items() if n < len(fuses) and fuses[n] == _SET})
