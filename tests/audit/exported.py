"""Lines of every type of record, with hostile text wherever others have a say, and readers of the formats."""

import re
import struct

from mcpguard.audit import record
from mcpguard.audit.chain import Chain
from mcpguard.model import Side, Verdict

HOSTILE = 'a\r\nb\u2028c\u2029d\x85e|f=g\\h"i]j\x1b[31mk\u202el\x00m event=1 CEF:0|x|y\n<13>1 - - - - - -'
STAMP = b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"a" * 32)


def bodies(odd: str = HOSTILE) -> list[bytes]:
    host = {
        "uid": 1000,
        "pid": 5,
        "exe": f"/usr/bin/{odd}",
        "grade": "G2",
        "sha256": "ab" * 32,
        "host": "claude",
        "name": odd,
    }
    start = record.prefix("1-abc", host, odd)
    nobody = record.prefix("2-abc", {"uid": 1000, "pid": 0}, "files")
    return [
        record.call(start, 7, record.call_tail(Side.HOST, "tools/call", odd, Verdict.DENY, odd), b"d" * 32, 10),
        record.call(nobody, 8, record.call_tail(Side.HOST, "tools/call", "x", Verdict.DENY, "r", binding=False), None, 0),
        record.call(nobody, 9, record.call_tail(Side.HOST, "resources/read", f"file:///{odd}", Verdict.ALLOW, "r"), None, 0),
        record.call(nobody, 0, record.call_tail(Side.SERVER, odd, None, Verdict.ASK, "r"), None, 0),
        *(
            record.outcome(start, 7, record.outcome_tail(Side.HOST, "tools/call", odd), status, 1500, 20)
            for status in (record.OK, record.TOOL_ERROR, record.ERROR, record.REFUSED, record.LOST)
        ),
        record.drop(start, Side.SERVER, odd, 10),
        record.finding(start, odd, odd, odd, "p", "s"),
        *(record.approval(event, "t1", start, reason=odd) for event in ("asked", "granted", "denied", "expired", "void", "left")),
        record.approval("presence-set", "", way=odd),
        record.flow(start, ["untrusted", odd], odd),
        record.session(start, "begin", command=["npx", odd], policy="x"),
        record.session(start, "ready", pid=5, admission_us=4),
        record.session(start, "refused", reason=odd),
        record.session(start, "end", code=137, reason=odd, allowed=1),
        record.session(start, "unheard-of"),
        record.policy("a", "b", source=odd),
        record.policy("a", "", odd, "folder-forgotten"),
        record.trust("start", trust=1),
        record.trust("manifest", name=odd, version="1", manifest="sha256:aa", publisher=odd),
        record.trust("manifest-removed", name="files"),
        record.host("enrolled", odd, host={"a": odd}),
        record.host("forgotten", "claude"),
        record.log("opened", pid=4),
        record.log("rotated"),
        record.log("gap", lost=4),
        b'"type":"finding","kind":"drift","severity":"critical","atlas":["AML.T0053"],"owasp":["MCP03"],"step":"look","server":"x"',
        record.detected("new-tool", odd, odd, {"severity": "low", "atlas": ["AML.T0053"], "owasp": ["MCP03"], "step": odd}),
        *(record.credential(event, "k3w9x2m7q4", kind="apikey", called=odd, by=odd) for event in ("created", "rotated", "revoked")),
        record.quarantine("imposed", ["deny server:files"], by=odd),
        record.certificate("issue", name=odd, certificate="ab", names=[odd], by="uid 1 (pid 2)"),
        record.certificate("refused", reason=odd, server="files"),
        b'"type":"something-new","odd":{"a":[1,null]}',
    ]  # fmt: skip


def lines(odd: str = HOSTILE) -> list[bytes]:
    """A log of them, and two lines that are no records."""
    chain = Chain()
    data = chain.seal(bodies(odd), STAMP)
    return [
        *(line + b"\n" for line in data.split(b"\n")[:-1]),
        b"\x1b[31mno record | = \xff\n",
        b'{"v":9,"seq":1}\n',
    ]


def ends(text: str) -> int:
    """How many lines somebody could see in it."""
    return len(re.split("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text))


def read_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header and extension, as a receiver reads them."""
    header = re.match(r"((?:[^\\|]|\\.)*\|){7}", line)
    assert header
    fields = [re.sub(r"\\(.)", r"\1", part) for part in re.findall(r"((?:[^\\|]|\\.)*)\|", header[0])]
    pairs: dict[str, str] = {}
    for found in re.finditer(r"(\w+)=((?:[^=\\]|\\.)*?)(?= \w+=|\Z)", line[header.end() :]):
        assert found[1] not in pairs, f"{found[1]} twice"
        pairs[found[1]] = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), found[2])
    return fields, pairs


SYSLOG = re.compile(
    r"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) "
    r"((?:\[[^ =\]\"]+(?: [^ =\]\"]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*\])+|-) (.*)",
    re.DOTALL,
)  # fmt: skip


def read_syslog(data: bytes) -> tuple[list[str], dict[str, str], str]:
    """Header fields, our structured data and the message, by the grammar of RFC 5424 6."""
    found = SYSLOG.fullmatch(data.decode())
    assert found, data
    own = re.search(r"\[mcpguard@32473((?: \S+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\]", found[7])
    assert own
    params = re.findall(r" (\S+?)=\"((?:[^\"\\\]]|\\[\"\\\]])*)\"", own[1])
    return list(found.groups()[:6]), {k: re.sub(r"\\([\"\\\]])", r"\1", v) for k, v in params}, found[8]


def read_native(data: bytes) -> dict[str, bytes]:
    """Fields, as journald reads them."""
    fields: dict[str, bytes] = {}
    while data:
        name, mark, rest = data.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
            data = rest
        else:
            assert mark
            (size,) = struct.unpack("<Q", rest[:8])
            value, data = rest[8 : 8 + size], rest[8 + size :]
            assert data[:1] == b"\n"
            data = data[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name), name
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields
