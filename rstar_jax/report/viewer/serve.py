"""The trees of a folder on loopback: a page of ours and three questions that it asks.

    GET /                                      the page, with /walk.js and /walk.css
    GET /problems?text=&outcome=&...&offset=   problems, a page of them, and what there is to ask for
    GET /tree?set=0&round=2&tree=0&problem=ID  one tree, read from its row of its file
    GET /lessons?...                           what curate took from it

Whoever may talk to this machine's loopback may read; pages of other sites may not: a request that names
another host is refused (a name of theirs may lead here), what is sent may be read by this page alone, and
this page may ask nobody else. No request names a file.
"""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.report.viewer import page_files
from rstar_jax.report.viewer.lessons import Lessons, marked
from rstar_jax.report.viewer.problems import Problems, Wanted, suspect_ids
from rstar_jax.report.viewer.tree_block import as_json, tree_block
from rstar_jax.report.viewer.tree_index import SETS, TreeIndex, tree_table

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Trees</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="stylesheet" href="walk.css"><link rel="icon" href="data:,"></head>
<body class="walk-page"><main><h1>Search trees</h1><div class="walk" data-api=""><p>The trees are drawn by a
script; this browser runs none.</p></div></main><script type="module" src="walk.js"></script></body></html>
"""
_FRESH_S = 2.0  # seconds after which a folder is looked at again, when asked
_MOST = 500  # problems in one answer
_FIRST_S = 0.15  # seconds of reading before the first answer, where there is no cache


class Trees:
    """A folder's trees, its index read in a thread of its own. Answers are JSON of what is read so far.

    scanning --all files are in--> idle --asked, and _FRESH_S have gone--> scanning
    """

    def __init__(self, workdir: Path):
        self._workdir, self._lessons = workdir, Lessons(workdir)
        self._index = TreeIndex(workdir)
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._problems: tuple[int, Problems] | None = None
        self._looked = 0.0
        self._changed = threading.Condition()

    def problems(self, asked: dict[str, str]) -> dict[str, Any]:
        """Answer /problems. Raises ValueError for what is no number."""
        self._look()
        problems, index = self._known(), self._index
        numbers = {name: int(asked.get(name) or -1) for name in ("level", "round", "set")}
        cause = index.cause_bit(asked.get("cause", ""))
        wanted = Wanted(asked.get("text", ""), asked.get("outcome", ""), cause, **numbers)
        found = problems.found(wanted)
        if asked.get("cause") and not cause:
            found = found[:0]
        offset = max(int(asked.get("offset") or 0), 0)
        limit = min(max(int(asked.get("limit") or 100), 1), _MOST)
        return {
            "total": len(found),
            "offset": offset,
            "problems": problems.rows(found[offset : offset + limit]),
            "facets": problems.facets(index.causes) | {"unreadable": index.unreadable},
            "left": len(index.left),
            "version": index.version,
        }

    def tree(self, asked: dict[str, str]) -> dict[str, Any]:
        """Answer /tree. Raises LookupError where there is no such tree, UserError as `tree_table`."""
        try:
            return self._tree(asked)
        except UserError:  # joined meanwhile, most often
            with self._reading:
                self._index.read_all()
            return self._tree(asked)

    def _tree(self, asked: dict[str, str]) -> dict[str, Any]:
        row = self._known().tree(*(int(asked[name]) for name in ("set", "round", "tree")), asked["problem"])
        if row is None:
            raise LookupError("no such tree")
        block = tree_block(tree_table(self._workdir, row[0], [row[1]]))
        return block | {"set": SETS[int(asked["set"])]}

    def lessons(self, asked: dict[str, str]) -> dict[str, Any]:
        """Answer /lessons. Raises as `tree`."""
        if int(asked["set"]) != 0:
            return {"taught": [], "pairs": []}
        return marked(self.tree(asked), self._lessons.of(int(asked["round"]), asked["problem"]))

    def _known(self) -> Problems:
        with self._lock:
            if self._problems is None or self._problems[0] != self._index.version:
                version = self._index.version
                self._problems = version, Problems(self._index.table(), suspect_ids(self._workdir))
            return self._problems[1]

    def _look(self) -> None:
        """Have the folder read where it was not looked at just now; wait a moment for what comes at once."""
        if time.monotonic() - self._looked > _FRESH_S and self._reading.acquire(blocking=False):
            self._looked = time.monotonic()
            threading.Thread(target=self._read, daemon=True).start()
        if self._index.version == 0 or self._index.left:
            with self._changed:
                self._changed.wait(_FIRST_S)

    def _read(self) -> None:
        try:
            self._index.scan()
            while self._index.left:
                self._index.next()
        finally:
            self._reading.release()
            with self._changed:
                self._changed.notify_all()


def server(workdir: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder's trees that listens on loopback; port 0: any that is free.

    Raises UserError where the port is taken.
    """
    trees = Trees(workdir)

    class Handler(_Handler):
        answers = {"/problems": trees.problems, "/tree": trees.tree, "/lessons": trees.lessons}

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(
            f"config.port: {port} given, which cannot be had ({error.strerror}). Leave it out for any that is free."
        ) from error


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Say nothing of a browser that has gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: dict[str, Callable[[dict[str, str]], dict[str, Any]]]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rstar_jax", ""
    timeout = 60

    def do_GET(self) -> None:
        if urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").netloc.rsplit(":", 1)[0] not in _HOSTS:
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"not the name of this machine's loopback\n")
        path, _, query = self.path.partition("?")
        pages = {"/": ("text/html", lambda: _PAGE), "/walk.js": ("text/javascript", page_files.script)}
        pages["/walk.css"] = ("text/css", page_files.style)
        if path in pages:
            kind, text = pages[path]
            return self._send(HTTPStatus.OK, kind, text().encode())
        if path not in self.answers:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"asked by another site\n")
        try:
            asked = {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}
            self._send(HTTPStatus.OK, "application/json", as_json(self.answers[path](asked)))
        except (LookupError, ValueError) as error:
            self._send(HTTPStatus.NOT_FOUND, "application/json", as_json({"error": f"no such tree ({error})"}))
        except (records.Damaged, UserError) as error:
            self._send(HTTPStatus.CONFLICT, "application/json", as_json({"error": str(error)}))

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if len(body) > 1 << 16 and "gzip" in self.headers.get("Accept-Encoding", "") and kind != "application/json":
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print no line for every request."""
