#!/usr/bin/env python3
"""Check an audit log of mcpguard without mcpguard: one file, the standard library, and `cryptography` if it is there.

    python3 verify_audit.py DIRECTORY [--key FILE] [--anchor FILE] [--vkey TEXT] [--json]

Written from the description of the format, not from the program, so that one can be held against the other:

- audit-NNNNNN.jsonl: one record a line. `seq` rises by one from 1; `prev` is the SHA-256 (hex) of the line before, LF
  included, 64 zeros for the first. Version 2 ends with `,"mac":"<hex>"}`: HMAC-SHA256(K_seq, the line without that
  member, LF included); K_{n+1} = SHA-256("mcpguard-evolve" || K_n). No record of version 1 follows one of version 2.
- checkpoints/*.note: C2SP signed notes: origin, size, root of the RFC 6962 tree over all lines, Ed25519 signature.
- checkpoints/head: two slots of 4096 bytes, `sha256hex SP json` padded with blanks and a LF; the newest whole one says
  which record was on stable storage: seq, segment, offset, hash, frontier of the tree. A log that ends before was cut.
- checkpoints/tombstone.note: a checkpoint for deleted segments, with lines `tombstone FILE`, `hash HEX`,
  `frontier B64...`, `time T`; the chain goes on behind it.

Exit code: 0 good, 1 tampered with, 2 torn last line only (a crash), 3 good but not all of it anchored.
"""

import argparse
import base64
import hashlib
import hmac
import json
import pathlib
import re
import sys

LONGEST = 64 * 1024
SLOT = 4096


class Bad(Exception):
    def __init__(self, problem, seq=0, file="", line=0):
        super().__init__(problem)
        self.problem, self.seq, self.file, self.line = problem, seq, file, line


def sha(data):
    return hashlib.sha256(data).digest()


class Merkle:
    """RFC 6962, 2.1, kept as the roots of complete subtrees with their sizes."""

    def __init__(self, size=0, roots=()):
        self.size = size
        sizes = [1 << bit for bit in reversed(range(size.bit_length())) if size >> bit & 1]
        if len(sizes) != len(roots):
            raise Bad("the frontier does not fit the size of the tree")
        self.parts = list(zip(sizes, roots, strict=True))

    def add(self, line):
        width, node = 1, sha(b"\x00" + line)
        while self.parts and self.parts[-1][0] == width:
            node = sha(b"\x01" + self.parts.pop()[1] + node)
            width *= 2
        self.parts.append((width, node))
        self.size += 1

    def root(self):
        if not self.parts:
            return sha(b"")
        node = self.parts[-1][1]
        for _, left in self.parts[-2::-1]:
            node = sha(b"\x01" + left + node)
        return node


# --- signed notes ----------------------------------------------------------------------------------------------


def read_vkey(text):
    name, ident, data = text.strip().split("+", 2)
    raw = base64.b64decode(data, validate=True)
    if len(raw) != 33 or raw[0] != 1 or sha(name.encode() + b"\n" + raw)[:4].hex() != ident:
        raise Bad("the public checkpoint key is damaged")
    return name, bytes.fromhex(ident), raw[1:]


def read_note(data, vkey, what):
    """(size, root, further lines) of a note of this log; the signature is checked if `cryptography` is there."""
    try:
        text, _, rest = data.decode().rpartition("\n\n")
        text += "\n"
        origin, size, root, *further = text[:-1].split("\n")
        size, root = int(size), base64.b64decode(root, validate=True)
    except ValueError as error:
        raise Bad(f"{what} is not a checkpoint") from error
    if origin != vkey[0]:
        raise Bad(f"{what} is of another log")
    for line in rest.splitlines():
        match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
        if match and match[1] == vkey[0]:
            blob = base64.b64decode(match[2])
            if blob[:4] == vkey[1] and signed(vkey[2], blob[4:], text.encode()):
                return size, root, further
    raise Bad(f"{what} has no valid signature")


def signed(public, signature, text):
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return True  # said at the end
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def can_check_signatures():
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def notes_in(data):
    text = data.decode()
    packed = re.findall(r"\bnote=([A-Za-z0-9+/=]+)", text)
    if packed:
        return [base64.b64decode(each) for each in packed]
    return [match[0].encode() for match in re.finditer("(?:[^\n]+\n){3,}\n(?:\u2014 [^\n]+\n)+", text)]


# --- beside the log --------------------------------------------------------------------------------------------


def slots(data):
    for start in (0, SLOT):
        slot = data[start : start + SLOT]
        if len(slot) == SLOT:
            digest, _, value = slot.rstrip().partition(b" ")
            if digest.decode("latin-1") == hashlib.sha256(value).hexdigest():
                yield json.loads(value)


