// The viewer in an element: find a problem, walk one of its trees, or two side by side.
//
//   Walk -- Finder: filters and the list of problems --picks--> a problem
//        -- Pane, one or two: which tree, its drawing     \  one of them is active: outline and
//        -- Outline and details of the active pane's node /  drawing follow each other

const OUTCOMES = [
  ["", "any outcome"],
  ["solved", "solved"],
  ["unsolved", "unsolved"],
  ["wrong", "unsolved, with answers"],
  ["none", "no answer at all"],
  ["gained", "unsolved first, solved last"],
  ["lost", "solved first, unsolved last"],
  ["suspect", "suspect label"],
];
const OUTCOME_MARKS = [["–", "no answer", "walk-soft"], ["✗", "wrong", "walk-wrong"], ["○", "not graded", "walk-soft"], ["✓", "solved", "walk-right"]];
const roundName = (round) => (round === 0 ? "Base" : `Round ${round}`);

/** What a tree of a problem is called, beside its others: [set, round, tree_index, outcome, nodes]. */
function treeName([set, round, tree]) {
  if (set === 3) return `Sample ${tree + 1}`;
  const name = roundName(round) + (tree ? `, tree ${tree + 1}` : "");
  return set === 0 ? name : `${name}, ${set === 1 ? "held-out" : "policy alone"}`;
}

