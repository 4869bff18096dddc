"""The viewer in a real browser: what it shows, what it never runs, and that it asks nobody for anything."""

import contextlib
import threading
from importlib import resources

import pytest

from rstar_jax.report.page.frame import Section, frame
from rstar_jax.report.viewer import embedded
from rstar_jax.report.viewer.serve import server
from tests.report.viewer import some_run

pytestmark = pytest.mark.browser
OPTIONS = "[role=option]"
STEPS = "[role=treeitem]"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return some_run.make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(run):
    walk = embedded(run)
    path = run / "report.html"
    path.write_text(frame("Run", [Section("trees", "Trees", walk.body)], [walk.script], [walk.style]))
    return path.as_uri()


@pytest.fixture(scope="module")
def address(run):
    with server(run, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/"
        serving.shutdown()
        thread.join()


@contextlib.contextmanager
def opened(browser, url, **options):
    """A page that must say nothing on its console, run nothing of a model's and ask nobody but its server."""
    with browser.new_context(viewport={"width": 1440, "height": 900}, **options) as context:
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector(STEPS)
        all_told(page)
        yield page
        assert page.evaluate("window.harmed") is None
        assert said == []
        assert all(one.split("?")[0].rsplit("/", 1)[0] == url.rsplit("/", 1)[0] for one in asked)
        assert url.startswith("http") or asked == [url]


def all_told(page):
    from playwright.sync_api import expect as expected

    expected(page.locator(".walk-count")).not_to_contain_text("so far", timeout=20_000)


@pytest.fixture(params=["report", "address"])
def page(request, browser):
    with opened(browser, request.getfixturevalue(request.param)) as found:
        yield found


def texts(page, selector):
    return [one.strip() for one in page.locator(selector).all_inner_texts()]


def choose(page, label, option):
    page.get_by_label(label, exact=True).select_option(option)


def test_a_problem_is_found_and_its_tree_walked(page):
    assert page.locator(OPTIONS).count() == 4
    choose(page, "Outcome", "gained")
    expect(page.locator(OPTIONS), 1)
    page.locator(OPTIONS).first.click()
    assert page.locator("h3").inner_text() == some_run.PROBLEMS[1].question
    steps = page.locator(STEPS)
    expect(steps, 6)
    steps.nth(3).click()  # the one that failed is the second below the first step
    assert "NameError: name 's' is not defined" in page.locator(".walk-details").inner_text()
    assert "raised an exception" in page.locator(".walk-why").inner_text()
    steps.nth(2).click()
    assert "right" in page.locator(".walk-details h4").inner_text()
    assert page.locator(f"{STEPS}.walk-chosen").count() == 2


def expect(locator, count):
    from playwright.sync_api import expect as expected

    expected(locator).to_have_count(count)


def test_filters_are_those_of_the_index(page):
    for outcome, count in (("unsolved", 1), ("solved", 3), ("suspect", 1), ("lost", 0), ("", 4)):
        choose(page, "Outcome", outcome)
        expect(page.locator(OPTIONS), count)
    choose(page, "Round", "1")
    choose(page, "Outcome", "unsolved")
    expect(page.locator(OPTIONS), 2)
    choose(page, "Level", "3")
    expect(page.locator(OPTIONS), 1)
    choose(page, "Level", "")
    choose(page, "Outcome", "")
    choose(page, "A step failed by", "exception NameError")
    expect(page.locator(OPTIONS), 3)
    page.get_by_role("searchbox").fill("TWICE sum")
    expect(page.locator(OPTIONS), 1)


def test_drawing_and_outline_follow_each_other(page):
    stage = page.locator(".walk-stage").first
    stage.focus()
    selected = page.locator(f"{STEPS}[aria-selected=true]")
    for key, title in (
        ("ArrowRight", "Step 1: Add"),
        ("ArrowDown", "Step 1: Take away"),
        ("ArrowRight", "Answer -1"),
        ("ArrowLeft", "Step 1: Take away"),
        ("Home", "The question"),
    ):
        page.keyboard.press(key)
        assert selected.get_attribute("aria-label").startswith(title)
        assert page.locator(".walk-side [role=tree]").get_attribute(
            "aria-activedescendant"
        ) == selected.get_attribute("id")
    page.locator("[role=tree]").focus()
    for key, title in (
        ("ArrowDown", "Step 1: Add"),
        ("ArrowLeft", "Step 1: Add"),  # closes it
        ("ArrowDown", "Step 1: Take away"),
        ("End", "Answer -1"),
        ("ArrowLeft", "Step 1: Take away"),
        ("ArrowUp", "Step 1: Add"),
        ("ArrowRight", "Step 1: Add"),  # opens it
        ("ArrowRight", "Answer 5"),
    ):
        page.keyboard.press(key)
        assert selected.get_attribute("aria-label").startswith(title), key


def test_a_click_on_the_drawing_picks_the_node_there(page):
    box = page.locator(".walk-stage canvas").first.bounding_box()
    picked = set()
    for row in range(12):
        page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * (row + 0.5) / 12)
        picked.add(page.locator(f"{STEPS}[aria-selected=true]").get_attribute("aria-label").split(",")[0])
    assert {"Step 1: Add", "Step 1: Take away"} <= picked


