"""More inputs of the corpus's classes, which must fare as the corpus's own do."""

from tests.wire.corpus import Case, Step

ARGUMENTS = b'{"path":"/data/a.txt"}'
PARAMS = b'{"name":"read_file","arguments":' + ARGUMENTS + b"}"
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":' + PARAMS + b"}"
OTHER = CALL.replace(b'"id":7', b'"id":8').replace(b"read_file", b"delete_all")
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"harmless text"}]}}'
LIST = b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}\n'
SCHEMA = b'{"type":"object","properties":{"path":{"type":"string"}}}'
TOOLS = b'{"jsonrpc":"2.0","id":3,"result":{"tools":[%b]}}'
TOOL = b'{"name":"read_file","description":"Reads a file.","inputSchema":' + SCHEMA + b"}"

KILL, ERROR, DROP = ("reject", "kill"), ("reject", "error"), ("reject", "drop")
OURS = ("canonicalise", "")
SAME = ("pass", "")
NOTHING = ("nothing", "")


def _cases(group: str, direction: str, verdict: tuple[str, str], inputs: dict[str, bytes | tuple[bytes, ...]],
           setup: bytes = b"", server: str = "wire", era: str = "any") -> list[Case]:  # fmt: skip
    """Cases of one verdict; an input is the line without its LF, then what must be gone."""
    steps = (Step("c2s", setup),) if setup else ()
    return [
        Case(
            id=f"{group}: {name}", group=group, direction=direction, data=(data if type(data) is bytes else data[0]) + b"\n",
            expected=verdict[0], action=verdict[1], setup=steps, server=server, era=era,
            gone=() if type(data) is bytes else data[1:],
        )
        for name, data in inputs.items()
    ]  # fmt: skip


def _path(spelling: bytes) -> bytes:
    return CALL.replace(b'"/data/a.txt"', spelling)


def _argument(text: bytes) -> bytes:
    return CALL.replace(ARGUMENTS, b'{"path":"/data/a.txt","n":' + text + b"}")


def _member(text: bytes) -> bytes:
    """One more member of `arguments`."""
    return CALL.replace(ARGUMENTS, ARGUMENTS[:-1] + b"," + text + b"}")


def _param(text: bytes) -> bytes:
    """One more member of `params`."""
    return CALL.replace(b"}}}", b"}," + text + b"}}")


def _top(text: bytes) -> bytes:
    """One more member of the message."""
    return CALL[:-1] + b"," + text + b"}"


def _ident(text: bytes) -> bytes:
    return CALL.replace(b'"id":7', b'"id":' + text)


def _method(text: bytes) -> bytes:
    return CALL.replace(b'"tools/call"', text)


def _name(text: bytes) -> bytes:
    return CALL.replace(b'"read_file"', text)


def _meta(text: bytes) -> bytes:
    return CALL.replace(b"}}}", b'},"_meta":{' + text + b"}}}")


def _answer(ident: bytes) -> bytes:
    return ANSWER.replace(b'"id":7', b'"id":' + ident)


