"""A home with a service manager that notes what it is asked; a real one is in tests/lifecycle/test_service.py."""

import subprocess

from tests.lifecycle.stage import House

FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "$ASKED"
case "$*" in
  --version) echo "systemd $SYSTEMD (test)";;
  *"--property=Version"*) [ -e "$AWAY" ] && { echo "Failed to connect to bus" >&2; exit 1; }; echo "$SYSTEMD";;
  *"--property=UnitPath"*) echo "/etc/systemd/user $READ /usr/lib/systemd/user";;
  *show-environment*) printf 'HOME=%s\\nLANG=C\\n' "$AT_HOME";;
  *is-active*) if [ -e "$ASKED.active" ]; then echo active; else echo inactive; exit 3; fi;;
  *is-enabled*) if [ -e "$ASKED.enabled" ]; then echo enabled; else echo disabled; exit 1; fi;;
  *"enable --now"*) [ -e "$ASKED.fail" ] && { echo "Failed to enable unit: no" >&2; exit 1; }; touch "$ASKED.active" "$ASKED.enabled";;
  *"disable --now"*) rm -f "$ASKED.active" "$ASKED.enabled";;
esac
exit 0
"""
NAMES = ["mcpguard-admin.socket", "mcpguard.service", "mcpguard.socket"]


class Desktop(House):
    """A house with a manager that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        (self.root / "bin").mkdir()
        for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
            (self.root / "bin" / name).write_text(FAKE)
            (self.root / "bin" / name).chmod(0o755)
        self.units = self.root / ".config/systemd/user"
        self.asked, self.away = self.root / "asked", self.root / "away"
        self.env |= {
            "PATH": f"{self.root}/bin:{self.env['PATH']}",
            "ASKED": str(self.asked),
            "AWAY": str(self.away),
            "READ": str(self.units),
            "AT_HOME": "/home/somebody",
            "SYSTEMD": "257",
        }

    def verb(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        told = self.mcpguard("daemon", *words)
        assert told.returncode == code, told
        return told

    def changes(self) -> list[str]:
        """What the manager was asked to do, as opposed to tell; forgotten afterwards."""
        lines = self.asked.read_text().splitlines() if self.asked.exists() else []
        self.asked.unlink(missing_ok=True)
        return [
            line
            for line in lines
            if not any(
                w in line for w in ("--version", "--property", "show-environment", "is-active", "is-enabled")
            )
        ]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.units.rglob("*")) if self.units.exists() else []
