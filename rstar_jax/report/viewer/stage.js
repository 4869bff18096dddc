// The stage: a canvas that is panned and zoomed by mouse, touch and keyboard, drawn once a frame at most.
//
//   idle --pointer down--> dragging (one), pinching (two) --up--> idle, and a click where nothing moved

const [NEAREST, FARTHEST] = [8, 0.0002]; // zoom

class Stage {
  /** onPick: called with a node that is clicked or walked to. */
  constructor(root, label, onPick) {
    this.root = root;
    this.onPick = onPick;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.tip = make("div", { class: "walk-tip", "aria-hidden": "true", hidden: true });
    this.element = make(
      "div",
      { class: "walk-stage", tabindex: "0", role: "application", "aria-label": label, "aria-roledescription": "tree drawing" },
      this.canvas,
      this.tip,
      this.buttons(),
    );
    this.tree = null;
    this.view = { x: 0, y: 0, k: 1 };
    this.marks = { node: 0, hover: null, pair: null };
    this.pointers = new Map();
    this.frame = 0;
    this.size = { width: 0, height: 0 };
    this.colours = palette(root);
    this.listen();
  }

  buttons() {
    const button = (text, label, act) => {
      const made = make("button", { type: "button", "aria-label": label, title: label, tabindex: "-1" }, text);
      made.addEventListener("click", act);
      return made;
    };
    return make(
      "div",
      { class: "walk-zoom" },
      button("+", "Zoom in (+)", () => this.zoomCentre(1.5)),
      button("−", "Zoom out (−)", () => this.zoomCentre(1 / 1.5)),
      button("⤢", "Whole tree (0)", () => this.fit()),
    );
  }

  listen() {
    new ResizeObserver(() => this.resize()).observe(this.element);
    const themed = () => this.retheme();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
    addEventListener("beforeprint", themed);
    addEventListener("afterprint", themed);
    matchMedia("print").addEventListener("change", themed);
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.pointers.delete(event.pointerId));
    on("pointerleave", () => this.hover(null));
    on("dblclick", (event) => this.zoom(event.offsetX, event.offsetY, 2));
    on("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  retheme() {
    this.colours = palette(this.root);
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const first = !this.size.width;
    this.size = { width, height };
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context = this.canvas.getContext("2d");
    this.context.scale(ratio, ratio);
    if (this.tree && (first || this.fitted)) this.fit();
    this.draw();
  }

  /** Shows a tree: all of it, or where that would be too small to read its beginning. */
  show(tree, node) {
    this.tree = tree;
    this.marks = { node, hover: null, pair: null };
    this.fit();
    this.draw();
  }

  fit() {
    if (!this.tree || !this.size.width) return;
    const { width, height } = this.size;
    this.view.k = Math.max(FARTHEST, Math.min(3.4, height / ((this.tree.height + 1.3) * ROW)));
    const g = geometry(this.view, this.tree, width);
    const across = this.tree.kin.deepest * g.column + (g.card || (g.row >= LABELS ? g.column * 0.7 : 8));
    this.view.x = Math.max(16, (width - across) / 2);
    this.view.y = (height - this.tree.height * g.row) / 2;
    this.fitted = true;
    this.draw();
  }

  zoomCentre = (by) => this.zoom(this.size.width / 2, this.size.height / 2, by);

  /** Zooms around a point, which stays where it is. */
  zoom(px, py, by) {
    if (!this.tree) return;
    const before = geometry(this.view, this.tree, this.size.width);
    this.view.k = Math.min(NEAREST, Math.max(Math.min(FARTHEST, 1), this.view.k * by));
    const after = geometry(this.view, this.tree, this.size.width);
    this.view.x = px - ((px - before.x) / before.column) * after.column;
    this.view.y = py - ((py - before.y) / before.row) * after.row;
    this.keepInSight();
    this.draw();
  }

  /** Pans; returns whether anything moved. */
  pan(dx, dy) {
    const { x, y } = this.view;
    this.view.x += dx;
    this.view.y += dy;
    this.keepInSight();
    this.draw();
    return x !== this.view.x || y !== this.view.y;
  }

  /** Some of the tree stays in sight. */
  keepInSight() {
    this.fitted = false;
    const { width, height } = this.size;
    const g = geometry(this.view, this.tree, width);
    const [across, down] = [this.tree.kin.deepest * g.column + g.card, this.tree.height * g.row];
    this.view.x = Math.min(width * 0.8, Math.max(width * 0.2 - across, this.view.x));
    this.view.y = Math.min(height * 0.8, Math.max(height * 0.2 - down, this.view.y));
  }

