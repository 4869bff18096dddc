"""report.html in a real Chromium: nothing is loaded or said on the console, and everybody can use it."""

from __future__ import annotations

import pytest

from rstar_jax import records
from rstar_jax.evolve.report_page import gather, write
from tests.report import a_run
from tests.report.test_frame import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = a_run.make(tmp_path_factory.mktemp("runs") / "run")
    for name, found in (("evaluation", a_run.EVALUATION), ("judge", a_run.JUDGEMENT)):
        records.write_json(root / f"{name}.json", found)
    return write(gather(root, lambda _: None))


class Opened:
    """A page in a context of its own, with what it said and asked for."""

    def __init__(self, browser, path, **options) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfinished", lambda request: self.loaded.append(request.url))
        self.page.goto(f"file://{path}")


# All rules take seconds; only of colours does the scheme decide anything.
@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", {"runOnly": ["color-contrast"]})])
def test_it_opens_alone_and_is_accessible(browser, page, scheme, rules):
    from axe_playwright_python.sync_playwright import Axe

    opened = Opened(browser, page, color_scheme=scheme, bypass_csp=True)  # axe is a script of the test's
    assert opened.said == [] and opened.asked == [f"file://{page}"]
    if not rules:  # of the tables behind charts, which are all alike, the first
        opened.page.evaluate(
            "[document.querySelector('figure details'),"
            " ...document.querySelectorAll('details:not(figure details)')].forEach(one => one.open = true)"
        )
    found = Axe().run(opened.page, options=rules).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    opened.context.close()


def test_the_policy_lets_its_own_style_work_and_no_script(browser, page):
    opened = Opened(browser, page)
    assert opened.page.evaluate("getComputedStyle(document.querySelector('figure')).borderRadius") == "10px"
    opened.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 2';"
        "document.body.append(s)"
    )
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("window.ran") is None
    assert opened.loaded == [f"file://{page}"]
    assert sum("Content Security Policy" in line for line in opened.said) >= 2
    opened.context.close()


def test_hostile_texts_are_shown_and_run_nothing(browser, tmp_path):
    text = " ".join([*HOSTILE, "a" * 2**20])
    root = a_run.make(tmp_path / "run", rounds=1, text=text)
    path = write(gather(root, lambda _: None))
    opened = Opened(browser, path)
    assert opened.said == [] and opened.asked == [f"file://{path}"]
    assert opened.page.evaluate("window.ran") is None
    assert opened.page.locator("td", has_text="</script><script>alert(1)</script>").count() > 0
    opened.context.close()


def test_the_keyboard_reaches_every_section(browser, page):
    opened = Opened(browser, page)
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    links = opened.page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    reached = []
    for _ in links:
        opened.page.keyboard.press("Tab")
        reached.append(opened.page.evaluate("document.activeElement.getAttribute('href')"))
    assert reached == links
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("location.hash") == links[-1]
    opened.context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_sideways(browser, page, width):
    opened = Opened(browser, page, viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.context.close()


def test_print_is_black_on_white_in_any_scheme(browser, page):
    opened = Opened(browser, page, color_scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    seen = opened.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert seen == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert not opened.page.locator("nav").is_visible()
    opened.context.close()