def _content(text: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"result":{"content":[' + text + b"]}}"


def _described(text: bytes) -> bytes:
    return TOOLS % TOOL.replace(b"Reads a file.", text)


CALLED = CALL + b"\n"
TOKENED = _meta(b'"progressToken":5') + b"\n"

FRAMING = [
    *_cases("framing", "c2s", KILL, {
        "space between": CALL + b" " + OTHER,
        "comma between": CALL + b"," + OTHER,
        "tab between": CALL + b"\t" + OTHER,
        "VT between": CALL + b"\x0b" + OTHER,
        "FF between": CALL + b"\x0c" + OTHER,
        "FS between": CALL + b"\x1c" + OTHER,
        "NEL between": CALL + b"\xc2\x85" + OTHER,
        "U+2028 between": CALL + b"\xe2\x80\xa8" + OTHER,
        "U+2029 between": CALL + b"\xe2\x80\xa9" + OTHER,
        "two CR between": CALL + b"\r\r" + OTHER,
        "NUL before": b"\0" + CALL,
        "NUL inside": CALL.replace(b",", b",\0", 1),
        "RS after": CALL + b"\x1e",
        "EOT after": CALL + b"\x04",
        "BOM": b"\xef\xbb\xbf" + CALL,
        "BOM after": CALL + b"\xef\xbb\xbf",
        "UTF-16LE": CALL.decode().encode("utf-16-le"),
        "UTF-16LE with BOM": CALL.decode().encode("utf-16"),
        "UTF-32BE": CALL.decode().encode("utf-32-be"),
        "UTF-7": b"+AHs-" + CALL[1:],
        "netstring": b"%d:%b," % (len(CALL), CALL),
        "length prefix": len(CALL).to_bytes(4, "big") + CALL,
        "event stream": b"data: " + CALL,
        "HTTP": b"POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\n\r\n" + CALL,
        "scalar": b"42",
        "string": b'"tools/call"',
        "null": b"null",
        "U+3000 only": b"\xe3\x80\x80",
        "NBSP only": b"\xc2\xa0",
        "in parentheses": b"(" + CALL + b")",
        "anti-hijack prefix": b")]}'," + CALL,
    }),
    *_cases("framing", "c2s", OURS, {
        "CR before": (b"\r" + CALL, b"\r"),
        "two CR after": (CALL + b"\r\r", b"\r"),
        "CR between members": (CALL.replace(b",", b"\r,\r"), b"\r"),
        "tabs": (CALL.replace(b":", b"\t:\t"), b"\t"),
        "U+2029 in a key": (_member(b'"a\xe2\x80\xa9b":1'), b"\xe2\x80\xa9"),
        "NEL in a key": (_member(b'"a\xc2\x85b":1'), b"\xc2\x85"),
        "all three in a string": (_path(b'"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85"'), b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85"),
        "U+2028 in a string id": (_path(b'"x"').replace(b"x", b"x\xe2\x80\xa8"), b"\xe2\x80\xa8"),
    }),
    *_cases("framing", "c2s", NOTHING, {"CR LF": b"\r", "tab CR": b"\t\r", "VT": b"\x0b", "empty": b""}),
    *_cases("framing", "s2c", DROP, {
        "space between answers": ANSWER + b" " + ANSWER,
        "CR between answers": ANSWER + b"\r" + ANSWER,
        "BOM": b"\xef\xbb\xbf" + ANSWER,
        "UTF-16": ANSWER.decode().encode("utf-16-le").replace(b"\n", b""),
        "NUL after": ANSWER + b"\0",
        "event stream": b"data: " + ANSWER,
        "true": b"true",
        "a debugger's prompt": b"> " + ANSWER,
        "unfinished": ANSWER[:-1],
        "an array of numbers": b"[1,2,3]",
    }, CALLED),
    *_cases("framing", "s2c", OURS, {
        "CR LF": (ANSWER + b"\r", b"\r"),
        "NEL in a string": (ANSWER.replace(b"harmless text", b"a\xc2\x85b"), b"\xc2\x85"),
        "U+2028 in a key": (ANSWER.replace(b'"text":"', b'"a\xe2\x80\xa8b":1,"text":"'), b"\xe2\x80\xa8"),
        "spaces": (ANSWER.replace(b",", b" , "), b" ,"),
    }, CALLED),
]  # fmt: skip

UTF8 = [
    *_cases("utf8", "c2s", KILL, {
        "C1 81": _path(b'"\xc1\x81"'),
        "E0 80 AF": _path(b'"\xe0\x80\xaf"'),
        "F0 80 80 AF": _path(b'"\xf0\x80\x80\xaf"'),
        "above U+10FFFF": _path(b'"\xf4\x90\x80\x80"'),
        "FE": _path(b'"\xfe"'),
        "low surrogate": _path(b'"\xed\xbf\xbf"'),
        "truncated four bytes": _path(b'"\xf0\x9f\x98"'),
        "in a key": _member(b'"\xff":1'),
        "in an id": _ident(b'"\xff"'),
        "in a name": _name(b'"read_file\xc0\x80"'),
        "in an unknown member": _top(b'"trace":"\xff"'),
        "in _meta": _meta(b'"com.example/x":"\x80"'),
        "outside strings": CALL.replace(b",", b",\x80", 1),
        "Latin-1": _path(b'"caf\xe9"'),
        "at the end": CALL + b"\xe2\x82",
    }),
    *_cases("utf8", "c2s", ERROR, {
        "lone low surrogate": _path(b'"\\udc00"'),
        "high surrogate and a letter": _path(b'"\\ud800\\u0041"'),
        "two high surrogates": _path(b'"\\ud800\\ud800"'),
        "in a key": _member(b'"\\ud800":1'),
        "in an id": _ident(b'"\\ud800"'),
        "in the method": _method(b'"tools/call\\udfff"'),
        "in an unknown member": _top(b'"trace":"\\ud800"'),
        "in _meta": _meta(b'"com.example/x":"\\ud800"'),
        "deep": _argument(b'[[{"a":["\\udbff"]}]]'),
        "capitals": _path(b'"\\uD83D"'),
        "escaped backslash before": _path(b'"\\\\\\ud800"'),
    }),
    *_cases("utf8", "c2s", SAME, {
        "emoji": _path('"/data/😀"'.encode()),
        "highest": _path(b'"\xf4\x8f\xbf\xbf"'),
        "private use": _path(b'"\xee\x80\x80"'),
        "escaped backslash and u": _path(b'"\\\\ud800"'),
    }),
    *_cases("utf8", "s2c", DROP, {
        "FF in text": ANSWER.replace(b"harmless", b"\xff"),
        "overlong slash": ANSWER.replace(b"harmless", b"\xc0\xaf"),
        "in a key": ANSWER.replace(b'"text":"', b'"\xff":1,"text":"'),
        "in an unknown member": ANSWER[:-1] + b',"x":"\xed\xa0\x80"}',
    }, CALLED),
    *_cases("utf8", "s2c", ERROR, {
        "lone surrogate": ANSWER.replace(b"harmless", b"\\ud800"),
        "reversed pair": ANSWER.replace(b"harmless", b"\\ude00\\ud83d"),
    }, CALLED),
]  # fmt: skip

GRAMMAR = [
    *_cases("grammar", "c2s", KILL, {
        "line comment": CALL + b"//x",
        "block comment": CALL.replace(b",", b",/*x*/", 1),
        "hash comment": CALL + b"#x",
        "single quotes": CALL.replace(b'"', b"'"),
        "Infinity": _argument(b"Infinity"),
        "nan": _argument(b"nan"),
        "undefined": _argument(b"undefined"),
        "None": _argument(b"None"),
        "plus": _argument(b"+1"),
        "no digit before the dot": _argument(b".5"),
        "no exponent": _argument(b"1e"),
        "no exponent after its sign": _argument(b"1e+"),
        "leading zero": _argument(b"-01"),
        "minus only": _argument(b"-"),
        "separated digits": _argument(b"1_000"),
        "octal": _argument(b"0o7"),
        "full-width digit": _argument("７".encode()),
        "big integer suffix": _argument(b"1n"),
        "raw NUL": _path(b'"a\0b"'),
        "raw tab": _path(b'"a\tb"'),
        "raw CR": _path(b'"a\rb"'),
        "v escape": _path(b'"\\v"'),
        "0 escape": _path(b'"\\0"'),
        "U escape": _path(b'"\\U00000061"'),
        "line continuation": _path(b'"a\\\rb"'),
        "unterminated": CALL[:-3],
        "one brace too many": CALL + b"}",
        "two commas": CALL.replace(b",", b",,", 1),
        "colon in an array": _argument(b"[1:2]"),
        "no value": _argument(b""),
        "number as key": _member(b"1:2"),
        "backtick": _path(b"`/data`"),
        "nested trailing comma": _argument(b'[[{"a":1,}]]'),
        "typographic quotes": CALL.replace(b'"id"', "“id”".encode()),
        "NaN in an unknown member": _top(b'"x":NaN'),
    }),
    *_cases("grammar", "c2s", OURS, {
        "escaped solidus": (_path(b'"\\/data\\/a"'), b"\\"),
        "escaped letters in a key": (CALL.replace(b'"arguments"', b'"\\u0061rguments"'), b"\\"),
        "escaped id key": (CALL.replace(b'"id"', b'"\\u0069\\u0064"'), b"\\"),
        "escaped version": (CALL.replace(b'"2.0"', b'"2\\u002e0"'), b"\\"),
        "capital hex": (_path(b'"\\u002Fdata"'), b"\\"),
        "escaped quote as a code": (_path(b'"\\u0022"'), b"\\u0022"),
        "capital exponent": (_argument(b"1E2"), b"E"),
        "signed exponent": (_argument(b"1.5e+1"), b"e+"),
    }),
    *_cases("grammar", "c2s", SAME, {
        "quote and backslash": _path(b'"\\"\\\\"'),
        "b and f": _path(b'"\\b\\f"'),
        "empty containers": _argument(b'[[],{},"",null,true,false]'),
        "key of spaces": _member(b'" ":1'),
    }),
    *_cases("grammar", "s2c", DROP, {
        "NaN": ANSWER.replace(b'"harmless text"', b"NaN"),
        "trailing comma": ANSWER[:-1] + b",}",
        "raw control": ANSWER.replace(b"harmless", b"\x01"),
        "comment": ANSWER + b"//",
        "single quotes": ANSWER.replace(b'"', b"'"),
    }, CALLED),
]  # fmt: skip

KEYS = [
    *_cases("duplicate-keys", "c2s", ERROR, {
        "with spaces": _param(b'"name" : "delete_all"'),
        "in _meta": _meta(b'"com.example/x":1,"com.example/x":2'),
        "empty keys": _member(b'"":1,"":2'),
        "far apart": _argument(b'{"a":1,"b":[{"c":"a"}],"d":{},"a":2}'),
        "escaped id": _top(b'"\\u0069d":8'),
        "escaped on both": _member(b'"\\u0061":1,"\\u0061":2'),
        "in an unknown member": _top(b'"trace":{"a":1,"a":2}'),
        "three times": _member(b'"x":1,"x":1,"x":1'),
        "soft hyphen": _param(b'"na\xc2\xadme":"delete_all"'),
        "zero-width non-joiner": _param(b'"name\xe2\x80\x8c":"delete_all"'),
        "zero-width no-break space": _param(b'"\xef\xbb\xbfname":"delete_all"'),
        "word joiner": _param(b'"na\xe2\x81\xa0me":"delete_all"'),
        "line separator": _param(b'"name\\u2028":"delete_all"'),
        "variation selector": _param(b'"name\xef\xb8\x8f":"delete_all"'),
        "grapheme joiner": _param(b'"na\xcd\x8fme":"delete_all"'),
        "tag character": _param(b'"name\xf3\xa0\x81\xa1":"delete_all"'),
        "right-to-left mark": _param(b'"name\xe2\x80\x8f":"delete_all"'),
        "tab": _param(b'"name\\t":"delete_all"'),
        "NBSP": _param(b'"name\xc2\xa0":"delete_all"'),
        "capitals": _param(b'"ARGUMENTS":{"path":"/etc/shadow"}'),
        "mathematical letters": _param('"𝐧𝐚𝐦𝐞":"delete_all"'.encode()),
        "circled letters": _param('"ⓝⓐⓜⓔ":"delete_all"'.encode()),
        "long s": _top('"paramſ":{"name":"delete_all"}'.encode()),
        "capital id": _top(b'"ID":8'),
        "capital Jsonrpc": _top(b'"JsonRpc":"1.0"'),
        "capital arguments alone": CALL.replace(b'"arguments"', b'"Arguments"'),
        "capital params alone": CALL.replace(b'"params"', b'"Params"'),
        "capital params without params": b'{"jsonrpc":"2.0","id":7,"method":"tools/list","Params":{"cursor":"x"}}',
        "capital result in a call": _top(b'"Result":{}'),
        "ligature": _member('"file":1,"ﬁle":2'.encode()),
        "sharp s": _member('"strasse":1,"straße":2'.encode()),
        "Roman numeral": _member('"iv":1,"ⅳ":2'.encode()),
        "half-width kana": _member('"カ":1,"ｶ":2'.encode()),
        "NUL inside": _member(b'"pa\\u0000th":"/etc/shadow"'),
        "prototype": _member(b'"prototype":{}'),
        "prototype deep": _argument(b'[[{"__proto__":1}]]'),
        "prototype in _meta": _meta(b'"__proto__":{}'),
        "error in a call": _top(b'"error":{"code":1,"message":"x"}'),
    }),
    *_cases("duplicate-keys", "c2s", DROP, {
        "capital ID alone": CALL.replace(b'"id"', b'"ID"'),
        "capital ID on a notification": b'{"jsonrpc":"2.0","ID":7,"method":"notifications/initialized"}',
        "twice in a notification": b'{"jsonrpc":"2.0","method":"notifications/initialized","params":{"a":1,"a":2}}',
        "two ids": CALL.replace(b'"id":7', b'"id":7,"id":8'),
    }),
    *_cases("duplicate-keys", "c2s", OURS, {
        "two unknown members": (_top(b'"x":1,"y":{"method":"ping"}'), b'"x"', b"ping"),
    }),
    *_cases("duplicate-keys", "s2c", ERROR, {
        "result twice": ANSWER[:-1] + b',"result":{"content":[]}}',
        "folded result": ANSWER[:-1] + b',"Result":{"content":[]}}',
        "folded result of another kind": ANSWER[:-1] + b',"Error":{"code":1,"message":"x"}}',
        "content twice": ANSWER.replace(b'{"content"', b'{"content":[],"content"'),
        "folded content": ANSWER.replace(b'{"content"', b'{"Content":[],"content"'),
        "content with a joiner": ANSWER.replace(b'{"content"', b'{"con\xe2\x80\x8dtent":[],"content"'),
        "folded content alone": ANSWER.replace(b'{"content"', b'{"Content"'),
        "folded isError alone": ANSWER.replace(b'{"content"', b'{"iserror":true,"content"'),
        "prototype": ANSWER.replace(b'{"content"', b'{"__proto__":{},"content"'),
        "result and error": ANSWER[:-1] + b',"error":{"code":1,"message":"some longer message"}}',
        "folded method": ANSWER[:-1] + b',"Method":"ping"}',
    }, CALLED),
    *_cases("duplicate-keys", "s2c", DROP, {
        "two ids": ANSWER.replace(b'"id":7', b'"id":7,"id":7'),
        "capital ID": ANSWER.replace(b'"id"', b'"ID"'),
    }, CALLED),
    *_cases("duplicate-keys", "s2c", OURS, {"unknown member": (ANSWER[:-1] + b',"trace":1}', b"trace")}, CALLED),
]  # fmt: skip

IDS = [
    *_cases("ids-numbers", "c2s", ERROR, {
        "1e0": _ident(b"1e0"),
        "1.0": _ident(b"1.0"),
        "0.0": _ident(b"0.0"),
        "-0.0": _ident(b"-0.0"),
        "2^53": _ident(b"9007199254740992"),
        "-2^53": _ident(b"-9007199254740992"),
        "2^53 + 1": _ident(b"9007199254740993"),
        "-2^63 - 1": _ident(b"-9223372036854775809"),
        "1e400": _ident(b"-1e400"),
        "null": _ident(b"null"),
        "false": _ident(b"false"),
        "empty array": _ident(b"[]"),
        "empty object": _ident(b"{}"),
        "257 characters": _ident(b'"' + b"a" * 257 + b'"'),
        "tab": _ident(b'"\\t7"'),
        "escape": _ident(b'"\\u001b[2J"'),
        "zero-width space": _ident(b'"7\xe2\x80\x8b"'),
        "line separator": _ident(b'"7\\u2028"'),
        "soft hyphen": _ident(b'"7\xc2\xad"'),
        "2^64 in arguments": _argument(b"18446744073709551616"),
        "below -2^63 in arguments": _argument(b"-9223372036854775809"),
        "-1e309 in arguments": _argument(b"-1e309"),
        "1e400 deep": _argument(b'[{"a":[1e400]}]'),
        "1e400 in _meta": _meta(b'"com.example/x":1e400'),
        "1e400 in an unknown member": _top(b'"x":1e400'),
        "5,000 digits": _argument(b"9" * 5000),
        "5,000 digits before a fraction": _argument(b"9" * 5000 + b".5"),
        "params null": b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":null}',
        "params array": b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":[1]}',
        "params false": b'{"jsonrpc":"2.0","id":7,"method":"ping","params":false}',
        "version 2": CALL.replace(b'"2.0"', b'"2"'),
        "version with a space": CALL.replace(b'"2.0"', b'"2.0 "'),
        "version null": CALL.replace(b'"2.0"', b"null"),
        "version array": CALL.replace(b'"2.0"', b'["2.0"]'),
    }),
    *_cases("ids-numbers", "c2s", SAME, {
        "0": _ident(b"0"),
        "-2^53 + 1": _ident(b"-9007199254740991"),
        "empty": _ident(b'""'),
        "256 characters": _ident(b'"' + b"a" * 256 + b'"'),
        "letters of another script": _ident('"Ж"'.encode()),
        "looks like a float": _ident(b'"7.0"'),
        "looks like null": _ident(b'"null"'),
        "2^64 - 1 in arguments": _argument(b"18446744073709551615"),
        "-2^63 in arguments": _argument(b"-9223372036854775808"),
        "0.1": _argument(b"0.1"),
        "1.0": _argument(b"1.0"),
        "-0.0": _argument(b"-0.0"),
        "5e-324": _argument(b"5e-324"),
    }),
    *_cases("ids-numbers", "c2s", OURS, {
        "-0": (_ident(b"-0"), b'"id":-0'),
        "trailing zeros": (_argument(b"1.500"), b"1.50"),
        "underflow": (_argument(b"1e-400"), b"1e-400"),
        "20 digits and a fraction": (_argument(b"12345678901234567890.5"), b"890.5"),
    }),
    *_cases("ids-numbers", "s2c", ERROR, {
        "1e400": ANSWER.replace(b'"harmless text"', b"1e400"),
        "2^64": ANSWER.replace(b'"harmless text"', b"18446744073709551616"),
        "version 1.0": ANSWER.replace(b'"2.0"', b'"1.0"'),
        "no version": ANSWER.replace(b'"jsonrpc":"2.0",', b""),
        "result null": b'{"jsonrpc":"2.0","id":7,"result":null}',
        "result array": b'{"jsonrpc":"2.0","id":7,"result":[]}',
        "result string": b'{"jsonrpc":"2.0","id":7,"result":"some longer text"}',
        "error string": b'{"jsonrpc":"2.0","id":7,"error":"some longer text"}',
        "error code as string": b'{"jsonrpc":"2.0","id":7,"error":{"code":"-32000","message":"some longer text"}}',
        "error without message": b'{"jsonrpc":"2.0","id":7,"error":{"code":-32000}}',
    }, CALLED),
]  # fmt: skip

METHODS = [
    *_cases("method", "c2s", ERROR, {
        "leading space": _method(b'" tools/call"'),
        "capitals": _method(b'"TOOLS/CALL"'),
        "NUL": _method(b'"tools/call\\u0000"'),
        "two slashes": _method(b'"tools//call"'),
        "query": _method(b'"tools/call?x=1"'),
        "fragment": _method(b'"tools/call#"'),
        "leading slash": _method(b'"/tools/call"'),
        "full-width slash": _method('"tools／call"'.encode()),
        "Cyrillic": _method('"tооls/call"'.encode()),
        "soft hyphen": _method(b'"tools/ca\xc2\xadll"'),
        "newline": _method(b'"tools/call\\n"'),
        "empty": _method(b'""'),
        "very long": _method(b'"' + b"tools/" * 200 + b'"'),
        "array": _method(b'["tools/call"]'),
        "object": _method(b'{"name":"tools/call"}'),
        "true": _method(b"true"),
        "prototype": _method(b'"__proto__"'),
        "discovery of JSON-RPC": _method(b'"rpc.discover"'),
        "vendor": _method(b'"vendor/call"'),
        "a cancellation with an id": b'{"jsonrpc":"2.0","id":9,"method":"notifications/cancelled","params":{"requestId":7}}',
        "roots/list": b'{"jsonrpc":"2.0","id":9,"method":"roots/list"}',
        "elicitation/create": b'{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"message":"x"}}',
        "initialize again": b'{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{}}}',
        "resources/read of a denied uri": b'{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":"file:///etc/shadow"}}',
        "prompts/get": b'{"jsonrpc":"2.0","id":9,"method":"prompts/get","params":{"name":"p"}}',
        "tasks/get of nobody's task": b'{"jsonrpc":"2.0","id":9,"method":"tasks/get","params":{"taskId":"1"}}',
        "tasks/cancel of nobody's task": b'{"jsonrpc":"2.0","id":9,"method":"tasks/cancel","params":{"taskId":"1"}}',
    }),
    *_cases("method", "c2s", ERROR, {
        "server/discover": b'{"jsonrpc":"2.0","id":9,"method":"server/discover","params":{}}',
        "subscriptions/listen": b'{"jsonrpc":"2.0","id":9,"method":"subscriptions/listen","params":{"notifications":{}}}',
    }, era="legacy"),
    *_cases("method", "c2s", DROP, {
        "list without id": b'{"jsonrpc":"2.0","method":"tools/list"}',
        "subscribe without id": b'{"jsonrpc":"2.0","method":"resources/subscribe","params":{"uri":"file:///x"}}',
        "ping without id": b'{"jsonrpc":"2.0","method":"ping"}',
        "list_changed from the host": b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
        "message from the host": b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}',
        "progress of nothing": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
        "roots changed, not declared": b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
        "capitals": b'{"jsonrpc":"2.0","method":"Notifications/Initialized"}',
    }),
    *_cases("method", "s2c", DROP, {
        "unknown notification": b'{"jsonrpc":"2.0","method":"notifications/evil"}',
        "initialized from the server": b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        "call without id": CALL.replace(b'"id":7,', b""),
        "updated, not subscribed": b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///x"}}',
        "status of nobody's task": b'{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"1","status":"working"}}',
    }, CALLED),
    *_cases("method", "s2c", ERROR, {
        "tools/call": CALL.replace(b'"id":7', b'"id":70'),
        "initialize": b'{"jsonrpc":"2.0","id":70,"method":"initialize","params":{}}',
        "sampling, not declared": b'{"jsonrpc":"2.0","id":70,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}',
        "unknown": b'{"jsonrpc":"2.0","id":70,"method":"vendor/thing"}',
    }, CALLED, era="legacy"),
]  # fmt: skip

BATCHES = [
    *_cases("batch", "c2s", ERROR, {
        "empty": b"[]",
        "empty in a batch": b"[[]]",
        "null": b"[null]",
        "empty object": b"[{}]",
        "one": b"[" + CALL + b"]",
        "three deep": b"[[[" + CALL + b"]]]",
        "of notifications": b'[{"jsonrpc":"2.0","method":"notifications/initialized"}]',
        "with an answer": b"[" + CALL + b"," + ANSWER.replace(b'"id":7', b'"id":9') + b"]",
        "300 calls": b"[" + b",".join(CALL.replace(b'"id":7', b'"id":%d' % n) for n in range(100, 300)) + b"]",
        "with spaces": b" [ " + CALL + b" , " + OTHER + b" ] ",
    }),
    *_cases("batch", "s2c", ERROR, {
        "one answer": b"[" + ANSWER + b"]",
        "an answer and a number": b"[" + ANSWER + b",1]",
    }, CALLED),
    *_cases("batch", "s2c", DROP, {
        "empty": b"[]",
        "nested": b"[[" + ANSWER + b"]]",
        "of notifications": b'[{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}]',
    }, CALLED),
]  # fmt: skip

CORRELATION = [
    *_cases("correlation", "s2c", DROP, {
        "007": _answer(b'"007"'),
        "trailing space": _answer(b'"7 "'),
        "7e0": _answer(b"7e0"),
        "7.00": _answer(b"7.00"),
        "true": _answer(b"true"),
        "array": _answer(b"[7]"),
        "object": _answer(b'{"n":7}'),
        "full-width": _answer('"７"'.encode()),
        "huge": _answer(b"99999999999999999999"),
        "negative": _answer(b"-99"),
        "zero": _answer(b"0"),
        "an error for nobody": b'{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"x"}}',
        "an error without id": b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}',
        "cancelling the host's own request": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}',
    }, CALLED),
    *_cases("correlation", "s2c", DROP, {
        "token as float": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5.0,"progress":1}}',
        "token with a sign": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"+5","progress":1}}',
        "no token": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}',
        "no progress": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5}}',
        "progress as string": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":"1"}}',
        "progress true": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":true}}',
        "no params": b'{"jsonrpc":"2.0","method":"notifications/progress"}',
    }, TOKENED),
    *_cases("correlation", "c2s", DROP, {
        "cancel 7.0": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7.0}}',
        "cancel null": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":null}}',
        "cancel true": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":true}}',
        "cancel nothing": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}',
        "cancel without params": b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
        "cancel a list": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[7]}}',
        "cancel +7": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"+7"}}',
        "an answer to nothing": b'{"jsonrpc":"2.0","id":1,"result":{}}',
        "an error to nothing": b'{"jsonrpc":"2.0","id":"1","error":{"code":1,"message":"x"}}',
    }, CALLED),
    *_cases("correlation", "c2s", ERROR, {
        "token null": _meta(b'"progressToken":null'),
        "token float": _meta(b'"progressToken":5.0'),
        "token true": _meta(b'"progressToken":true'),
        "token array": _meta(b'"progressToken":[5]'),
        "token huge": _meta(b'"progressToken":9007199254740992'),
        "token folded": _meta(b'"ProgressToken":5'),
    }),
]  # fmt: skip

