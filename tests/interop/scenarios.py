"""What the clients are told to do: per server, named lists of steps.

A step is an object with an `op` (the three clients have the same ops) and its arguments:
list, call, concurrent, cancel, read, prompt, complete, level, ping, subscribe, unsubscribe, roots (change
them and say so), answer (to elicitation and sampling from now on), listen, unlisten, wait (for
notifications, which it takes), raw (any request), task, sleep. `only` keeps a step for an era or a client.
`{DIR}` is the directory of the run.
"""

from dataclasses import dataclass, field
from typing import Any

UNICODE = 'ä € 😀 \u2028 \u2029 \u0085 \u0000 \u007f \ufeff \u200f \\ " / \r\n\t end'
MEGABYTE = {"$repeat": ["x", 1 << 20]}
NUMBERS = {
    "z": 1.0,
    "a": 1e-7,
    "big": 2**63 + 1,
    "exp": 1e22,
    "neg": -0.5,
    "zero": 0,
    "nested": [{"b": 1, "a": None}],
}
ANSWER = {
    "form": {
        "action": "accept",
        "content": {"name": "Ünal", "age": 41, "sure": True, "interpretation": "snake"},
    }
}
ROOTS = [{"uri": "file://{DIR}/root", "name": "root ü"}]
TS = ("ts1", "ts2")


@dataclass(frozen=True)
class Scenario:
    """Steps, and what the client answers and declares while it takes them."""

    steps: tuple[dict[str, Any], ...]
    clients: tuple[str, ...] = ("python", "ts1", "ts2")
    modes: tuple[str, ...] = ("legacy", "modern", "auto")
    log_level: str | None = "info"
    options: dict[str, Any] = field(default_factory=dict)
    # Whether the server ends by itself when its input does; otherwise the client has to kill it.
    exits: bool = True

    def document(self, client: str, era: str, directory: str) -> dict[str, Any]:
        """Render the scenario for one client."""
        document = {
            "env": ["HOME", "MCPGUARD_RUNTIME_DIR", "INTEROP_TOKEN"],
            "answer": ANSWER,
            "roots": ROOTS,
            "log_level": self.log_level,
            "steps": [
                {key: value for key, value in step.items() if key != "only"}
                for step in self.steps
                if {client, era} & set(step.get("only", (era,)))
            ],
            **self.options,
        }
        return _fill(document, directory)


def _fill(value: Any, directory: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, directory) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(item, directory) for item in value]
    return value.replace("{DIR}", directory) if isinstance(value, str) else value


def call(
    name: str, _only: tuple[str, ...] | None = None, _progress: str | None = None, /, **args: Any
) -> dict[str, Any]:
    step: dict[str, Any] = {"op": "call", "name": name, "args": args}
    if _only:
        step["only"] = _only
    if _progress:
        # "wire": ask for progress, but do not compare what the SDK made of it. The TypeScript SDKs pass an
        # answer on at once and a notification a microtask later, by which time nobody waits for progress
        # any more: reports that arrive in one read with the answer are lost on the caller, or are not.
        step["progress"] = _progress
    return step


def lists() -> list[dict[str, Any]]:
    return [{"op": "list", "kind": kind} for kind in ("tools", "resources", "templates", "prompts")]


def answers(**kinds: Any) -> dict[str, Any]:
    return {"op": "answer", "answer": kinds}


def read(uri: str) -> dict[str, Any]:
    return {"op": "read", "uri": uri}


def wait(method: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"op": "wait", "method": f"notifications/{method}", "count": count, **more}


LEGACY, MODERN = ("legacy",), ("modern",)