def drawing(page):
    return page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")


def test_the_drawing_is_zoomed_and_panned(browser, report):
    with opened(browser, report) as page:
        page.wait_for_timeout(100)
        before, stage = drawing(page), page.locator(".walk-stage").first
        box = stage.bounding_box()
        at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for act in ("+", "-", "Shift+ArrowLeft", "wheel", "drag", "button", "double"):
            moved_and_back(page, stage, at, act, before)


def moved_and_back(page, stage, at, act, before):
    if act == "wheel":
        page.mouse.move(*at)
        page.mouse.wheel(0, 60)
    elif act == "drag":
        page.mouse.move(*at)
        page.mouse.down()
        page.mouse.move(at[0] + 50, at[1] + 30, steps=4)
        page.mouse.up()
    elif act == "button":
        page.get_by_label("Zoom in (+)").first.click()
    elif act == "double":
        page.mouse.dblclick(*at)
    else:
        stage.focus()
        page.keyboard.press(act)
    page.wait_for_timeout(100)
    assert drawing(page) != before, act
    stage.focus()
    page.keyboard.press("0")
    page.keyboard.press("Home")
    page.wait_for_timeout(100)
    page.mouse.move(1, 1)
    assert drawing(page) == before, act


def test_two_fingers_zoom(browser, report):
    with opened(browser, report, has_touch=True) as page:
        page.wait_for_timeout(100)
        before = drawing(page)
        session = page.context.new_cdp_session(page)
        box = page.locator(".walk-stage").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind, reach in (("touchStart", 40), ("touchMove", 60), ("touchMove", 90), ("touchEnd", 0)):
            points = [{"x": x - reach, "y": y}, {"x": x + reach, "y": y}] if reach else []
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(100)
        assert drawing(page) != before


def test_two_rounds_stand_side_by_side(page):
    page.locator(OPTIONS).nth(1).click()
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator(".walk-pane:visible canvas"), 2)
    chosen = page.locator(".walk-bar select:visible").evaluate_all(
        "all => all.map(one => one.selectedOptions[0].text)"
    )
    assert chosen == ["Round 1 · wrong", "Round 2 · solved"]
    page.locator(".walk-stage").nth(1).focus()
    for _ in range(100):  # until the second tree has come, where it is served
        for key in ("Home", "ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
        if "right" in (told := page.locator(".walk-details h4").inner_text()):
            break
        page.wait_for_timeout(50)
    assert "right" in told
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator(".walk-pane:visible canvas"), 1)


def test_pairs_lead_to_their_other_side(page):
    page.locator(STEPS).nth(1).click()
    pair = page.get_by_role("button", name="preferred to node 2")
    pair.wait_for()
    pair.first.click()
    assert (
        page.locator(f"{STEPS}[aria-selected=true]")
        .get_attribute("aria-label")
        .startswith("Step 1: Take away")
    )
    assert "rejected for node 1" in page.locator(".walk-details").inner_text()


