"""The digest of a tree: what it covers, what changes it, and what is refused instead."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.system.tree import tree_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package tree with one of each kind."""
    root = tmp_path / "tree"
    for name, text in {
        "index.js": "run()",
        "lib/a.js": "a",
        "lib/b.js": "b",
        "lib.js": "c",
        "bin/go": "#!",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "bin/go").chmod(0o755)
    (root / "empty").mkdir()
    (root / "bin/link").symlink_to("../lib/a.js")
    return root


def refused(root: Path, why: str) -> None:
    with pytest.raises(TrustError, match=why) as caught:
        tree_digest(root)
    assert "\n" not in caught.value.message
    assert caught.value.hint == "install it again: mcpguard server pin"


def by_hand(root: Path) -> str:
    """The definition, as a shell would do it: another walk, another sort, another hash."""

    def out(*command: str) -> bytes:
        return subprocess.run(command, cwd=root, capture_output=True, check=True).stdout

    lines: list[tuple[bytes, bytes]] = []
    for path in out("find", ".", "-mindepth", "1", "-print0").split(b"\0")[:-1]:
        full = os.path.join(os.fsencode(root), path)
        if os.path.islink(full):
            said = b"l " + hashlib.sha256(os.readlink(full)).hexdigest().encode()
        elif os.path.isdir(full):
            said = b"d -"
        else:
            kind = b"x" if os.stat(full).st_mode & 0o100 else b"f"
            said = kind + b" " + out("sha256sum", os.fsdecode(path)).split(b" ")[0]
        lines.append((path[2:], said))
    text = b"mcpguard-tree-v1\0" + b"".join(said + b" " + path + b"\0" for path, said in sorted(lines))
    return hashlib.sha256(text).hexdigest()


def test_is_what_its_definition_says(tree: Path) -> None:
    found = tree_digest(tree)
    assert found.sha256 == by_hand(tree)
    assert (found.files, found.bytes) == (9, 10)


def test_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    found = tree_digest(tmp_path / "none")
    assert (found.sha256, found.files) == (hashlib.sha256(b"mcpguard-tree-v1\0").hexdigest(), 0)


def test_files_larger_than_one_read(tree: Path) -> None:
    for size in ((1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000):
        (tree / "big").write_bytes(os.urandom(size))
        assert tree_digest(tree).sha256 == by_hand(tree)


def test_the_same_content_elsewhere_is_the_same(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "index.js").chmod(0o600)
    os.utime(tmp_path / "copy" / "lib", (1, 1))
    (tmp_path / "name").symlink_to("copy")
    assert tree_digest(tmp_path / "copy") == tree_digest(tree) == tree_digest(tmp_path / "name")


def swap(root: Path) -> None:
    (root / "bin/link").unlink()
    (root / "bin/link").symlink_to("../lib/b.js")


def link_for_file(root: Path) -> None:
    (root / "lib/b.js").unlink()
    (root / "lib/b.js").symlink_to("a.js")


def file_for_link(root: Path) -> None:
    (root / "bin/link").unlink()
    (root / "bin/link").write_text("../lib/a.js")


def same_times(root: Path) -> None:
    facts = (root / "index.js").stat()
    (root / "index.js").write_text("ran()")
    os.utime(root / "index.js", ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a changed file": lambda root: (root / "index.js").write_text("ran()"),
    "a changed file with its old times": same_times,
    "an added file": lambda root: (root / "lib/c.js").write_text(""),
    "a hidden file": lambda root: (root / ".npmrc").write_text("x"),
    "a removed file": lambda root: (root / "lib/b.js").unlink(),
    "an added directory": lambda root: (root / "node_modules").mkdir(),
    "a removed empty directory": lambda root: (root / "empty").rmdir(),
    "a file that became executable": lambda root: (root / "index.js").chmod(0o755),
    "a file that is executable no longer": lambda root: (root / "bin/go").chmod(0o644),
    "a swapped link": swap,
    "a link in place of a file": link_for_file,
    "a file in place of a link": file_for_link,
    "a renamed file": lambda root: (root / "lib.js").rename(root / "lib2.js"),
    "a file moved down": lambda root: (root / "lib.js").rename(root / "lib/s"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_shows(tree: Path, what: str) -> None:
    before = tree_digest(tree).sha256
    CHANGES[what](tree)
    assert tree_digest(tree).sha256 != before


SEEN: dict[str, dict[str, bytes]] = {}


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["a", "b", "a.b", "a-b", "é"]), st.binary(max_size=3), max_size=4))
def test_equal_only_if_the_same(content: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for key, data in content.items():
            (Path(name) / key).write_bytes(data)
        digest = tree_digest(Path(name)).sha256
    assert SEEN.setdefault(digest, content) == content


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../..", "../../x", "../lib/../../x", "../link/..", "x/..", "../../tree/index.js"],
)
def test_link_that_leaves_the_tree(tree: Path, target: str) -> None:
    (tree / "bin/out").symlink_to(target)
    refused(tree, r"'bin/out' is a link that leaves the tree")


def test_link_through_a_link_cannot_leave_the_tree(tree: Path) -> None:
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/up").symlink_to("../..")  # the root itself: allowed
    tree_digest(tree)
    (tree / "deep/er/out").symlink_to("up/../x")  # `deep/er/x` as text, beside the tree in truth
    refused(tree, r"'deep/er/out' is a link that leaves the tree")