NAMES = [
    *_cases("tool-name", "c2s", ERROR, {
        "leading NBSP": _name(b'"\xc2\xa0read_file"'),
        "zero-width space": _name(b'"read_file\xe2\x80\x8b"'),
        "full-width": _name('"ｒead_file"'.encode()),
        "Cyrillic": _name('"rеad_file"'.encode()),
        "combining": _name('"reád_file"'.encode()),
        "CR": _name(b'"read_file\\r"'),
        "slash": _name(b'"read_file/"'),
        "dot": _name(b'"./read_file"'),
        "command": _name(b'"read_file;rm -rf"'),
        "hyphen": _name(b'"read-file"'),
        "prototype": _name(b'"__proto__"'),
        "method of objects": _name(b'"hasOwnProperty"'),
        "array": _name(b'["read_file"]'),
        "object": _name(b'{"name":"read_file"}'),
        "true": _name(b"true"),
        "129 characters": _name(b'"' + b"r" * 129 + b'"'),
        "variation selector": _name(b'"read_file\xef\xb8\x8f"'),
        "tag character": _name(b'"read_file\xf3\xa0\x81\xa1"'),
        "DEL": _name(b'"read_file\x7f"'),
        "denied by a rule": _name(b'"forbidden_tool"'),
        "needs an approval": _name(b'"sensitive_tool"'),
        "arguments array": CALL.replace(ARGUMENTS, b'["/data/a.txt"]'),
        "arguments number": CALL.replace(ARGUMENTS, b"1"),
        "arguments false": CALL.replace(ARGUMENTS, b"false"),
        "params empty": CALL.replace(PARAMS, b"{}"),
        "no params": b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}',
    }),
]  # fmt: skip

