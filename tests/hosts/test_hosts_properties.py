"""Any configuration comes back byte for byte; any bytes give a result or a ConfigError."""

import json
import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect
from tests.hosts.configs import every
from tests.hosts.steps import of, unwrapped, words, wrapped

TEXT = st.text(max_size=6) | st.sampled_from(
    ["-y", "// x", "/* , */", "a]", '"', "\\", "#", "- b", "a: b", "\u2028", "\x7f", "\x85", "😀"]
)
FULL = TEXT.filter(bool)
NAMES = st.text(max_size=4) | st.sampled_from(["a.b", "args", "command", "=", "é", "'", '"'])
ENTRY = st.fixed_dictionaries(
    {"command": FULL},
    optional={
        "args": st.lists(TEXT, max_size=3),
        "env": st.dictionaries(NAMES, TEXT, max_size=2),
        "timeout": st.integers(),
    },
)
SERVERS = st.dictionaries(NAMES, ENTRY, max_size=3)
COMMENTS = ["/**/", "/* , } */", '/* " */', "// x\n", "//\r\n", "// } ,\n", "/* \n */"]


def comes_back(text, dialect, servers):
    """The text says these servers, and has them again after all was done."""
    file = of(text, dialect, (("s",),))
    assert words(file) == {
        ("s", name): (entry["command"], *entry.get("args", [])) for name, entry in servers.items()
    }
    new, done = wrapped(file)
    assert len(done) == len(servers)
    assert unwrapped(new, done).data == file.data
    assert words(unwrapped(new)) == words(file)


# --- JSON with comments ---


@st.composite
def jsonc(draw, value):
    """One value with white space and comments anywhere, and commas before closing brackets."""
    gap = lambda: "".join(draw(st.lists(st.sampled_from([" ", "\n", "\t", "\r\n", *COMMENTS]), max_size=2)))  # noqa: E731

    def text(part):
        return json.dumps(part, ensure_ascii=draw(st.booleans()))

    def write(part):
        if isinstance(part, dict):
            inner = [f"{gap()}{text(name)}{gap()}:{gap()}{write(item)}{gap()}" for name, item in part.items()]
        elif isinstance(part, list):
            inner = [f"{gap()}{write(item)}{gap()}" for item in part]
        else:
            return text(part)
        body = ",".join(inner) + ("," + gap() if inner and draw(st.booleans()) else gap())
        return "{" + body + "}" if isinstance(part, dict) else "[" + body + "]"

    return draw(st.sampled_from(["", "\ufeff"])) + gap() + write(value) + gap()


@settings(max_examples=60)
@given(st.data(), SERVERS, st.dictionaries(NAMES, TEXT, max_size=2))
def test_json_with_comments(data, servers, other):
    comes_back(
        data.draw(jsonc({**{f"o{name}": item for name, item in other.items()}, "s": servers})),
        Dialect.JSONC,
        servers,
    )


# --- TOML ---


