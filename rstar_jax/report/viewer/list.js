// Lists of any length: only the rows in sight are elements; one of them is active, the list itself has the focus.

const LONGEST_LIST = 400_000; // rows: browsers know no taller elements than some 30 million pixels
let lists = 0;

class List {
  /** role: "listbox" or "tree". tall: pixels of a row. fill(element, i): makes a row. onPick(i): one was
   * clicked, or made active by a key. */
  constructor(role, label, tall, fill, onPick) {
    Object.assign(this, { tall, fill, onPick, count: 0, active: -1, name: `walk-list-${++lists}` });
    this.row = role === "tree" ? "treeitem" : "option";
    this.space = make("div", { class: "walk-space", role: "presentation" });
    this.element = make("div", { class: "walk-list", role, tabindex: "0", "aria-label": label }, this.space);
    this.element.addEventListener("scroll", () => this.render(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest(`[role=${this.row}]`);
      if (row) this.clicked(Number(row.dataset.at), event);
    });
    new ResizeObserver(() => this.render()).observe(this.element);
  }

  clicked(i) {
    this.choose(i);
    this.onPick(i);
  }

  /** Has so many rows from now on, the first of them where they are too many. */
  set(count, active) {
    this.count = Math.min(count, LONGEST_LIST);
    this.active = active;
    this.space.style.height = `${this.count * this.tall}px`;
    this.render();
  }

  choose(i) {
    this.active = i;
    if (i >= 0) {
      const { scrollTop: top, clientHeight: height } = this.element;
      if (i * this.tall < top) this.element.scrollTop = i * this.tall;
      else if ((i + 1) * this.tall > top + height) this.element.scrollTop = (i + 1) * this.tall - height;
    }
    this.render();
  }

  render() {
    const { scrollTop: top, clientHeight: height } = this.element;
    const from = Math.max(0, Math.floor(top / this.tall) - 3);
    const to = Math.min(this.count, Math.ceil((top + height) / this.tall) + 3);
    const rows = [];
    for (let i = from; i < to; i++) {
      const row = make("div", { role: this.row, id: `${this.name}-${i}`, class: "walk-row", "aria-selected": String(i === this.active) });
      row.dataset.at = i;
      row.style.transform = `translateY(${i * this.tall}px)`;
      row.style.height = `${this.tall}px`;
      this.fill(row, i);
      rows.push(row);
    }
    this.space.replaceChildren(...rows);
    const shown = this.active >= from && this.active < to;
    if (shown) this.element.setAttribute("aria-activedescendant", `${this.name}-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
    this.onRender?.(from, to);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.tall) - 1);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -this.count, End: this.count };
    if (!(event.key in steps) || !this.count || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.clicked(Math.min(this.count - 1, Math.max(0, this.active + steps[event.key])));
  }
}

/** A tree as a list of the nodes whose parents are open, in the manner of ARIA's tree pattern. */
class Outline extends List {
  constructor(onPick) {
    super("tree", "Steps", 26, (row, i) => this.fillStep(row, i), (i) => onPick(this.shown[i]));
    this.tree = null;
    this.shown = new Int32Array(0);
  }

  show(tree, node) {
    this.tree = tree;
    this.open = new Uint8Array(tree.n);
    // Of large trees only the chosen trajectory is open: the others a click away.
    for (let v = 0; v < tree.n; v++) this.open[v] = tree.n <= 400 || tree.chosen[v] || v === 0 ? 1 : 0;
    this.element.scrollTop = 0;
    this.flatten();
    this.goTo(node);
  }

  flatten() {
    const { first, next } = this.tree.kin;
    const [found, stack] = [[], [0]];
    while (stack.length) {
      const v = stack.pop();
      found.push(v);
      if (!this.open[v]) continue;
      const at = stack.length;
      for (let c = first[v]; c >= 0; c = next[c]) stack.push(c);
      for (let [i, j] = [at, stack.length - 1]; i < j; i++, j--) [stack[i], stack[j]] = [stack[j], stack[i]];
    }
    this.shown = Int32Array.from(found);
    this.at = new Map(found.map((v, i) => [v, i]));
    this.set(found.length, this.active);
  }

  /** Makes a node active, and opens what hides it. */
  goTo(node) {
    let opened = false;
    for (let v = this.tree.parent[node]; v >= 0; v = this.tree.parent[v]) {
      opened ||= !this.open[v];
      this.open[v] = 1;
    }
    if (opened) this.flatten();
    this.choose(this.at.get(node));
  }

  toggle(node, open) {
    this.open[node] = open ? 1 : 0;
    this.flatten();
    this.choose(this.at.get(node));
  }

  clicked(i, event) {
    const node = this.shown[i];
    if (event?.target.closest(".walk-twist") && this.tree.kin.first[node] >= 0) this.toggle(node, !this.open[node]);
    super.clicked(this.at.get(node));
  }

  fillStep(row, i) {
    const { tree } = this;
    const v = this.shown[i];
    const parent = tree.parent[v];
    const branches = tree.kin.first[v] >= 0;
    row.setAttribute("aria-level", tree.depth[v] + 1);
    row.setAttribute("aria-posinset", v ? tree.kin.place[v] + 1 : 1);
    row.setAttribute("aria-setsize", v ? tree.kin.place[tree.kin.last[parent]] + 1 : 1);
    if (branches) row.setAttribute("aria-expanded", String(Boolean(this.open[v])));
    row.setAttribute("aria-label", `${tree.title(v)}, ${v ? tree.fate(v) : counted(tree.n - 1, "step")}`);
    row.classList.toggle("walk-chosen", Boolean(tree.chosen[v]));
    row.classList.toggle("walk-failed", Boolean(tree.failed[v]));
    row.append(
      ...Array.from({ length: Math.min(tree.depth[v], 12) }, () => make("span", { class: "walk-indent" })),
      make("span", { class: "walk-twist" }, branches ? (this.open[v] ? "▾" : "▸") : ""),
      make("span", { class: `walk-dot walk-q${tree.failed[v] ? "f" : tree.bucket[v]}` }),
      make("span", { class: "walk-title" }, tree.title(v)),
      tree.isAnswer[v] ? gradeMark(tree.gradeOf(v)) : "",
      make("span", { class: "walk-value" }, v ? (tree.failed[v] ? tree.statusOf(v) : signed(tree.q[v])) : ""),
    );
  }

  key(event) {
    const node = this.shown[this.active];
    if (node === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const { first } = this.tree.kin;
    if (event.key === "ArrowRight" && first[node] >= 0) {
      if (!this.open[node]) this.toggle(node, true);
      else super.clicked(this.at.get(first[node]));
    } else if (event.key === "ArrowLeft" && this.open[node] && first[node] >= 0) {
      this.toggle(node, false);
    } else if (event.key === "ArrowLeft" && node > 0) {
      super.clicked(this.at.get(this.tree.parent[node]));
    } else if (event.key === "*") {
      for (const v of this.tree.children(this.tree.parent[node])) this.open[v] = 1;
      this.flatten();
      this.choose(this.at.get(node));
    } else {
      return super.key(event);
    }
    event.preventDefault();
  }
}

const GRADES = { right: ["✓", "walk-right", "right"], wrong: ["✗", "walk-wrong", "wrong"] };

function gradeMark(grade) {
  const [sign, kind, name] = GRADES[grade] ?? ["○", "walk-soft", "not graded"];
  return make("span", { class: `walk-grade ${kind}`, title: name, "aria-hidden": "true" }, sign);
}