RESOURCES = [
    *_cases("resource", "c2s", ERROR, {
        "100 levels": _argument(b"[" * 100 + b"]" * 100),
        "100 levels of objects": _argument(b'{"a":' * 100 + b"1" + b"}" * 100),
        "mixed levels": _argument(b'[{"a":' * 50 + b"1" + b"}]" * 50),
        "4,097 members": _argument(b"{" + b",".join(b'"k%d":0' % n for n in range(4097)) + b"}"),
        "257 characters of key": _member(b'"' + b"k" * 257 + b'":1'),
        "levels in an unknown member": _top(b'"x":' + b"[" * 2000 + b"]" * 2000),
        "200,001 elements": _argument(b"[" + b"0," * 200_000 + b"0]"),
        "_meta of 9 KiB": _meta(b'"com.example/x":"' + b"A" * 9216 + b'"'),
        "uri of 9 KiB": b'{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":"file:///' + b"A" * 9216 + b'"}}',
    }),
    *_cases("resource", "c2s", SAME, {
        "60 levels": _argument(b"[" * 60 + b"]" * 60),
        "4,096 members": _argument(b"{" + b",".join(b'"k%d":0' % n for n in range(4096)) + b"}"),
        "256 characters of key": _member(b'"' + b"k" * 256 + b'":1'),
        "brackets in a string": _path(b'"' + b"[{" * 500 + b'"'),
        "1 MiB": _path(b'"' + b"A" * (1 << 20) + b'"'),
    }),
    *_cases("resource", "s2c", ERROR, {
        "100 levels": ANSWER.replace(b'"harmless text"', b"[" * 100 + b"]" * 100),
        "5,000 levels": ANSWER.replace(b'"harmless text"', b"[" * 5000 + b"]" * 5000),
        "4,097 members": ANSWER.replace(b'"harmless text"', b"{" + b",".join(b'"k%d":0' % n for n in range(4097)) + b"}"),
    }, CALLED),
    *_cases("resource", "s2c", SAME, {"1 MiB": ANSWER.replace(b"harmless", b"A" * (1 << 20))}, CALLED),
]  # fmt: skip