class Beside:
    def __init__(self, directory):
        inside = directory / "checkpoints"
        self.vkey = self.head = self.tombstone = None
        self.sealing = 0
        self.notes = {}
        if not inside.exists():
            return
        try:
            self.vkey_text = (inside / "log.vkey").read_text().strip()
            self.vkey = read_vkey(self.vkey_text)
            self.head = max(slots((inside / "head").read_bytes()), key=lambda head: head["seq"], default=None)
        except (OSError, ValueError) as error:
            raise Bad(f"beside the log: {error}") from error
        if self.head is None:
            raise Bad("the head is damaged")
        key = directory / "seal.key"
        if key.exists():
            self.sealing = max((each["seq"] for each in slots(key.read_bytes())), default=0)
        for path in sorted(inside.glob("audit-*.note")):
            self.notes[path.name] = read_note(path.read_bytes(), self.vkey, path.name)
        newest = {}
        for path in sorted(inside.glob("newest-*.note")):
            try:
                newest[path.name] = read_note(path.read_bytes(), self.vkey, path.name)
            except Bad:
                continue  # one of the two may be cut by a crash
        if not newest:
            raise Bad("neither of the newest checkpoints can be read")
        self.notes |= newest
        if (inside / "tombstone.note").exists():
            self.tombstone = self.dead(read_note((inside / "tombstone.note").read_bytes(), self.vkey, "the tombstone"))

    @staticmethod
    def dead(note):
        size, root, further = note
        said = dict(line.partition(" ")[::2] for line in further)
        roots = [base64.b64decode(each) for each in said["frontier"].split()]
        tree = Merkle(size, roots)
        if tree.root() != root:
            raise Bad("the frontier of the tombstone is not that of its root")
        return said["tombstone"], said["hash"], tree


# --- the records -----------------------------------------------------------------------------------------------