  /** Brings a node into sight, with no more than it takes. */
  reveal(node) {
    const { width, height } = this.size;
    const g = geometry(this.view, this.tree, width);
    const [x, y, pad] = [atX(g, this.tree, node), atY(g, this.tree, node), 36];
    const dx = x < pad ? pad - x : Math.min(0, width - pad - (x + (g.card || 60)));
    const dy = y < pad ? pad - y : Math.min(0, height - pad - y);
    if (dx || dy) {
      this.view.x += dx;
      this.view.y += dy;
      this.fitted = false;
    }
    this.draw();
  }

  mark(marks) {
    Object.assign(this.marks, marks);
    this.draw();
  }

  draw() {
    if (this.frame || !this.tree || !this.context) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      drawTree(this.context, this.tree, this.view, this.size, this.colours, this.marks);
      this.onDrawn?.();
      this.onDrawn = null;
    });
  }

  /** The node at a point of the canvas, or null. */
  hit(px, py) {
    const g = geometry(this.view, this.tree, this.size.width);
    const reach = g.card ? 0 : 7;
    const d = Math.floor((px - g.x + reach) / g.column);
    const level = this.tree.levels[d];
    if (!level) return null;
    const row = (py - g.y) / g.row;
    const i = lowerBound(level, (v) => this.tree.y[v], row);
    const near = [level[i - 1], level[i]].filter((v) => v !== undefined);
    const v = near.reduce((a, b) => (Math.abs(this.tree.y[b] - row) < Math.abs(this.tree.y[a] - row) ? b : a));
    const within = px - g.x - d * g.column <= (g.card || Math.min(g.column - 8, g.row >= LABELS ? 160 : 9));
    return within && Math.abs(this.tree.y[v] - row) * g.row < Math.max(g.row / 2, 6) ? v : null;
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.still = this.pointers.size === 1;
    this.hover(null);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hover(event);
    const now = { x: event.offsetX, y: event.offsetY };
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    if (this.still && Math.hypot(now.x - before.x, now.y - before.y) < 4) return;
    this.still = false;
    this.pointers.set(event.pointerId, now);
    if (others.length) {
      const [other] = others;
      const span = (point) => Math.max(8, Math.hypot(point.x - other.x, point.y - other.y));
      this.zoom((now.x + other.x) / 2, (now.y + other.y) / 2, span(now) / span(before));
    } else {
      this.pan(now.x - before.x, now.y - before.y);
    }
  }

  up(event) {
    const clicked = this.still && this.pointers.size === 1;
    this.pointers.delete(event.pointerId);
    const node = clicked && this.tree ? this.hit(event.offsetX, event.offsetY) : null;
    if (node !== null) this.onPick(node);
  }

  wheel(event) {
    if (!this.tree) return;
    const scale = event.deltaMode ? 24 : 1;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(event.offsetX, event.offsetY, Math.exp(-event.deltaY * scale * 0.004));
    } else if (this.pan(-(event.shiftKey ? event.deltaY : event.deltaX) * scale, event.shiftKey ? 0 : -event.deltaY * scale)) {
      event.preventDefault(); // else the page scrolls on
    }
  }

  hover(event) {
    const node = event && this.tree ? this.hit(event.offsetX, event.offsetY) : null;
    if (node === this.marks.hover) return;
    this.canvas.classList.toggle("walk-over", node !== null);
    this.mark({ hover: node });
    const small = node !== null && geometry(this.view, this.tree, this.size.width).row < CARDS;
    this.tip.hidden = !small;
    if (small) {
      this.tip.textContent = `${this.tree.title(node)} · ${this.tree.fate(node)}`;
      const left = Math.min(event.offsetX + 14, Math.max(0, this.size.width - 300));
      this.tip.style.transform = `translate(${left}px, ${Math.max(4, event.offsetY - 34)}px)`;
    }
  }

  key(event) {
    if (!this.tree || event.target !== this.element || event.altKey || event.ctrlKey || event.metaKey) return;
    const pans = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const { key } = event;
    if (event.shiftKey && pans[key]) this.pan(...pans[key]);
    else if (key === "+" || key === "=") this.zoomCentre(1.5);
    else if (key === "-" || key === "−") this.zoomCentre(1 / 1.5);
    else if (key === "0") this.fit();
    else if (walkKeys[key]) {
      const node = walkKeys[key](this.tree, this.marks.node);
      if (node >= 0) this.onPick(node);
    } else return;
    event.preventDefault();
  }
}

/** Where arrow keys lead from a node: to its parent, its best child, its neighbours of the same depth. */
const walkKeys = {
  ArrowLeft: (tree, v) => tree.parent[v],
  ArrowRight: (tree, v) => {
    const below = tree.children(v);
    return below.find((c) => tree.chosen[c]) ?? below[0] ?? -1;
  },
  ArrowUp: (tree, v) => beside(tree, v, -1),
  ArrowDown: (tree, v) => beside(tree, v, 1),
  Home: () => 0,
};

function beside(tree, v, by) {
  const level = tree.levels[tree.depth[v]];
  return level[lowerBound(level, (node) => tree.y[node], tree.y[v]) + by] ?? -1;
}