META = [
    *_cases("meta-cursor-mrtr", "c2s", ERROR, {
        "null": _param(b'"_meta":null'),
        "string": _param(b'"_meta":"x"'),
        "folded": _param(b'"_Meta":{}'),
        "zero-width space": _meta(b'"com.example/a\xe2\x80\x8b":1'),
        "newline": _meta(b'"com.example/a\\n":1'),
        "reserved by its second label": _meta(b'"com.mcp/x":1'),
        "reserved, other first label": _meta(b'"dev.modelcontextprotocol/x":1'),
        "reserved, capitals": _meta(b'"IO.ModelContextProtocol/evil":1'),
        "reserved, longer": _meta(b'"io.modelcontextprotocol.sub/x":1'),
        "traceparent with CR": _meta(b'"traceparent":"00-\\r\\n"'),
        "traceparent number": _meta(b'"traceparent":1'),
        "log level number": _meta(b'"io.modelcontextprotocol/logLevel":1'),
        "log level unknown": _meta(b'"io.modelcontextprotocol/logLevel":"loud"'),
        "cursor null": b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":null}}',
        "cursor object": b'{"jsonrpc":"2.0","id":3,"method":"prompts/list","params":{"cursor":{}}}',
        "cursor of nobody": b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"page-1"}}',
        "cursor empty": b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":""}}',
    }),
    *_cases("meta-cursor-mrtr", "c2s", SAME, {
        "a vendor's key": _meta(b'"com.example/x":{"a":[1]}'),
        "traceparent": _meta(b'"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"'),
    }),
]  # fmt: skip

