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

import contextlib
import functools
import http.server
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.report.viewer import page_files
from rstar_jax.report.viewer.lessons import Lessons, marked
from rstar_jax.report.viewer.problems import Problems, Wanted, suspect_ids
from rstar_jax.report.viewer.tree_block import as_json, tree_block
from rstar_jax.report.viewer.tree_index import SETS, TreeIndex, tree_table
from rstar_jax.report.viewer.vote import reward_of, vote_of

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
<html lang="en"><head><meta charset="utf-8"><title>Search trees</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="walk.css"></head>
<body class="walk-page"><main><h1>Search trees</h1><h2>A problem and its trees</h2>
<div class="walk"><p>The trees are drawn by a script; this browser runs none.</p></div></main>
<script type="module" src="walk.js"></script></body></html>
"""
_PAGES: dict[str, tuple[str, Callable[[], str]]] = {
    "/": ("text/html", lambda: _PAGE),
    "/walk.js": ("text/javascript", page_files.script),
    "/walk.css": ("text/css", page_files.style),
}
_FRESH_S = 2.0  # seconds after which a folder is looked at again, when asked
_MOST = 500  # problems in one answer
_FIRST_S = 1.0  # seconds that the first answer waits at most for a file that is read, where there is no cache


class Trees:
    """A folder's trees, its index read in a thread of its own. Answers are JSON of what is read so far.

    scanning --all files are in--> idle --asked, and _FRESH_S have gone--> scanning
    any --close--> closed, once nothing is read any more
    """

    def __init__(self, workdir: Path):
        self._workdir, self._lessons = workdir, Lessons(workdir)
        self._index = TreeIndex(workdir)
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._problems: tuple[int, Problems] | None = None
        self._looked = 0.0
        self._changed = threading.Condition()
        self._at_work, self._closed = 0, False

    def close(self) -> None:
        """Wait for what is being read: a thread in Arrow's code must not outlive the interpreter."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._at_work, timeout=30)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise LookupError("closed")
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def answer(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        """Answer a question: `/problems`, `/tree` or `/lessons`. Raises LookupError for another, and as they
        do."""
        with self._working():
            return _QUESTIONS[path](self, asked)

    def problems(self, asked: dict[str, str]) -> dict[str, Any]:
        """Answer /problems. Raises ValueError for what is no number."""
        self._look()
        problems, index = self._known(), self._index
        # Copies: the thread that reads goes on adding to both.
        causes, unreadable = index.causes.copy(), index.unreadable.copy()
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
            "facets": problems.facets(causes) | {"unreadable": unreadable},
            "left": len(index.left),
            "reading": self._reading.locked(),
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
        of_set, round, tree = (int(asked[name]) for name in ("set", "round", "tree"))
        row = self._known().tree(of_set, round, tree, asked["problem"])
        if row is None:
            raise LookupError("no such tree")
        block = tree_block(tree_table(self._workdir, row[0], [row[1]]))
        block |= {"set": SETS[of_set], "reward": reward_of(self._workdir)}
        vote = vote_of(self._workdir) if block["set"] == "held-out search" else None
        return block | vote.taken(block) if vote else block

    def lessons(self, asked: dict[str, str]) -> dict[str, Any]:
        """Answer /lessons. Raises as `tree`."""
        rows = self._lessons.of(int(asked["round"]), asked["problem"])
        if int(asked["set"]) != SETS.index("search") or not any(rows.values()):
            return {"taught": [], "pairs": []}
        return marked(self.tree(asked), rows)

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
        with self._changed:
            self._changed.wait_for(lambda: self._index.version or not self._reading.locked(), _FIRST_S)

    def _read(self) -> None:
        try:
            with contextlib.suppress(LookupError), self._working():
                self._index.scan()
                while self._index.left and not self._closed:
                    self._index.next()
                    with self._changed:
                        self._changed.notify_all()
        finally:
            self._reading.release()
            with self._changed:
                self._changed.notify_all()


_QUESTIONS: dict[str, Callable[[Trees, dict[str, str]], dict[str, Any]]] = {
    "/problems": Trees.problems,
    "/tree": Trees.tree,
    "/lessons": Trees.lessons,
}


def server(workdir: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder's trees that listens on loopback; port 0: any that is free.

    Raises UserError where the port is taken.
    """
    try:
        return _Server(Trees(workdir), port)
    except OSError as error:
        raise UserError(
            f"config.port: {port} given, which cannot be had ({error.strerror}). Leave it out for any that "
            "is free."
        ) from error


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, trees: Trees, port: int):
        self._trees = trees
        super().__init__(("127.0.0.1", port), functools.partial(_Handler, trees))

    def server_close(self) -> None:
        super().server_close()
        self._trees.close()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Say nothing of a browser that has gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rstar_jax", ""
    timeout = 60

    def __init__(self, trees: Trees, *connection: Any):
        self._trees = trees
        super().__init__(*connection)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        host = re.fullmatch(r"(.*?)(:\d+)?", self.headers.get("Host", ""))
        if host is None or host[1] not in _HOSTS:
            self._say(HTTPStatus.FORBIDDEN, "not a name of this machine's loopback")
        elif self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and path != "/":
            self._say(HTTPStatus.FORBIDDEN, "asked by another site")
        elif path in _PAGES:
            kind, text = _PAGES[path]
            self._send(HTTPStatus.OK, kind, text().encode())
        elif path in _QUESTIONS:
            self._answer(path, dict(urllib.parse.parse_qsl(query)))
        elif path == "/favicon.ico":  # browsers ask for it unasked
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._say(HTTPStatus.NOT_FOUND, "no such page")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no GET, or no HTTP."""
        self.close_connection = True
        unknown = code == HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus.METHOD_NOT_ALLOWED if unknown else HTTPStatus(code)
        self._say(status, message or status.phrase)

    def _answer(self, path: str, asked: dict[str, str]) -> None:
        try:
            status, found = HTTPStatus.OK, self._trees.answer(path, asked)
        except (LookupError, ValueError) as error:
            status, found = HTTPStatus.NOT_FOUND, {"error": f"no such tree ({error})"}
        except UserError as error:
            status, found = HTTPStatus.CONFLICT, {"error": str(error)}
        self._send(status, "application/json", as_json(found))

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain", f"{text}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print no line for every request."""
