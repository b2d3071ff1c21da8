"""A registry of npm packages on the loopback, and wheels in a directory: small, real, and as bad as a test wants."""

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

LONG_AGO = "2020-01-01T00:00:00.000Z"


def tarball(files: dict[str, str], executable: tuple[str, ...] = ()) -> bytes:
    """What `npm pack` makes of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text.encode()), 0o755 if name in executable else 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


class Registry:
    """Packages by name and version. Served while `serve` is open."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.tarballs: dict[str, bytes] = {}
        self.url = ""

    def publish(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        files: dict[str, str] | None = None,
        published: str | None = LONG_AGO,
        integrity: str | None = "right",
        **package: Any,
    ) -> None:
        """Add a version. `integrity`: `right`, `wrong`, `sha1`, or None for a document without any digest."""
        said = {"name": name, "version": version, **package}
        data = tarball({"package.json": json.dumps(said), **(files or {})}, tuple(files or {}))
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.tarballs[path] = data
        digest = hashlib.sha512(data if integrity == "right" else b"other").digest()
        dist: dict[str, str] = {"tarball": self.url + path}
        if integrity in {"right", "wrong"}:
            dist["integrity"] = "sha512-" + base64.b64encode(digest).decode()
        if integrity == "sha1":
            dist["shasum"] = hashlib.sha1(data).hexdigest()
        document = self.documents.setdefault(
            name, {"name": name, "versions": {}, "dist-tags": {}, "time": {}}
        )
        document["versions"][version] = {**said, "dist": dist}
        document["dist-tags"]["latest"] = version
        if published:
            document["time"][version] = published

    def answer(self, path: str) -> bytes | None:
        if path in self.tarballs:
            return self.tarballs[path]
        document = self.documents.get(unquote(path).removeprefix("/"))
        return json.dumps(document).encode() if document else None


@contextmanager
def serve(registry: Registry) -> Iterator[Registry]:
    """Answer on the loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = registry.answer(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(found or b"{}")))
            self.end_headers()
            self.wfile.write(found or b"{}")

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def wheel(
    directory: Path, name: str, version: str, files: dict[str, str], *, scripts: str = "", requires: str = ""
) -> Path:
    """A wheel of pure Python."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
        f"{len(text.encode())}\n"
        for path, text in content.items()
    )
    content[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in content.items():
            archive.writestr(member, text)
    return path


def sdist(directory: Path, name: str, version: str, setup: str) -> Path:
    """A source distribution, whose `setup.py` runs when it is built."""
    path = directory / f"{name}-{version}.tar.gz"
    content = {"setup.py": setup, "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    with tarfile.open(path, "w:gz") as archive:
        for member, text in content.items():
            info = tarfile.TarInfo(f"{name}-{version}/{member}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path