@pytest.mark.parametrize("target", ["nowhere", "..", ".", "../lib", "go", "./go"])
def test_link_inside_the_tree(tree: Path, target: str) -> None:
    (tree / "bin/in").symlink_to(target)
    assert tree_digest(tree).sha256 == by_hand(tree)


def pipe(place: Path) -> None:
    os.mkfifo(place)


def bound(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place))


@pytest.mark.parametrize("make", [pipe, bound])
def test_what_is_neither_file_nor_directory(tree: Path, make: Callable[[Path], None]) -> None:
    make(tree / "lib/odd")
    refused(tree, r"'lib/odd' is a device, a socket or a pipe")


@pytest.mark.root
def test_device(tree: Path) -> None:
    try:
        os.mknod(tree / "null", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    refused(tree, r"'null' is a device, a socket or a pipe")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Read.js", "read.js"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("\u212a", "k")],
)
def test_names_that_some_file_systems_take_for_the_same(tree: Path, one: str, other: str) -> None:
    (tree / "lib" / one).write_text("")
    tree_digest(tree)
    (tree / "lib" / other).write_text("")
    refused(tree, "are the same name to some file systems")


def test_the_same_name_in_two_directories_is_no_collision(tree: Path) -> None:
    (tree / "lib/INDEX.JS").write_text("")
    assert tree_digest(tree).sha256 == by_hand(tree)


@pytest.mark.parametrize("name", [b"a\nb", b"a\x1b[2Jb", b"\x7f", "\u0085".encode()])
def test_control_characters_in_names(tree: Path, name: bytes) -> None:
    with open(os.fsencode(tree / "lib") + b"/" + name, "wb"):
        pass
    refused(tree, "has a control character in its name")


def test_name_that_is_no_text(tree: Path) -> None:
    with open(os.fsencode(tree / "lib") + b"/\xff", "wb"):
        pass
    refused(tree, r"'lib/\\udcff' has a name that is not UTF-8")


@pytest.mark.parametrize("bits", [0o664, 0o646, 0o666])
def test_file_that_others_may_write_to(tree: Path, bits: int) -> None:
    (tree / "index.js").chmod(bits)
    refused(tree, r"'index.js' may be written to by others")


@pytest.mark.parametrize("place", ["", "lib"])
def test_directory_that_others_may_write_to(tree: Path, place: str) -> None:
    (tree / place).chmod(0o777)
    refused(tree, "may be written to by others")


@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o1644])
def test_special_bits(tree: Path, bits: int) -> None:
    (tree / "bin/go").chmod(bits)
    if not (tree / "bin/go").stat().st_mode & 0o7000:
        pytest.skip("this bit is not kept for this user")
    refused(tree, r"'bin/go' is set-uid, set-gid or sticky")


@pytest.mark.root
@pytest.mark.parametrize("place", ["lib/a.js", "lib", "bin/link", ""])
def test_what_belongs_to_another_user(tree: Path, place: str) -> None:
    os.chown(tree / place, 65533, 65533, follow_symlinks=False)
    refused(tree, r"belongs to another user \(uid 65533\)")


@pytest.mark.root
def test_file_system_mounted_inside(tree: Path) -> None:
    (tree / "lib/inner").mkdir()
    code = (
        "import sys; from pathlib import Path; from mcpguard.errors import TrustError\n"
        "from mcpguard.system.tree import tree_digest\n"
        "try: tree_digest(Path(sys.argv[1]))\n"
        "except TrustError as error: print(error.message)\n"
    )
    mount = 'mount -t tmpfs -o mode=0755 none "$1/lib/inner" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(tree), sys.executable, code],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"mounts cannot be made here: {done.stderr.strip()}")
    assert "'lib/inner' is on another file system" in done.stdout


def test_absent_tree_and_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(tmp_path / "none", "cannot be read: no such file or directory")
    refused(tmp_path / "file", "cannot be read: not a directory")


def test_deeper_than_allowed(tmp_path: Path) -> None:
    place = tmp_path / "tree"
    for _ in range(limits.TREE_DEPTH + 2):
        place = place / "d"
    place.mkdir(parents=True)
    refused(tmp_path / "tree", f"is deeper than {limits.TREE_DEPTH} directories")


def test_more_files_than_allowed(tree: Path) -> None:
    (tree / "many").mkdir()
    base = tree / "many" / "0"
    base.write_text("")
    for number in range(1, limits.TREE_FILES):
        os.symlink("0", tree / "many" / str(number))
    refused(tree, f"more than {limits.TREE_FILES} files")


def test_more_bytes_than_allowed(tree: Path) -> None:
    with open(tree / "hole", "wb") as file:
        file.truncate(limits.TREE_BYTES + 1)
    refused(tree, f"more than {limits.TREE_BYTES} bytes")


def test_file_that_grows_while_it_is_read(tree: Path) -> None:
    """Whenever the writer strikes, the digest is of one of the contents that were there, or there is none."""
    path, stop = tree / "log", threading.Event()
    path.write_bytes(bytes(8 << 20))

    def write() -> None:
        with open(path, "ab") as file:
            while not stop.is_set():
                file.write(b"x")
                file.flush()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            refused(tree, r"'log' changed while it was read")
    finally:
        stop.set()
        thread.join()


def test_no_descriptor_is_left_open(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tree_digest(tree)
    os.mkfifo(tree / "lib/odd")
    refused(tree, "pipe")
    assert len(os.listdir("/proc/self/fd")) == before
