// The drawing of a tree: what is in sight alone, at most about one mark for each pixel of height and level.

const ROW = 32; // pixels at zoom 1
const NARROW = 100, COLUMN = 250, WIDEST = 420; // pixels of a column: of cards at least, where there is room, at most
const CARDS = 21, LABELS = 12.5, TALL = 46; // pixels of a row from which nodes are cards, have labels, several lines
const FONT = '"Inter", system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const PALETTE = ["ground", "raised", "ink", "soft", "line", "edge", "accent", "select", "right", "wrong", "q0", "q1", "q2", "q3", "q4", "fail"];

/** The colours of an element's theme, as its style has them now. */
function palette(root) {
  const style = getComputedStyle(root);
  return Object.fromEntries(PALETTE.map((name) => [name, style.getPropertyValue(`--walk-${name}`).trim()]));
}

/** Where things are: pixels of the upper left node (x, y), of a row and of a column. */
function geometry(view, tree, width) {
  const row = ROW * view.k;
  const fit = (width - 40) / (tree.kin.deepest + 1);
  const least = row >= CARDS ? NARROW : 26;
  const column = Math.min(WIDEST, Math.max(least, Math.min(fit, COLUMN), COLUMN * view.k * 0.13));
  return { row, column, card: row >= CARDS ? column - Math.min(40, column * 0.2) : 0, x: view.x, y: view.y };
}