class Finder {
  /** onPick(problem, wanted): a row was picked. onFail(error): the source did not answer. */
  constructor(source, onPick, onFail) {
    Object.assign(this, { source, onPick, onFail, pages: new Map(), total: 0, asked: 0 });
    this.search = make("input", { type: "search", placeholder: "Find a problem", "aria-label": "Find a problem by its words or id", autocomplete: "off", spellcheck: "false" });
    this.selects = Object.fromEntries(
      [["outcome", "Outcome"], ["round", "Round"], ["level", "Level"], ["set", "Kind of search"], ["cause", "A step failed by"]].map(([name, label]) => [name, make("select", { "aria-label": label })]),
    );
    this.count = make("p", { class: "walk-count", role: "status" });
    this.list = new List("listbox", "Problems", 58, (row, i) => this.fill(row, i), (i) => this.picked(i));
    this.list.onRender = (from, to) => this.need(from, to);
    this.element = make("div", { class: "walk-find" }, this.search, make("div", { class: "walk-filters" }, ...Object.values(this.selects)), this.count, this.list.element);
    let waiting = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.find(), 120);
    });
    for (const select of Object.values(this.selects)) select.addEventListener("change", () => this.find());
  }

  get wanted() {
    return { text: this.search.value, ...Object.fromEntries(Object.entries(this.selects).map(([name, select]) => [name, select.value])) };
  }

  /** Looks for what is wanted now; keeps asking while the server still reads. first: picks the first one. */
  async find(first = false, again = false) {
    const asked = ++this.asked;
    const began = performance.now();
    const answer = await this.source.problems(this.wanted, 0).catch(this.onFail);
    if (asked !== this.asked || !answer) return;
    this.pages = new Map([[0, answer.problems]]);
    this.total = answer.total;
    this.offer(answer.facets);
    this.tell(answer);
    this.list.set(this.total, again ? this.list.active : -1);
    if (again) answer.problems.forEach((problem) => this.onNews?.(problem));
    else this.list.element.scrollTop = 0;
    if (first && this.total) {
      this.list.choose(0);
      this.picked(0);
      first = false;
    }
    if (answer.reading) setTimeout(() => asked === this.asked && this.find(first, true), Math.max(250, 4 * (performance.now() - began)));
  }

  tell({ total, facets, left, reading }) {
    const all = facets.problems;
    const of = total === all ? counted(all, "problem") : `${total.toLocaleString("en")} of ${counted(all, "problem")}`;
    const bad = Object.entries(facets.unreadable ?? {});
    this.count.replaceChildren(`${of}${total > LONGEST_LIST ? `, the first ${LONGEST_LIST.toLocaleString("en")} listed` : ""}${reading ? ` so far${left ? `, ${counted(left, "file")} to read` : ""}` : ""}`);
    if (facets.shown < all) this.count.append(` · ${facets.shown.toLocaleString("en")} are in this page`);
    if (facets.shown < all) this.count.append(make("span", { class: "walk-how" }, "All of them: ", make("code", {}, facets.command)));
    if (bad.length) this.count.append(make("span", { class: "walk-bad" }, seen(`${counted(bad.length, "file")} cannot be read: ${bad[0][0]} (${bad[0][1]})`)));
  }

  /** The choices that there are; what was chosen stays. */
  offer(facets) {
    const fill = (select, options) => {
      const value = select.value;
      select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
      select.value = options.some(([key]) => String(key) === value) ? value : "";
      select.hidden = options.length < 3;
    };
    fill(this.selects.outcome, OUTCOMES.filter(([name]) => name !== "suspect" || facets.suspects));
    fill(this.selects.round, [["", "all rounds"], ...facets.rounds.map((round) => [round, roundName(round)])]);
    fill(this.selects.set, [["", "all searches"], ...facets.sets.map((name) => [SETS.indexOf(name), name])]);
    fill(this.selects.level, [["", "all levels"], ...facets.levels.map((level) => [level, level ? `level ${level}` : "level unknown"])]);
    const causes = [...facets.causes].sort((a, b) => b[1] - a[1]).filter(([, count]) => count);
    fill(this.selects.cause, [["", "any step"], ...causes.map(([name, count]) => [name, `failed: ${seen(name)} (${count.toLocaleString("en")})`])]);
    this.selects.cause.hidden = !causes.length;
  }

  at = (i) => this.pages.get(Math.floor(i / PAGE))?.[i % PAGE];

  /** Asks for the pages that rows in sight are of. */
  need(from, to) {
    for (let page = Math.floor(from / PAGE); page * PAGE < Math.min(to, this.total); page++) {
      if (this.pages.has(page)) continue;
      this.pages.set(page, []);
      const asked = this.asked;
      const took = ({ problems }) => {
        if (asked !== this.asked) return;
        this.pages.set(page, problems);
        this.list.render();
      };
      this.source.problems(this.wanted, page * PAGE).then(took).catch(this.onFail);
    }
  }

  picked(i) {
    const problem = this.at(i);
    if (problem) this.onPick(problem, this.wanted);
  }

  fill(row, i) {
    const problem = this.at(i);
    if (!problem) return row.append(make("span", { class: "walk-soft" }, "…"));
    const marks = problem.trees.filter(([set]) => set === problem.trees[0][0]);
    row.setAttribute("aria-label", `${seen(problem.question)} ${problem.level ? `Level ${problem.level}.` : ""} ${marks.map((tree) => `${treeName(tree)} ${OUTCOME_MARKS[tree[3]][1]}`).join(", ")}`);
    row.append(
      make("span", { class: "walk-question" }, seen(problem.question)),
      make(
        "span",
        { class: "walk-under" },
        make("span", { class: "walk-id" }, seen(problem.id)),
        problem.suspect ? make("span", { class: "walk-chip walk-fail" }, "suspect") : "",
        make("span", { class: "walk-marks" }, ...marks.slice(0, 8).map(([, , , outcome]) => make("span", { class: OUTCOME_MARKS[outcome][2] }, OUTCOME_MARKS[outcome][0]))),
      ),
    );
  }
}

class Pane {
  /** onNode(pane, node): one was picked in the drawing. onTree(pane, tree): another tree is wanted. */
  constructor(root, name, onNode, onTree) {
    this.onTree = onTree;
    this.stage = new Stage(root, `${name}: arrow keys walk, plus and minus zoom, 0 shows all, shift and arrows pan`, (node) => onNode(this, node));
    this.select = make("select", { "aria-label": `${name}: which tree` });
    this.select.addEventListener("change", () => onTree(this, Number(this.select.value)));
    this.note = make("span", { class: "walk-soft" });
    this.element = make("div", { class: "walk-pane" }, make("div", { class: "walk-bar" }, this.select, this.note), this.stage.element);
    this.tree = null;
    this.node = 0;
  }