def basic(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def toml(draw, servers):
    """Servers in each way in which TOML writes tables."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    space = st.sampled_from(["", " ", "\t"])
    comment = st.sampled_from(["", " # c", "#, ]", ' # "'])

    def string(text):
        styles = [basic(text)]
        if text.isprintable() and "'" not in text:
            styles += [f"'{text}'", f"'''{text}'''"]
        return draw(st.sampled_from(styles))

    def key(name):
        return name if name and name.isascii() and name.isalnum() and draw(st.booleans()) else basic(name)

    def value(part, one_line):
        if isinstance(part, dict):
            pairs = [f"{key(name)} = {value(item, True)}" for name, item in part.items()]
            return "{" + draw(space) + ", ".join(pairs) + draw(space) + "}"
        if isinstance(part, list):
            gap = lambda: draw(space) if one_line else draw(space) + draw(comment) + end  # noqa: E731
            inner = ",".join(gap() + value(item, one_line) + gap() for item in part)
            return "[" + inner + ("," if part and draw(st.booleans()) else "") + gap() + "]"
        return str(part) if isinstance(part, int) else string(part)

    def pairs(prefix, entry, one_line):
        assigned = [
            (f"{prefix}{draw(space)}{key(name)}{draw(space)}={draw(space)}", item)
            for name, item in entry.items()
        ]
        return [before + value(item, one_line) for before, item in assigned]

    how = draw(st.sampled_from(["tables", "dotted", "inline", "inline-dotted", "in-table"]))
    lines = [f"o = 1{draw(comment)}", *(["x = '''", "[s.fake]", "'''"] if draw(st.booleans()) else [])]
    if how == "inline":
        lines.append(f"s = {value(servers, True)}")
    elif how == "inline-dotted":
        lines.append(
            "s = {"
            + ", ".join(
                pair for name, entry in servers.items() for pair in pairs(f"{key(name)}.", entry, True)
            )
            + "}"
        )
    elif how == "in-table":
        lines += [
            "[s]",
            *(f"{key(name)} = {value(entry, True)}{draw(comment)}" for name, entry in servers.items()),
        ]
    for name, entry in servers.items():
        if how == "dotted":
            lines += [pair + draw(comment) for pair in pairs(f"s.{key(name)}.", entry, False)]
        if how == "tables":
            lines += [
                f"[ s . {key(name)}{draw(space)}]{draw(comment)}",
                *(pair + draw(comment) for pair in pairs("", entry, False)),
            ]
    return draw(st.sampled_from(["", "\ufeff"])) + end.join(lines) + draw(st.sampled_from(["", end]))


@settings(max_examples=80)
@given(st.data(), SERVERS)
def test_toml(data, servers):
    text = data.draw(toml(servers))
    said = tomllib.loads(text.removeprefix("\ufeff")).get("s", {})
    assert said == servers, "the writer of this test is wrong"
    comes_back(text, Dialect.TOML, servers)


# --- YAML ---


@st.composite
def yaml(draw, servers):
    """Servers in blocks and in brackets."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    comment = st.sampled_from(["", "  # - c", " # ]: x"])
    plain = st.sampled_from([True, False])

    def string(text):
        if (
            text.isascii()
            and text.isalpha()
            and text.lower() not in ("n", "y", "no", "on", "yes", "off", "null", "true", "false")
            and draw(plain)
        ):
            return text
        if text.isprintable() and draw(plain):
            return "'" + text.replace("'", "''") + "'"
        return (
            '"'
            + "".join(
                char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
            )
            + '"'
        )

    def flow(part):
        if isinstance(part, dict):
            return "{" + ", ".join(f"{string(name)}: {flow(item)}" for name, item in part.items()) + "}"
        if isinstance(part, list):
            return "[" + ", ".join(flow(item) for item in part) + (", ]" if part and draw(plain) else "]")
        return str(part) if isinstance(part, int) else string(part)

    def lines(part, indent):
        """Lines of an object in a block."""
        for name, item in part.items():
            start = f"{indent}{string(name)}:"
            if not isinstance(item, dict | list) or not item or draw(st.booleans()):
                yield f"{start} {flow(item)}{draw(comment)}"
            elif isinstance(item, dict):
                yield start + draw(comment)
                yield from lines(item, indent + "  ")
            else:
                yield start + draw(comment)
                inner = indent + draw(st.sampled_from(["", " ", "    "]))
                for one in item:
                    if draw(st.booleans()):
                        yield draw(st.sampled_from(["", inner + "# - c", "# x"]))
                    yield f"{inner}-{draw(st.sampled_from([' ', '   ', ' # - c' + end + inner + '   ']))}{flow(one)}{draw(comment)}"

    body = [*(["---"] if draw(st.booleans()) else []), "# é - x", *lines({"o": "x", "s": servers}, "")]
    return draw(st.sampled_from(["", "\ufeff"])) + end.join(body) + draw(st.sampled_from(["", end]))


@settings(max_examples=60)
@given(st.data(), st.dictionaries(NAMES.filter(str.isprintable), ENTRY, max_size=3))
def test_yaml(data, servers):
    comes_back(data.draw(yaml(servers)), Dialect.YAML, servers)


# --- any bytes ---

SMALL = [config for config in every() if len(config.data) < 3000]
PIECES = st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"\\", b"#", b"//", b"/*", b"*/", b"\n", b"\r", b"- ", b"&a ", b"*a", b"<<: ", b"!!int ", b"= ", b".", b"[[", b"null", b"1e+9", b"\xef\xbb\xbf", b"\xff", b"\0", b'"""', b"|", b"%"])  # fmt: skip


def result_or_refusal(file):
    try:
        new, done = wrapped(file)
    except ConfigError as error:
        if not error.sentence().startswith("/home/u/config"):
            raise
        return
    assert unwrapped(new, done).data == file.data


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.lists(PIECES, max_size=25).map(b"".join), st.sampled_from(Dialect))
def test_any_bytes(data, dialect):
    result_or_refusal(of(data, dialect, ((), ("*",))))


@settings(max_examples=150)
@given(
    st.sampled_from(SMALL),
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), PIECES | st.binary(max_size=2)),
        min_size=1,
        max_size=3,
    ),
)
def test_configurations_with_accidents(config, changes):
    data = config.data
    for place, many, new in changes:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + many :]
    result_or_refusal(of(data, config.dialect, config.paths))
