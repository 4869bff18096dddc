"""The page's frame: nothing loads, nothing runs, no text becomes markup."""

import base64
import hashlib
import html.parser
import re

import pytest

from rstar_jax.report.page.frame import Section, frame
from rstar_jax.report.page.markup import LONGEST, Markup, element, render, seen

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "'><svg/onload=alert(1)>",
    "</style></title><iframe src=javascript:alert(1)>",
    "<!-- <![CDATA[ ]]> -->",
    "&lt;b&gt; &amp; &#60;",
    "\u202eright to left\u2066\u200f\x00\x1b[31m\ud800",
]


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and all text, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text):
    page = Reader(render([element("p", text), element("td", "x", {"title": text})]))
    assert page.tags == [("p", {}), ("td", {"title": seen(text)})]
    assert page.text == seen(text) + "x"


def test_what_cannot_be_seen_is_shown_by_its_code():
    assert seen("a\u202eb\x00\ud800\n") == "a\\u{202e}b\\u{0}\\u{d800}\n"
    assert seen("é 數 \U0001f600") == "é 數 \U0001f600"


def test_a_line_of_a_megabyte_is_cut():
    shown = render("x" * 2**20)
    assert len(shown) < LONGEST + 100 and shown.endswith("(1,048,576 characters in all)")


@pytest.mark.parametrize("name", ["onclick", "ONLOAD", "style", "a b", "x=1", ""])
def test_no_attribute_runs_or_styles(name):
    with pytest.raises(ValueError, match="attribute"):
        element("p", "", {name: "x"})


def test_the_policy_allows_what_stands_there():
    page = frame("T", [Section("a", "A", "x")], ["let a = 1;"], [".x { color: red }"])
    policy = Reader(page).tags[3][1]["content"]
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        source = re.search(f"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert "script-src" not in frame("T", [])


def test_sections_are_linked():
    page = Reader(frame("T", [Section("a", "A", "x"), Section("b", "B & C", Markup("<p>y</p>"))]))
    linked = [attrs["href"][1:] for tag, attrs in page.tags if tag == "a"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert linked == ["content", "a", "b"] and set(linked) <= set(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("ids", [("a", "a"), ("A",), ("a b",), ("",)])
def test_names_of_sections_are_names(ids):
    with pytest.raises(ValueError, match="sections"):
        frame("T", [Section(one, "t", "") for one in ids])


@pytest.mark.parametrize("source", ["'</script>'", "/* <!-- */", "a</STYLE>"])
def test_a_source_does_not_end_its_element(source):
    with pytest.raises(ValueError, match="would end it"):
        frame("T", [], [source])