  offer(problem, at) {
    this.select.replaceChildren(...problem.trees.map((tree, i) => make("option", { value: i }, `${treeName(tree)} · ${OUTCOME_MARKS[tree[3]][1]}`)));
    this.select.value = at;
    this.at = at;
  }

  show(tree) {
    this.tree = tree;
    this.node = 0;
    this.tell();
    this.stage.show(tree, 0);
  }

  tell() {
    const { tree } = this;
    const failed = tree.failed.reduce((a, b) => a + b, 0);
    this.note.textContent = `${counted(tree.n - 1, "step")}, ${failed.toLocaleString("en")} failed, ${counted(tree.pairs.length, "pair")}`;
  }
}

class Walk {
  constructor(root) {
    this.root = root;
    this.source = root.dataset.source ? new EmbeddedSource(root.dataset.source) : new ServedSource();
    this.finder = new Finder(this.source, (problem, wanted) => this.pick(problem, wanted), (error) => this.fail(error));
    const pane = (name) => new Pane(root, name, (of, node) => this.go(of, node), (of, at) => this.open(of, at));
    this.panes = [pane("Tree"), pane("Second tree")];
    this.active = this.panes[0];
    this.outline = new Outline((node) => this.go(this.active, node));
    this.details = make("div", { class: "walk-details" });
    this.question = make("h3", {}, "…");
    this.about = make("p", { class: "walk-about" });
    this.both = make("button", { type: "button", "aria-pressed": "false" }, "Side by side");
    this.wide = make("button", { type: "button", "aria-pressed": "false" }, "Full window");
    this.both.addEventListener("click", () => this.compare(this.both.getAttribute("aria-pressed") !== "true"));
    this.wide.addEventListener("click", () => this.fill(this.wide.getAttribute("aria-pressed") !== "true"));
    root.addEventListener("keydown", (event) => event.key === "Escape" && root.classList.contains("walk-wide") && this.fill(false));
    for (const one of this.panes) one.element.addEventListener("focusin", () => this.activate(one));
    for (const one of this.panes) one.element.addEventListener("pointerdown", () => this.activate(one));
    this.panes[1].element.hidden = true;
    const head = make("div", { class: "walk-head" }, make("div", {}, this.question, this.about), make("div", { class: "walk-buttons" }, this.both, this.wide));
    const panes = make("div", { class: "walk-panes" }, ...this.panes.map((one) => one.element));
    const side = make("div", { class: "walk-side" }, this.outline.element, this.details);
    root.replaceChildren(make("div", { class: "walk-body" }, this.finder.element, make("div", { class: "walk-main" }, head, panes, legend()), side));
    this.finder.onNews = (problem) => problem.id === this.problem?.id && this.renew(problem);
    this.finder.find(true);
  }

  /** Opens a problem: the tree that the filters ask for, else its last search. */
  pick(problem, { round, set }) {
    this.problem = problem;
    this.question.textContent = seen(problem.question);
    this.about.replaceChildren(make("span", { class: "walk-id" }, seen(problem.id)), problem.level ? ` · level ${problem.level}` : "", problem.suspect ? " · its label may be wrong" : "");
    const fits = problem.trees.map((tree, i) => i).filter((i) => (round === "" || problem.trees[i][1] === Number(round)) && (set === "" || problem.trees[i][0] === Number(set)));
    const alike = fits.filter((i) => problem.trees[i][0] === problem.trees[fits[0]][0]);
    const last = alike[alike.length - 1] ?? 0;
    const first = problem.trees.findIndex((tree) => tree[0] === problem.trees[last][0]);
    this.both.disabled = problem.trees.length < 2;
    const two = !this.panes[1].element.hidden && problem.trees.length > 1;
    this.panes[1].element.hidden = !two;
    this.both.setAttribute("aria-pressed", String(two));
    this.activate(this.panes[0]);
    this.open(this.panes[0], two ? first : last);
    if (two) this.open(this.panes[1], last === first ? (first + 1) % problem.trees.length : last);
  }

