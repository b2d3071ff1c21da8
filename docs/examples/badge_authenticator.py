#!/usr/bin/env python3
"""An authenticator of your own for mcpguard, as a program: is whoever connects from this address at work today?

auth.toml:

    [plugin.badge]
    command = ["/usr/local/bin/badge_authenticator.py"]
    sees = ["network", "uid"]
    settings = { file = "/etc/badges.json" }

mcpguard writes one JSON object a line to standard input and reads one JSON object a line from standard output; `id`
tells which question is answered. The answer may refuse, add principals (policy sees them as plugin:badge=VALUE), end
earlier (`expires`, Unix seconds) and narrow (`servers`, `tools`). It cannot let in whom others have refused.
"""

import json
import sys

FILE = sys.argv[1] if len(sys.argv) > 1 else "/etc/badges.json"


def answer(question: dict) -> dict:
    with open(FILE, encoding="utf-8") as file:
        badges = json.load(file)  # {"agent.example": "building-7"}
    names = [name.partition(":")[2] for name in question["principals"]]
    places = [badges[name] for name in names if name in badges]
    if not places:
        return {"ok": False, "reason": "nobody of that name is in the house"}
    return {"ok": True, "principals": [f"in-{place}" for place in places]}


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = answer(question)
        except (OSError, ValueError) as error:
            said = {"ok": False, "reason": f"the list of badges cannot be read: {type(error).__name__}"}
        print(json.dumps({"id": question["id"], **said}), flush=True)


if __name__ == "__main__":
    main()
