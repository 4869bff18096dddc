"""The server answers this machine's own page and nobody else, and no request names a file."""

import http.client
import json
import threading
import time
import urllib.parse

import pytest

from rstar_jax import parquet
from rstar_jax.errors import UserError
from rstar_jax.report.viewer.problems import Problems
from rstar_jax.report.viewer.serve import Trees, server
from rstar_jax.types import Tree
from tests.report.viewer import some_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return some_run.make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def port(run):
    with server(run, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read(), response.headers


def get(port, path, **values):
    status, body, _ = ask(port, f"{path}?{urllib.parse.urlencode(values)}")
    return status, json.loads(body)


def settled(port, **values):
    for _ in range(200):
        _, answer = get(port, "/problems", **values)
        if not answer["reading"]:
            return answer
        time.sleep(0.02)
    raise AssertionError(answer)


def test_problems_are_told_a_page_at_a_time(port):
    answer = settled(port, set=0)
    assert answer["total"] == 3 and answer["facets"]["trees"] == 7
    assert [one["id"] for one in get(port, "/problems", set=0, offset=1, limit=1)[1]["problems"]] == ["p/1"]
    assert get(port, "/problems", cause="exception NameError")[1]["total"] == 4
    assert get(port, "/problems", cause="nothing")[1]["total"] == 0


def test_problems_are_told_while_files_are_read(run, monkeypatch):
    """Another cause and an unreadable file are met between the question and its answer."""
    trees = Trees(run)
    trees._index.read_all()
    facets = Problems.facets

    def meanwhile(self, causes):
        trees._index.causes.append("exception Later")
        trees._index.unreadable["round9/search/trees-0.parquet"] = "cut off"
        return facets(self, causes)

    monkeypatch.setattr(Problems, "facets", meanwhile)
    answer = trees.answer("/problems", {})
    assert answer["total"] == 4 and answer["facets"]["unreadable"] == {}
    assert [name for name, _ in answer["facets"]["causes"]] == ["exception NameError"]
    trees.close()


def test_a_tree_and_what_was_learnt_from_it(port):
    settled(port)
    asked = {"set": 0, "round": 2, "tree": 0, "problem": some_run.PROBLEMS[1].id}
    status, tree = get(port, "/tree", **asked)
    assert status == 200 and tree["round"] == 2 and tree["set"] == "search"
    assert tree["text"] == [node.text for node in some_run.tree(some_run.PROBLEMS[1], 2, True).nodes]
    assert get(port, "/lessons", **asked)[1]["taught"] == [3]
    assert get(port, "/lessons", **asked | {"round": 1})[1]["taught"] == []


def test_a_single_tree_that_is_joined_meanwhile_is_found_in_its_shard(tmp_path):
    run = some_run.make(tmp_path)
    shard = run / "round1/search/trees-0-00000.parquet"
    trees = parquet.read_rows(shard, Tree)
    shard.unlink()
    single = run / "round1/search/trees-0-000001.tree"
    parquet.write_rows(single, Tree, trees[1:2])
    with server(run, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        port = serving.server_address[1]
        settled(port)
        parquet.write_rows(shard, Tree, trees)
        single.unlink()
        status, tree = get(port, "/tree", set=0, round=1, tree=0, problem="p/1")
        serving.shutdown()
        thread.join()
    assert status == 200 and tree["problem"]["id"] == "p/1"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil", ""]
)
def test_another_host_s_name_is_refused(port, host):
    for path in ("/", "/problems", "/walk.js"):
        status, body, _ = ask(port, path, Host=host)
        assert status == 403 and b"problems" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_loopback_are_taken_whatever_the_port(port, host):
    assert ask(port, "/", Host=host)[0] == 200  # ssh -L may lead another port here


def test_another_site_s_page_is_refused(port):
    for site in ("cross-site", "same-site"):
        assert ask(port, "/problems", **{"Sec-Fetch-Site": site})[0] == 403
    assert ask(port, "/problems", **{"Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_get_is_answered(port, method):
    assert ask(port, "/problems", method)[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e/config.json", "/config.json", "//etc/passwd", "/walk.js/../x", "/x\x7f"],
)
def test_no_path_leads_to_a_file(port, path):
    status, body, _ = ask(port, urllib.parse.quote(path, safe="/%.") if "\x7f" in path else path)
    assert status == 404 and body == b"no such page\n"


@pytest.mark.parametrize(
    "query",
    ["", "set=0&round=1&tree=0", "set=x&round=1&tree=0&problem=p/0", "set=0&round=1&tree=0&problem=../x"],
)
def test_a_question_that_is_none_is_answered_so(port, query):
    status, body, _ = ask(port, f"/tree?{query}")
    assert status == 404 and "error" in json.loads(body)


def test_every_answer_holds_the_page_to_itself(port):
    for path in ("/", "/walk.js", "/problems", "/nothing", "/favicon.ico"):
        headers = ask(port, path)[2]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';") and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(port, "/", "HEAD")[1] == b""


def test_a_port_that_is_taken_is_named(run, port):
    with pytest.raises(UserError, match=f"config.port: {port} given"):
        server(run, port)


def test_a_damaged_tree_is_told_of(tmp_path):
    run = some_run.make(tmp_path)
    with server(run, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        port = serving.server_address[1]
        settled(port)
        path = run / "round1/search/trees-0-00000.parquet"
        path.write_bytes(path.read_bytes()[:-50])
        status, answer = get(port, "/tree", set=0, round=1, tree=0, problem="p/0")
        serving.shutdown()
        thread.join()
    assert status in (404, 409) and "error" in answer