/** The first place in a level from which `key` is at least `value`; it grows along the level. */
function lowerBound(level, key, value) {
  let [low, high] = [0, level.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(level[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Nodes in sight, or with an edge there: of those within half a pixel of another one the first. */
function inSight(tree, g, width, height) {
  const { y, parent, levels } = tree;
  const [top, bottom] = [(-g.y - g.row) / g.row, (height - g.y + g.row) / g.row];
  const found = [];
  for (let d = 0; d < levels.length; d++) {
    const left = g.x + d * g.column;
    if (left > width + g.column || left + g.column < -8) continue;
    const level = levels[d];
    const end = (v) => Math.max(y[v], y[Math.max(parent[v], 0)]);
    const start = (v) => Math.min(y[v], y[Math.max(parent[v], 0)]);
    const step = 0.7 / g.row;
    let drawn = -Infinity;
    for (let i = lowerBound(level, end, top); i < level.length && start(level[i]) <= bottom; i++) {
      if (y[level[i]] - drawn >= step) {
        found.push(level[i]);
        drawn = y[level[i]];
      } else if (step > 1) {
        i = Math.max(i, lowerBound(level, (v) => y[v], drawn + step) - 1);
      }
    }
  }
  return found;
}

function drawTree(context, tree, view, size, colours, marks) {
  const { width, height } = size;
  const g = geometry(view, tree, width);
  context.clearRect(0, 0, width, height);
  const nodes = inSight(tree, g, width, height);
  drawEdges(context, tree, g, nodes, colours, marks);
  const inside = nodes.filter((v) => g.y + tree.y[v] * g.row > -g.row && g.y + tree.y[v] * g.row < height + g.row);
  if (g.card) for (const v of inside) drawCard(context, tree, g, v, colours, marks);
  else drawDots(context, tree, g, inside, colours, marks);
  drawPair(context, tree, g, colours, marks);
  return nodes.length;
}

const atX = (g, tree, v) => g.x + tree.depth[v] * g.column;
const atY = (g, tree, v) => g.y + tree.y[v] * g.row;

function edge(context, g, tree, v, straight) {
  const p = tree.parent[v];
  const [x0, y0, x1, y1] = [atX(g, tree, p) + (g.card || 3), atY(g, tree, p), atX(g, tree, v) - (g.card ? 0 : 3), atY(g, tree, v)];
  context.moveTo(x0, y0);
  const middle = g.card ? (x0 + x1) / 2 : x0 + (x1 - x0) * 0.55;
  if (straight) context.lineTo(x1, y1);
  else context.bezierCurveTo(middle, y0, middle, y1, x1, y1);
}

function drawEdges(context, tree, g, nodes, colours, marks) {
  const straight = nodes.length > 2500;
  const groups = [[], [], []]; // failed or never visited; visited; often
  for (const v of nodes) if (v) groups[tree.failed[v] || !tree.visits[v] ? 0 : tree.visits[v] < 4 ? 1 : 2].push(v);
  context.strokeStyle = colours.edge;
  groups.forEach((group, i) => {
    context.globalAlpha = [0.45, 0.8, 1][i];
    context.lineWidth = straight ? 0.7 : [0.9, 1.2, 1.9][i];
    for (let from = 0; from < group.length; from += 400) {
      context.beginPath();
      for (const v of group.slice(from, from + 400)) edge(context, g, tree, v, straight);
      context.stroke();
    }
  });
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 2.2;
  context.beginPath();
  for (const end of tree.ends) for (const v of tree.path(end)) edge(context, g, tree, v, false);
  context.stroke();
  if (marks.node > 0) {
    context.strokeStyle = colours.select;
    context.lineWidth = 1.6;
    context.beginPath();
    for (const v of tree.path(marks.node)) edge(context, g, tree, v, false);
    context.stroke();
  }
}

function drawDots(context, tree, g, nodes, colours, marks) {
  const dot = Math.max(0.6, Math.min(4.5, g.row * 0.36));
  const groups = Array.from({ length: 6 }, () => []);
  for (const v of nodes) groups[tree.failed[v] ? 5 : tree.bucket[v]].push(v);
  groups.forEach((group, i) => {
    context.fillStyle = i === 5 ? colours.fail : colours[`q${i}`];
    context.beginPath();
    for (const v of group) {
      const [x, y] = [atX(g, tree, v), atY(g, tree, v)];
      if (dot < 2) context.rect(x - 1.5, y - dot, 3, dot * 2);
      else if (i === 5) context.rect(x - dot * 0.8, y - 0.9, dot * 1.6, 1.8);
      else {
        context.moveTo(x + dot, y);
        context.arc(x, y, dot, 0, 7);
      }
    }
    context.fill();
  });
  const big = Math.max(dot, 2.6);
  for (const end of tree.ends) {
    for (const v of tree.path(end)) ring(context, atX(g, tree, v), atY(g, tree, v), big + 1.2, colours.accent, 1.4);
  }
  if (g.row >= LABELS) {
    context.font = `11.5px ${FONT}`;
    context.textBaseline = "middle";
    const room = Math.floor((g.column - 22) / 6);
    for (const v of nodes) {
      context.fillStyle = tree.failed[v] ? colours.soft : colours.ink;
      context.globalAlpha = tree.chosen[v] || v === marks.node ? 1 : 0.82;
      const [x, y, text] = [atX(g, tree, v) + 9, atY(g, tree, v), cut(tree.label(v), room)];
      context.lineWidth = 3.5;
      context.strokeStyle = colours.ground;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
    context.globalAlpha = 1;
  }
  for (const [v, colour] of [[marks.hover, colours.soft], [marks.node, colours.select]]) {
    if (v !== null && v >= 0) ring(context, atX(g, tree, v), atY(g, tree, v), big + 3, colour, 2);
  }
}

function ring(context, x, y, radius, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.stroke();
}

const cut = (text, room) => (text.length <= room ? text : text.slice(0, Math.max(1, room - 1)).trimEnd() + "…");

/** Text in lines of about so many letters, at most so many lines. */
function wrapped(text, letters, most) {
  const lines = [];
  let rest = text.trim();
  while (rest && lines.length < most) {
    if (rest.length <= letters || lines.length === most - 1) {
      lines.push(cut(rest, letters));
      break;
    }
    const space = rest.lastIndexOf(" ", letters);
    const end = space > letters * 0.4 ? space : letters;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return lines;
}

/** What a card of several lines holds: its title in one line or more, and code where there is room. */
function cardParts(tree, g, v) {
  const room = g.row - 8 - 30;
  const letters = Math.floor((g.card - 26) / 6.9);
  const text = v ? tree.label(v) : seen(tree.problem.question.slice(0, 600));
  const title = wrapped(text, letters, Math.min(v ? 2 : 9, Math.max(1, Math.floor(room / 16))));
  const left = Math.floor((room - title.length * 16 - 6) / 15);
  let code = left < 1 || !v || g.card < 140 || tree.isAnswer[v] ? [] : stepLines(tree.text[v], left + 1);
  if (/^\s*#/.test(code[0] ?? "")) code = code.slice(1);
  code = code.slice(0, left);
  return { title, code, tall: 30 + title.length * 16 + (code.length ? code.length * 15 + 6 : 0) };
}

/** Draws a node as a card: one line, or in tall rows its title, its code and a line of numbers. */
function drawCard(context, tree, g, v, colours, marks) {
  const parts = g.row >= TALL ? cardParts(tree, g, v) : null;
  const tall = parts ? parts.tall : Math.min(g.row - 5, 27);
  const [x, y, width] = [atX(g, tree, v), atY(g, tree, v) - tall / 2, g.card];
  drawBox(context, tree, v, [x, y, width, tall], colours, marks);
  const middle = parts ? y + tall - 14.5 : y + tall / 2 + 0.5;
  context.textBaseline = "middle";
  const right = v ? drawNumbers(context, tree, v, x + width - 10, middle, width, colours, parts) : x + width - 8;
  context.font = `${tree.chosen[v] || !v ? "600 " : ""}12.5px ${FONT}`;
  context.fillStyle = tree.failed[v] ? colours.soft : colours.ink;
  if (!parts) return fillCut(context, tree.label(v), x + 14, middle, right - x - 16);
  parts.title.forEach((line, i) => fillCut(context, line, x + 15, y + 15 + i * 16, width - 24));
  context.font = `11.5px ${MONO}`;
  context.fillStyle = colours.soft;
  const code = y + 15 + parts.title.length * 16 + 4;
  parts.code.forEach((line, i) => fillCut(context, line, x + 15, code + i * 15, width - 24, 6.95));
  if (!v) {
    context.font = `11px ${FONT}`;
    context.fillText(counted(tree.n - 1, "step"), x + 15, middle);
  }
}

function drawBox(context, tree, v, [x, y, width, tall], colours, marks) {
  const [selected, failed] = [v === marks.node, tree.failed[v]];
  context.beginPath();
  context.roundRect(x, y, width, tall, 7);
  context.fillStyle = colours.raised;
  context.fill();
  context.strokeStyle = selected ? colours.select : tree.chosen[v] ? colours.accent : v === marks.hover ? colours.soft : colours.line;
  context.lineWidth = selected ? 2.4 : tree.chosen[v] ? 1.5 : 1;
  if (failed && !selected) context.setLineDash([4, 3]);
  context.stroke();
  context.setLineDash([]);
  if (!v) return;
  context.fillStyle = failed ? colours.fail : colours[`q${tree.bucket[v]}`];
  context.beginPath();
  context.roundRect(x + 5, y + 5, 4, tall - 10, 2);
  context.fill();
}

/** Q, visits, a grade and the sides of pairs, in one line. Returns where the room left of them ends. */
function drawNumbers(context, tree, v, x, y, width, colours, parts) {
  const failed = tree.failed[v];
  let right = x;
  const marked = () => {
    if (tree.isAnswer[v]) right = drawGrade(context, tree.gradeOf(v), right, y, colours);
    const of = tree.pairsOf.get(v) ?? [];
    for (const up of [true, false]) {
      if (of.some((i) => (tree.pairs[i][0] === v) === up)) right = drawArrow(context, up, right, y, colours);
    }
  };
  context.font = `11px ${FONT}`;
  context.fillStyle = colours.soft;
  const value = failed ? tree.statusOf(v) : signed(tree.q[v]);
  if (parts) {
    marked();
    context.fillStyle = colours.soft;
    const room = right - (x - width + 25) - 2;
    const whole = failed ? value : `Q ${value}   N ${tree.visits[v]}`;
    const fitting = [whole, value].find((text) => context.measureText(text).width <= room);
    if (fitting) context.fillText(fitting, x - width + 25, y);
  } else {
    if (width > (failed ? 200 : 150)) {
      context.textAlign = "right";
      context.fillText(value, x, y);
      right -= context.measureText(value).width + 8;
      context.textAlign = "left";
    }
    marked();
  }
  return right;
}

/** Draws text, cut to a width. advance: of a character, about. */
function fillCut(context, text, x, y, width, advance = 6.1) {
  if (width < 12) return;
  let shown = cut(text, Math.floor(width / (advance * 0.82)));
  const wide = context.measureText(shown).width;
  if (wide > width) shown = cut(text, Math.floor((shown.length * width) / wide));
  context.fillText(shown, x, y, width + 4);
}

/** A tick or a cross, left of x. Returns where the room for more ends. */
function drawGrade(context, grade, x, y, colours) {
  context.strokeStyle = grade === "right" ? colours.right : grade === "wrong" ? colours.wrong : colours.soft;
  context.lineWidth = 2;
  context.beginPath();
  if (grade === "right") {
    context.moveTo(x - 11, y);
    context.lineTo(x - 7.5, y + 4);
    context.lineTo(x - 1, y - 5);
  } else if (grade === "wrong") {
    context.moveTo(x - 10, y - 4.5);
    context.lineTo(x - 1, y + 4.5);
    context.moveTo(x - 1, y - 4.5);
    context.lineTo(x - 10, y + 4.5);
  } else {
    context.arc(x - 6, y, 4, 0, 7);
  }
  context.stroke();
  return x - 19;
}

/** An arrow up for the preferred side of a pair, down for the other one. */
function drawArrow(context, up, x, y, colours) {
  context.fillStyle = up ? colours.right : colours.wrong;
  context.beginPath();
  const s = up ? -1 : 1;
  context.moveTo(x - 10, y - 3.5 * s);
  context.lineTo(x - 1, y - 3.5 * s);
  context.lineTo(x - 5.5, y + 4 * s);
  context.fill();
  return x - 16;
}

/** The pair that is looked at, as a dashed curve between its sides. */
function drawPair(context, tree, g, colours, marks) {
  if (marks.pair === null || marks.pair === undefined || !tree.pairs[marks.pair]) return;
  const [a, b] = tree.pairs[marks.pair];
  const reach = g.card || 8;
  const [x0, y0, x1, y1] = [atX(g, tree, a) + reach, atY(g, tree, a), atX(g, tree, b) + reach, atY(g, tree, b)];
  context.strokeStyle = colours.select;
  context.lineWidth = 1.6;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(x0, y0);
  const out = Math.max(x0, x1) + 34;
  context.bezierCurveTo(out, y0, out, y1, x1, y1);
  context.stroke();
  context.setLineDash([]);
}
