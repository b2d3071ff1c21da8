"""Wrap, check, unwrap: what every test of configurations does."""

from mcpguard.hosts.wrapping import File, check, edited, from_words, is_wrapped, unwrap, wrap

PROGRAM = "/opt/mcp guard/é/mcpguard"


def of(text, dialect, paths=(("mcpServers",),)):
    return File(text if isinstance(text, bytes) else text.encode(), "/home/u/config", dialect, paths)


def again(file, data):
    return File(data, file.name, file.dialect, file.paths)


def open_entries(file):
    return [entry for entry in file.entries() if entry.starts and not is_wrapped(entry.argv)]


def wrapped(file):
    """The file with all its servers behind mcpguard, and what was done; checked."""
    edits, done = [], {}
    for entry in open_entries(file):
        some, what = wrap(file, entry, PROGRAM, "n-" + entry.name)
        edits += some
        done[entry.path] = what
    new = again(file, edited(file.data, edits))
    check(file, new, {path: what.after for path, what in done.items()})
    return new, done


def unwrapped(file, done=None):
    """The file with mcpguard taken out again, by the record or by the words alone; checked."""
    edits, wanted = [], {}
    for entry in file.entries():
        if is_wrapped(entry.argv):
            what = from_words(entry) if done is None else done[entry.path]
            edits += unwrap(file, entry, what)
            wanted[entry.path] = what.before
    new = again(file, edited(file.data, edits))
    check(file, new, wanted)
    return new


def words(file):
    return {entry.path: entry.argv for entry in file.entries()}
