"""An authenticator of your own for mcpguard, as a Python package with an entry point: office hours.

pyproject.toml of your package:

    [project.entry-points."mcpguard.authenticators"]
    hours = "hours_authenticator:make"

auth.toml:

    [plugin.hours]
    entry_point = "hours"
    settings = { from = 8, to = 18 }

It runs inside the daemon: install only what you would let run as yourself.
"""

import datetime


def make(settings):
    """Called once, with `settings` of auth.toml; gives what is asked from then on."""
    first, last = int(settings.get("from", 8)), int(settings.get("to", 18))

    async def ask(question):
        now = datetime.datetime.now().astimezone()
        if not first <= now.hour < last:
            return {"ok": False, "reason": f"nobody works before {first} or after {last} o'clock"}
        end = now.replace(hour=last - 1, minute=59, second=59, microsecond=0)
        return {"ok": True, "principals": ["working"], "expires": end.timestamp() + 1}

    return ask