def test_what_models_wrote_is_shown_and_never_run(page):
    choose(page, "Outcome", "suspect")
    expect(page.locator(OPTIONS), 1)
    assert "<img src=x onerror=window.harmed=6>" in page.locator(OPTIONS).inner_text()
    page.locator(OPTIONS).click()
    assert page.locator("h3").inner_text() == "<script>window.harmed = 7</script>\\u{202e}"
    steps = page.locator(STEPS)
    expect(steps, 11)  # of this tree, which a server is asked for
    details = page.locator(".walk-details")
    seen = []
    for i in range(steps.count()):
        steps.nth(i).click()
        seen.append(details.inner_text())
    shown = "\n".join(seen)
    assert "</script><script>window.harmed = 1</script>" in shown
    assert "<img src=x onerror='window.harmed = 2'><svg onload=window.harmed=3>" in shown
    assert "\\u{202e}abc\\u{2066} NUL \\u{0} and \\u{200b}, \\u{feff}" in shown
    assert not any(mark in page.content() for mark in "\u202e\u2066\u200b")
    assert page.locator("img, svg, iframe, object").count() == 0


def test_a_line_of_a_megabyte_is_cut_until_it_is_asked_for(page):
    choose(page, "Outcome", "suspect")
    expect(page.locator(OPTIONS), 1)
    page.locator(OPTIONS).click()
    more = page.get_by_role("button", name="Show all 1,000,")
    for _ in range(100):  # until the tree has come, where it is served
        page.locator(STEPS).last.click()
        if more.count():
            break
        page.wait_for_timeout(50)
    block = page.locator(".walk-details pre").first
    assert len(block.inner_text()) < 5000
    more.click()
    assert block.evaluate("block => block.textContent.length") > 1_000_000


@pytest.mark.parametrize(("source", "theme"), [("report", "light"), ("address", "dark")])
def test_axe_finds_nothing(browser, request, source, theme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, request.getfixturevalue(source), color_scheme=theme) as page:
        page.locator(STEPS).nth(3).click()
        page.get_by_role("button", name="Side by side").click()
        page.wait_for_timeout(100)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [360, 800, 1900])
def test_no_part_is_wider_than_the_window(browser, report, address, width):
    with opened(browser, address if width == 800 else report) as page:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.locator(".walk-stage").first.bounding_box()["width"] > 200


def test_it_prints_on_white_and_without_controls(browser, report):
    with opened(browser, report, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert (
            page.locator(".walk").evaluate("one => getComputedStyle(one).backgroundColor")
            == "rgb(255, 255, 255)"
        )
        assert not page.locator(".walk-find").is_visible()
        assert len(page.pdf()) > 5000


LAYOUT = """([source, seeds]) => {
  const { layout, family } = new Function(source + "; return { layout, family };")();
  return seeds.map((seed) => {
    let state = seed * 7919 + 1;
    const random = (n) => (state = (state * 48271) % 2147483647) % n;
    const n = seed ? 2 + random(400) : 20000;
    const above = (v) => (seed ? Math.max(0, v - 1 - random(1 + random(40))) : v - 1);
    const kin = family(Int32Array.from({ length: n }, (_, v) => (v ? above(v) : -1)));
    const parent = Int32Array.from({ length: n }, (_, v) => v);
    for (let v = 0; v < n; v++) for (let c = kin.first[v]; c >= 0; c = kin.next[c]) parent[c] = v;
    parent[0] = -1;
    const { y, levels } = layout(parent, kin);
    let [least, off] = [Infinity, 0];
    for (const level of levels) {
      for (let i = 1; i < level.length; i++) least = Math.min(least, y[level[i]] - y[level[i - 1]]);
    }
    for (let v = 0; v < n; v++) {
      if (kin.first[v] >= 0) off = Math.max(off, Math.abs(y[v] - (y[kin.first[v]] + y[kin.last[v]]) / 2));
    }
    return [least, off, y.reduce((a, b) => Math.min(a, b))];
  });
}"""


def test_layout_keeps_nodes_apart_and_parents_between_their_children(browser):
    """Trees of any shape, a chain of 20,000 too: neighbours of a level at least a row apart, in order."""
    source = resources.files("rstar_jax.report.viewer").joinpath("layout.js").read_text()
    page = browser.new_page()
    found = page.evaluate(LAYOUT, [source, list(range(40))])
    page.close()
    assert min(least for least, _, _ in found[1:]) == pytest.approx(1)
    assert all(off < 1e-6 and abs(lowest) < 1e-6 for _, off, lowest in found)