WITHDRAWN = ("withdrawn", "")

CONTENT = [
    *_cases("content", "s2c", WITHDRAWN, {
        "zero-width space": _described(b"Reads\xe2\x80\x8b it, and more."),
        "right-to-left mark": _described(b"Reads\xe2\x80\x8f it, and more."),
        "soft hyphen": _described(b"Re\xc2\xadads it, and more."),
        "interlinear annotation": _described(b"Reads\xef\xbf\xb9 it, and more."),
        "C1": _described(b"Reads\xc2\x9b2J it, and more."),
        "DEL": _described(b"Reads\x7f\x7f it, and more."),
        "variation selector 1": _described(b"Reads\xef\xb8\x80 it, and more."),
        "variation selector 17": _described(b"Reads\xf3\xa0\x84\x80 it, and more."),
        "in a title": TOOLS % (TOOL[:-1] + b',"title":"Reads\xe2\x80\xae it, and more"}'),
        "in an enumeration": TOOLS % TOOL.replace(b'"string"', b'"string","enum":["a\xe2\x80\x8bbcdefghijklmn"]'),
        "in a key": TOOLS % TOOL.replace(b'"path"', b'"pa\xe2\x80\x8bth"'),
        "in annotations": TOOLS % (TOOL[:-1] + b',"annotations":{"title":"\\u001b[2Jsome longer title"}}'),
        "icon of HTML": TOOLS % (TOOL[:-1] + b',"icons":[{"src":"data:text/html,<script>"}]}'),
        "icon of a file": TOOLS % (TOOL[:-1] + b',"icons":[{"src":"file:///etc/shadow"}]}'),
        "icons not a list": TOOLS % (TOOL[:-1] + b',"icons":"javascript:alert(1)"}'),
        "name with a space behind": TOOLS % TOOL.replace(b"read_file", b"read_file "),
        "no name": TOOLS % TOOL.replace(b'"name":"read_file",', b""),
        "schema an array": TOOLS % TOOL.replace(SCHEMA, b"[]"),
        "100 references": TOOLS % TOOL.replace(b'"string"}', b'"string"},"x":[' + b",".join([b'{"$ref":"#"}'] * 100) + b"]"),
        "three of one name": TOOLS % b",".join([TOOL] * 3),
        "17 KiB of description": _described(b"Read it. " * 2000),
        "not an object": TOOLS % b'"read_file is the name"',
    }, LIST),
    *_cases("content", "s2c", ERROR, {
        "javascript with a tab": _content(b'{"type":"resource_link","uri":"java\\tscript:alert(1)","name":"x"}'),
        "javascript after a control": _content(b'{"type":"resource_link","uri":"\\u0001javascript:alert(1)","name":"x"}'),
        "javascript after spaces": _content(b'{"type":"resource_link","uri":"' + b" " * 500 + b'javascript:alert(1)","name":"x"}'),
        "javascript in capitals": _content(b'{"type":"resource_link","uri":" JavaScript:alert(1)","name":"x"}'),
        "vbscript": _content(b'{"type":"resource_link","uri":"vbscript:msgbox(1)","name":"x"}'),
        "data": _content(b'{"type":"resource_link","uri":"data:text/html,<script>","name":"x"}'),
        "link without uri": _content(b'{"type":"resource_link","name":"some longer name"}'),
        "code in an embedded resource": _content(b'{"type":"resource","resource":{"uri":"javascript:alert(1)","text":"x"}}'),
        "url-safe base64": _content(b'{"type":"image","data":"_-__","mimeType":"image/png"}'),
        "no padding": _content(b'{"type":"image","data":"QUI","mimeType":"image/png"}'),
        "base64 with a newline": _content(b'{"type":"audio","data":"QUJD\\nQUJD","mimeType":"audio/wav"}'),
        "blob a number": _content(b'{"type":"resource","resource":{"uri":"file:///x","blob":1}}'),
        "content of strings": _content(b'"some longer text"'),
    }, CALLED),
    *_cases("content", "s2c", ERROR, {
        "role in capitals": b'{"jsonrpc":"2.0","id":3,"result":{"messages":[{"role":"User","content":{"type":"text","text":"x"}}]}}',
        "no role": b'{"jsonrpc":"2.0","id":3,"result":{"messages":[{"content":{"type":"text","text":"x"}}]}}',
        "message a string": b'{"jsonrpc":"2.0","id":3,"result":{"messages":["some longer text"]}}',
        "image not base64": b'{"jsonrpc":"2.0","id":3,"result":{"messages":[{"role":"user","content":{"type":"image","data":"@@"}}]}}',
    }, b'{"jsonrpc":"2.0","id":3,"method":"prompts/get","params":{"name":"p"}}\n', server="wire-prompts"),
    *_cases("content", "s2c", SAME, {
        "newlines and tabs": ANSWER.replace(b"harmless", b"a\\nb\\tc"),
        "emoji": ANSWER.replace(b"harmless", "😀👨‍👩‍👧".encode()),
        "image": _content(b'{"type":"image","data":"QUJD","mimeType":"image/png"}'),
        "link to a file": _content(b'{"type":"resource_link","uri":"file:///data/a","name":"x"}'),
    }, CALLED),
]  # fmt: skip

OWN = [
    *FRAMING, *UTF8, *GRAMMAR, *KEYS, *IDS, *METHODS, *BATCHES, *CORRELATION, *NAMES, *RESOURCES, *META, *CONTENT,
]  # fmt: skip
