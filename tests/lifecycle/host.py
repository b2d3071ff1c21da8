"""A host that starts `mcpguard run` and waits: what a SIGKILL leaves of it, nobody tidies up.

`host.py` reads the command from the environment, so that nothing of it is in its own command line.
"""

import json
import os
import subprocess
import sys
import time

shim = subprocess.Popen(json.loads(os.environ.pop("COMMAND")), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert shim.stdin
assert shim.stdout
hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
for ident, method, params in ((1, "initialize", hello), (2, "tools/call", {"name": "hang", "arguments": {}})):
    message = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}
    shim.stdin.write(json.dumps(message).encode() + b"\n")
    shim.stdin.flush()
    if sys.argv[1] == "reads" and ident == 1:
        shim.stdout.readline()
print("ready", flush=True)
time.sleep(60)