class Log:
    def __init__(self, key, wanted, tombstone):
        self.seq, self.prev, self.tree = 0, "0" * 64, Merkle()
        if tombstone:
            _, self.prev, self.tree = tombstone
            self.seq = self.tree.size
        self.first, self.key = key or (0, None)
        if self.key:
            for _ in range(self.first, self.seq + 1):
                self.key = sha(b"mcpguard-evolve" + self.key)
        self.sealed = self.seals = self.records = 0
        self.torn = None
        self.wanted = wanted
        self.seen = {}
        self.vkeys = {}
        self.remember("", 0)

    def remember(self, file, end):
        if self.seq in self.wanted:
            self.seen[self.seq] = (self.tree.root(), self.prev, file, end)

    def segment(self, path):
        if self.torn:
            raise Bad("a line without line feed, and the log goes on after it", self.seq + 1, *self.torn)
        end = 0
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                if self.torn:
                    raise Bad("a line without line feed, and the log goes on", self.seq + 1, *self.torn)
                try:
                    self.line(line, path.name, number)
                except Bad as bad:
                    raise Bad(bad.problem, bad.seq or self.seq + 1, path.name, number) from bad
                end += len(line)
                if not self.torn:
                    self.remember(path.name, end)

    def starts(self):
        return [
            f'{{"v":{version},"seq":{self.seq + 1},"prev":"{self.prev}","t":"'.encode()
            for version in ((2,) if self.sealed else (1, 2))
        ]

    def line(self, line, file, number):
        if len(line) > LONGEST:
            raise Bad("longer than a record may be")
        if not line.endswith(b"\n"):
            begun = line.rstrip(b"\0")
            if not any(start[: len(begun)] == begun[: len(start)] for start in self.starts()):
                raise Bad("the last line is not the beginning of the next record")
            self.torn = (file, number)
            return
        try:
            record = json.loads(line, object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            raise Bad("not JSON") from error
        shape(line, record)
        if (record["seq"], record["prev"]) != (self.seq + 1, self.prev):
            which = "seq" if record["seq"] != self.seq + 1 else "prev"
            raise Bad(f"wrong {which}: {record[which]}", record["seq"])
        if record["v"] == 1 and (self.sealed or (self.key and self.seq + 1 >= self.first)):
            raise Bad("not sealed, and the records before it are")
        if record["v"] == 2:
            self.sealed += 1
            if self.key and self.seq + 1 >= self.first:
                if hmac.new(self.key, line[:-75] + b"}\n", "sha256").hexdigest() != record["mac"]:
                    raise Bad("wrong mac")
                self.seals += 1
                self.key = sha(b"mcpguard-evolve" + self.key)
        if record["type"] == "log" and record.get("event") == "rotated":
            said = (record.get("last"), record.get("hash"), record.get("root", self.tree.root().hex()))
            if said != (self.seq, self.prev, self.tree.root().hex()):
                raise Bad("it names another end of the segment before it")
        if record["type"] == "log" and record.get("event") == "opened" and "checkpoint_key" in record:
            self.vkeys.setdefault(record["checkpoint_key"], self.seq + 1)
        self.seq, self.prev = self.seq + 1, sha(line).hex()
        self.records += 1
        self.tree.add(line)


def unique(pairs):
    return dict(pairs)


SHAPE = re.compile(
    rb'\{"v":[12],"seq":[1-9][0-9]*,"prev":"[0-9a-f]{64}",'
    rb'"t":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","boot":"[0-9a-f]{32}",'
)


def shape(line, record):
    """The envelope as it is written, and nothing twice in it."""
    if not SHAPE.match(line) or not isinstance(record.get("type"), str):
        raise Bad("not a record")
    if record["v"] == 2 and not re.search(rb',"mac":"[0-9a-f]{64}"\}\n\Z', line):
        raise Bad("not a record: it has no seal")
    names = []
    json.loads(line, object_pairs_hook=lambda pairs: names.append([name for name, _ in pairs]))
    outer = names[-1]
    if any(outer.count(name) > 1 for name in ("v", "seq", "prev", "t", "boot", "mac")):
        raise Bad("not a record: a member of the envelope stands twice")
    if record["v"] == 1 and "mac" in record:
        raise Bad("not a record: version 1 has no seal")


def check(directory, key, anchors, pinned):
    beside = Beside(directory)
    kept = [read_note(note, beside.vkey, "an anchor") for note in anchors or [] if ours(note, beside)]
    if anchors is not None and not kept:
        raise Bad("the anchor has no checkpoint of this log")
    notes = {**beside.notes, **{f"anchor {number}": note for number, note in enumerate(kept, 1)}}
    wanted = {size for size, _, _ in notes.values()}
    if beside.head:
        wanted.add(beside.head["seq"])
    log = Log(key, wanted, beside.tombstone)
    skipped = beside.tombstone[0] if beside.tombstone else ""
    paths = sorted(directory.glob("audit-*.jsonl"), key=lambda path: (len(path.name), path.name))
    if not paths and not beside.head:
        raise Bad("there is no log")
    try:
        for path in paths:
            if (len(path.name), path.name) > (len(skipped), skipped):
                log.segment(path)
        compare(log, beside, notes, pinned)
    except Bad as bad:
        return "tampered", log, bad, 0
    behind = log.seq - max(size for size, _, _ in kept) if kept else 0
    return ("torn" if log.torn else "ok"), log, None, behind


def ours(note, beside):
    return beside.vkey is not None and note.startswith(beside.vkey[0].encode() + b"\n")


def compare(log, beside, notes, pinned):
    if beside.head is None:
        if log.sealed:
            raise Bad("head and checkpoints are missing", log.seq + 1)
        return
    head = beside.head
    if head["seq"] > log.seq or beside.sealing > log.seq + 1:
        raise Bad(f"cut: record {head['seq']} was on stable storage", log.seq + 1)
    _, digest, file, end = log.seen[head["seq"]]
    place = (f"audit-{head['segment']:06d}.jsonl", head["offset"])
    if digest != head["hash"] or (head["offset"] and file and (file, end) != place):
        raise Bad("the head names another record", head["seq"])
    for name, (size, root, _) in sorted(notes.items(), key=lambda item: item[1][0]):
        if size > log.seq:
            raise Bad(f"cut: {name} is of {size} records", log.seq + 1)
        if size in log.seen and log.seen[size][0] != root:
            raise Bad(f"other records were there when {name} was signed", size)
    for text, seq in log.vkeys.items():
        if text != beside.vkey_text:
            raise Bad("a record names another checkpoint key", seq)
    if pinned and pinned != beside.vkey_text:
        raise Bad("the checkpoint key is not the one given")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, help="what mcpguard audit key has printed")
    parser.add_argument("--anchor", type=pathlib.Path, help="checkpoints kept elsewhere")
    parser.add_argument("--vkey", help="the public checkpoint key, if it is known")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    key, pinned = None, args.vkey
    if args.key:
        text = args.key.read_text()
        match = re.search(r"mcpguard-audit-key:1:(\d+):([0-9a-f]{64})", text)
        if not match:
            parser.error("no key is in that file")
        key = (int(match[1]), bytes.fromhex(match[2]))
        public = re.search(r"mcpguard-audit/\S+", text)
        pinned = pinned or (public[0] if public else None)
    anchors = notes_in(args.anchor.read_bytes()) if args.anchor else None
    log, bad, behind = None, None, 0
    try:
        state, log, bad, behind = check(args.directory, key, anchors, pinned)
    except Bad as found:
        state, bad = "tampered", found
    if args.json:
        found = {"state": state, "records": log.records if log else 0, "seq": log.seq if log else 0}
        found |= {"head": log.prev if log else "", "seals": log.seals if log else 0, "unanchored": behind}
        found |= {"bad_seq": bad.seq, "file": bad.file, "line": bad.line, "problem": bad.problem} if bad else {}
        print(json.dumps(found))
    else:
        print(state, f"at record {bad.seq} {bad.file}:{bad.line}: {bad.problem}" if bad else "")
        print(f"{log.records if log else 0} records, {log.seals if log else 0} seals checked, {behind} not anchored")
        if not can_check_signatures():
            print("not checked: signatures of checkpoints; that takes the package cryptography")
    sys.exit({"ok": 3 if behind else 0, "tampered": 1, "torn": 2}[state])


if __name__ == "__main__":
    main()