# One scenario for the two servers that speak both eras: their tools have the same names.
DUAL = (
    *lists(),
    # Values.
    call("echo", text=UNICODE),
    call("echo", text=""),
    call("weather", city="Bern"),
    call("any", value=[]),
    call("media"),
    # Errors.
    call("fail", message="It failed: ü"),
    call("crash"),
    call("refuse", code=4242),
    call("nothing-of-the-kind", x=1),
    call("weather", town=1),
    call("echo"),
    {"op": "raw", "method": "tools/list", "params": {"cursor": "not a cursor"}, "only": ("python",)},
    # Resources, prompts, completion.
    read("memo://text"),
    read("memo://bytes"),
    read("memo://notes/7"),
    read("memo://nothing"),
    {"op": "prompt", "name": "greet", "args": {"name": "Zoë", "tone": "formal"}},
    {"op": "prompt", "name": "greet"},
    {"op": "prompt", "name": "nothing"},
    {
        "op": "complete",
        "ref": {"type": "ref/prompt", "name": "greet"},
        "argument": {"name": "tone", "value": "f"},
    },
    {
        "op": "complete",
        "ref": {"type": "ref/resource", "uri": "memo://notes/{number}"},
        "argument": {"name": "number", "value": "1"},
        "context": {"other": "x"},
    },
    # What the server asks of the client: by request, or by input_required in the modern era.
    call("roots"),
    call("sample", prompt="Say something \u2028"),
    answers(sampling={"error": {"code": -1, "message": "User rejected sampling request"}}),
    call("sample", prompt="No"),
    answers(sampling={}),
    call("ask"),
    call("ask_twice"),
    call("open_url"),
    answers(form={"action": "decline"}, url={"action": "decline"}),
    call("ask"),
    call("open_url"),
    answers(form={"action": "cancel"}, url={"action": "cancel"}),
    call("ask"),
    answers(**ANSWER),
    wait("elicitation/complete", seconds=0.2),
    # Progress, logs, cancellation.
    call("slow", None, "caller", steps=5, delay=0.02),
    call("slow", steps=2, delay=0.01),
    {"op": "level", "level": "info", "only": LEGACY},
    call("log"),
    wait("message", 2),
    {"op": "cancel", "name": "slow", "args": {"steps": 1000, "delay": 0.01}},
    call("state"),
    # Change notifications.
    {"op": "subscribe", "uri": "memo://text", "only": LEGACY},
    {
        "op": "listen",
        "key": "all",
        "filter": {
            "toolsListChanged": True,
            "promptsListChanged": True,
            "resourcesListChanged": True,
            "resourceSubscriptions": ["memo://text", "memo://bytes"],
        },
        "only": MODERN,
    },
    {"op": "listen", "key": "some", "filter": {"promptsListChanged": True}, "only": MODERN},
    call("change", kind="tools"),
    wait("tools/list_changed"),
    call("change", kind="prompts"),
    # Two subscriptions asked for it in the modern era.
    wait("prompts/list_changed", 1, only=LEGACY),
    wait("prompts/list_changed", 2, only=MODERN),
    call("change", kind="resources"),
    wait("resources/list_changed"),
    call("change", kind="memo://text"),
    wait("resources/updated"),
    {"op": "unlisten", "key": "all", "only": MODERN},
    {"op": "unsubscribe", "uri": "memo://text", "only": LEGACY},
    {"op": "list", "kind": "tools"},
    call("extra"),
    {"op": "unlisten", "key": "some", "only": MODERN},
    # Roots and ping are of the legacy era; the notification has no answer, so something follows it.
    {"op": "roots", "roots": [*ROOTS, {"uri": "file:///elsewhere"}], "only": LEGACY},
    {"op": "ping", "only": LEGACY},
    call("state"),
    call("roots"),
)

LOAD = (
    {
        "op": "concurrent",
        "name": "delayed",
        "count": 20,
        # The last to be asked is the first to be answered.
        "args": {"index": {"$index": 1}, "delay": {"$reverse": [0.01, 20]}},
        "unordered": True,
    },
    call("length", text=MEGABYTE),
    call("big", size=1 << 20),
    call("length", text={"$repeat": ["\u2028ü", 1 << 17]}),
    {"op": "concurrent", "name": "big", "count": 4, "args": {"size": 200_000}, "unordered": True},
    {"op": "cancel", "name": "slow", "args": {"steps": 1000, "delay": 0.01}},
    {"op": "cancel", "name": "slow", "args": {"steps": 1000, "delay": 0.01}},
    call("slow", None, "wire", steps=200, delay=0),
    call("echo", text="still here"),
)