  /** The problem has further trees by now. */
  renew(problem) {
    const same = (one, other) => one.slice(0, 3).join() === other.slice(0, 3).join();
    for (const pane of this.panes.filter((one) => !one.element.hidden)) {
      const shown = this.problem.trees[pane.at];
      pane.offer(problem, problem.trees.findIndex((tree) => same(tree, shown)));
    }
    this.problem = problem;
    this.both.disabled = problem.trees.length < 2;
  }

  async open(pane, at) {
    performance.mark("walk-open");
    pane.offer(this.problem, at);
    const { problem } = this;
    const opening = (pane.opening = {}); // the last one asked for is shown
    try {
      const tree = await this.source.tree(problem, problem.trees[at]);
      if (problem.id !== this.problem.id || pane.opening !== opening) return;
      pane.stage.onDrawn = () => performance.measure("walk-shown", "walk-open");
      pane.show(tree);
      if (pane === this.active) this.follow();
      if (tree.learnt) this.learn(pane, tree, await tree.learnt);
    } catch (error) {
      this.fail(error);
    }
  }

  learn(pane, tree, { taught, pairs }) {
    if (pane.tree !== tree) return;
    tree.learn(taught, pairs);
    pane.tell();
    pane.stage.draw();
    if (pane === this.active) this.follow();
  }

  fail(error) {
    this.details.replaceChildren(make("p", { class: "walk-why", role: "alert" }, seen(String(error.message ?? error))));
  }

  /** Outline and details are of the active pane. */
  activate(pane) {
    if (pane === this.active && pane.element.classList.contains("walk-active")) return;
    this.active = pane;
    for (const one of this.panes) one.element.classList.toggle("walk-active", one === pane);
    if (pane.tree) this.follow();
  }

  follow() {
    const { tree, node } = this.active;
    if (this.outline.tree !== tree || this.taught !== tree.taught) this.outline.show(tree, node);
    this.taught = tree.taught;
    this.outline.goTo(node);
    this.describe();
  }

  describe() {
    const pane = this.active;
    showDetails(this.details, pane.tree, pane.node, (node, pair = null) => this.go(pane, node, pair), (pair) => pane.stage.mark({ pair }));
  }

  /** Walks to a node, everywhere. */
  go(pane, node, pair = null) {
    pane.node = node;
    pane.stage.mark({ node, pair });
    pane.stage.reveal(node);
    this.activate(pane);
    this.outline.goTo(node);
    this.describe();
  }

  compare(two) {
    this.both.setAttribute("aria-pressed", String(two));
    this.panes[1].element.hidden = !two;
    if (!two) return this.activate(this.panes[0]);
    const at = this.panes[0].at;
    const { trees } = this.problem;
    const others = trees.map((_, i) => i).filter((i) => i !== at);
    const alike = others.filter((i) => trees[i][0] === trees[at][0]);
    const other = alike[0] ?? others[0];
    // The earlier one stands on the left.
    if (other < at) this.open(this.panes[0], other);
    this.open(this.panes[1], Math.max(at, other));
  }

  fill(wide) {
    this.wide.setAttribute("aria-pressed", String(wide));
    this.root.classList.toggle("walk-wide", wide);
    document.documentElement.classList.toggle("walk-still", wide);
  }
}

function legend() {
  const entry = (kind, text) => make("span", {}, make("span", { class: kind }), text);
  return make(
    "p",
    { class: "walk-legend" },
    make("span", {}, "Q ", ...[0, 1, 2, 3, 4].map((i) => make("span", { class: `walk-dot walk-q${i}` })), " −1 to +1"),
    entry("walk-dot walk-qf", "failed"),
    entry("walk-line", "chosen"),
    make("span", {}, make("span", { class: "walk-right" }, "▲"), make("span", { class: "walk-wrong" }, "▼"), " preferred, rejected"),
  );
}

for (const root of document.querySelectorAll(".walk")) new Walk(root);
