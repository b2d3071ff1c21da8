"""A server that says what it is told to say, wherever a server can say anything; nothing but the interpreter.

`leaky.py FILE`: a JSON list of texts. They are in results, errors, notifications, log messages, requests, names of
itself, lines that are no messages, and on stderr.
"""

import json
import sys

TEXTS = json.loads(open(sys.argv[1]).read())


def send(message: object) -> None:
    sys.stdout.write(
        (message if isinstance(message, str) else json.dumps({"jsonrpc": "2.0", **message})) + "\n"
    )
    sys.stdout.flush()


for line in sys.stdin:
    message = json.loads(line)
    ident, method = message.get("id"), message.get("method")
    if ident is None:
        continue
    if method == "initialize":
        info = {"name": TEXTS[0], "version": TEXTS[1]}
        send(
            {
                "id": ident,
                "result": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                },
            }
        )
    elif method == "tools/call" and message["params"]["name"] == "leak":
        first = message["params"]["arguments"]["first"]
        some = TEXTS[first : first + 8]  # of more lines that are no messages, the connection is closed
        for number, text in enumerate(some):
            print(text, file=sys.stderr, flush=True)
            send(
                {"method": "notifications/message", "params": {"level": "info", "data": text, "logger": text}}
            )
            send({"method": f"notifications/{text}", "params": {"x": text}})
            send({"id": f"odd {text}", "result": {"x": text}})
            send({"id": number, "method": f"ask/{text}", "params": {"x": text}})
            send({"id": 9000 + number, "method": "sampling/createMessage", "params": {"messages": text}})
            send(f"not json {text}")
            twice = json.dumps(text)
            send(f'{{"jsonrpc":"2.0",{twice}:1,{twice}:2}}')
        content = [{"type": "text", "text": piece} for text in some for piece in (text[:5], text[5:])]
        send({"id": ident, "result": {"content": content}})
    elif method == "tools/call" and message["params"]["name"] == "fail":
        send({"id": ident, "error": {"code": -32000, "message": " ".join(TEXTS), "data": TEXTS}})
    elif method == "tools/call":
        send({"id": ident, "result": {"content": [{"type": "text", "text": "ok"}]}})
    else:
        send({"id": ident, "error": {"code": -32601, "message": TEXTS[0]}})