# Numbers keep their text, both ways: the Python SDK and its server write 1.0, 1e+22 and integers of any size.
NUMBERS_BOTH_WAYS = (call("any", value=NUMBERS),)

PYTHON = (
    *DUAL,
    call("add", a=1),
    call("add", a="not a number"),
    {"op": "prompt", "name": "conversation"},
    call("ping_client", LEGACY),
)
TS2 = (*DUAL, read("memo://asked"), {"op": "prompt", "name": "asked"})

EVERYTHING = (
    # It asks for the roots 350 ms after the handshake and logs that it has them; by then the tools that
    # depend on the client's capabilities are registered.
    wait("message"),
    wait("tools/list_changed"),
    *lists(),
    call("echo", message=UNICODE),
    call("echo"),
    call("get-sum", a=1, b=2.5),
    call("get-sum", a="x", b=2),
    *(
        call("get-annotated-message", messageType=kind, includeImage=True)
        for kind in ("error", "success", "debug")
    ),
    call("get-resource-links", count=4),
    call("get-resource-reference", resourceType="Text", resourceId=3),
    call("get-resource-reference", resourceType="Blob", resourceId=4),
    call("get-structured-content", location="Chicago"),
    call("get-structured-content", location="Nowhere"),
    call("get-tiny-image"),
    call("gzip-file-as-resource", name="a.gz", data="data:text/plain,hello", outputType="resource"),
    call("gzip-file-as-resource", name="b.gz", data="data:text/plain,hello", outputType="resourceLink"),
    wait("resources/list_changed", 2),
    read("demo://resource/session/b.gz"),
    call("get-roots-list"),
    {"op": "roots", "roots": [*ROOTS, {"uri": "file:///elsewhere"}]},
    wait("message"),
    call("get-roots-list"),
    call("trigger-long-running-operation", None, "wire", duration=0.2, steps=4),
    call("trigger-sampling-request", prompt="Say something", maxTokens=10),
    call("trigger-elicitation-request"),
    answers(form={"action": "decline"}, url={"action": "decline"}),
    call("trigger-elicitation-request"),
    call("trigger-url-elicitation", url="https://example.org/a?b=1&c=2", message="Go", elicitationId="e-1"),
    call("trigger-url-elicitation", url="https://example.org/a", errorPath=True),
    answers(**ANSWER),
    # get-env is left out (its answer is the environment, see test_process.py), toggle-simulated-logging too
    # (random levels).
    {"op": "subscribe", "uri": "demo://resource/dynamic/text/1"},
    call("toggle-subscriber-updates"),
    wait("resources/updated"),
    call("toggle-subscriber-updates"),
    {"op": "unsubscribe", "uri": "demo://resource/dynamic/text/1"},
    wait("message", 2),
    read("demo://resource/dynamic/text/1"),
    read("demo://resource/dynamic/blob/2"),
    read("demo://resource/static/document/features.md"),
    read("demo://resource/nothing"),
    {"op": "prompt", "name": "simple-prompt"},
    {"op": "prompt", "name": "args-prompt", "args": {"city": "Genève"}},
    {"op": "prompt", "name": "args-prompt"},
    {"op": "prompt", "name": "resource-prompt", "args": {"resourceType": "Text", "resourceId": "1"}},
    {
        "op": "complete",
        "ref": {"type": "ref/prompt", "name": "completable-prompt"},
        "argument": {"name": "name", "value": "A"},
        "context": {"department": "Engineering"},
    },
    {
        "op": "complete",
        "ref": {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"},
        "argument": {"name": "resourceId", "value": "5"},
    },
    {"op": "level", "level": "error"},
    {"op": "ping"},
    {"op": "concurrent", "name": "echo", "count": 20, "args": {"message": "same"}, "unordered": True},
    call("echo", message=MEGABYTE),
    # The server does not stop when it is cancelled, and while the tool runs it does not end at the end of its
    # input either: the rest of the call is waited for.
    {"op": "cancel", "name": "trigger-long-running-operation", "args": {"duration": 0.6, "steps": 12}},
    call("echo", message="still here"),
    {"op": "sleep", "seconds": 0.8},
)

# Tasks of 2025-11-25, both ways: only the TypeScript SDK 1.x has them.
TASKS = (
    wait("message"),
    wait("tools/list_changed"),
    {"op": "list", "kind": "tools"},
    {"op": "task", "name": "simulate-research-query", "args": {"topic": "python", "ambiguous": True}},
    call("simulate-research-query", topic="without a task"),
    {"op": "raw", "method": "tasks/list", "params": {}},
    call("trigger-sampling-request-async", prompt="Say something"),
    call("trigger-elicitation-request-async"),
)

FILES = (
    call("list_allowed_directories"),
    *lists()[:1],
    call("write_file", path="{DIR}/root/ä.txt", content="one\n" + UNICODE + "\nthree\n"),
    call("read_text_file", path="{DIR}/root/ä.txt"),
    call("read_text_file", path="{DIR}/root/ä.txt", head=1),
    call("read_text_file", path="{DIR}/root/ä.txt", tail=1),
    call("edit_file", path="{DIR}/root/ä.txt", edits=[{"oldText": "three", "newText": "four"}], dryRun=False),
    call("create_directory", path="{DIR}/root/sub/deep"),
    call("write_file", path="{DIR}/root/sub/large", content=MEGABYTE),
    call("read_media_file", path="{DIR}/root/pixel.png"),
    call("read_multiple_files", paths=["{DIR}/root/ä.txt", "{DIR}/root/missing"]),
    call("read_text_file", path="{DIR}/root/sub/large"),
    call("move_file", source="{DIR}/root/sub/large", destination="{DIR}/root/sub/moved"),
    call("list_directory", path="{DIR}/root"),
    call("list_directory_with_sizes", path="{DIR}/root", sortBy="name"),
    call("directory_tree", path="{DIR}/root"),
    call("search_files", path="{DIR}/root", pattern="**/*.txt"),
    call("get_file_info", path="{DIR}/root/ä.txt"),
    call("read_text_file", path="/etc/hostname"),
    call("read_text_file", path="{DIR}/root/../../elsewhere"),
    call("read_text_file"),
    {"op": "roots", "roots": [{"uri": "file://{DIR}/root/sub", "name": "sub"}]},
    {"op": "ping"},
    {"op": "sleep", "seconds": 0.2},
    call("list_allowed_directories"),
    call("read_text_file", path="{DIR}/root/ä.txt"),
    {
        "op": "concurrent",
        "name": "list_directory",
        "count": 20,
        "args": {"path": "{DIR}/root/sub"},
        "unordered": True,
    },
)

# The task store of the server keeps a timer for every task, for minutes, and Node does not end before them.
BY_TS1: dict[str, Any] = {"clients": ("ts1",), "modes": LEGACY, "options": {"tasks": True}, "exits": False}
SCENARIOS: dict[str, dict[str, Scenario]] = {
    "python": {
        "features": Scenario(PYTHON),
        "load": Scenario(LOAD, modes=("legacy", "modern")),
        "numbers": Scenario(
            (*NUMBERS_BOTH_WAYS, call("numbers")), clients=("python", "ts2"), modes=("legacy", "modern")
        ),
    },
    "ts2": {"features": Scenario(TS2), "load": Scenario(LOAD, modes=("legacy", "modern"))},
    "everything": {
        "features": Scenario(EVERYTHING, modes=("legacy", "auto")),
        "tasks": Scenario(TASKS, **BY_TS1),
    },
    "filesystem": {"features": Scenario(FILES, modes=("legacy", "auto"))},
}
MODES = {"python": ("legacy", "modern", "auto"), "ts1": ("legacy",), "ts2": ("legacy", "modern", "auto")}
DUAL_ERA = ("python", "ts2", "turning")


def matrix() -> list[tuple[str, str, str, str]]:
    """Give every (client, mode, server, scenario) there is."""
    return [
        (client, mode, server, name)
        for server, scenarios in SCENARIOS.items()
        for name, scenario in scenarios.items()
        for client in scenario.clients
        for mode in MODES[client]
        if mode in scenario.modes
    ]


def era(mode: str, server: str) -> str:
    """Give the era the two will agree on."""
    return "modern" if mode != "legacy" and server in DUAL_ERA else "legacy"
