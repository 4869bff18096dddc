// One tree in the page's memory: columns as typed arrays, the trajectory that was chosen, what was learnt.

const FAILED_WHY = {
  exception: "Its program raised an exception, so it is no valid step.",
  timeout: "Its program ran longer than it may.",
  memory: "Its program asked for more memory than it may have.",
  output_limit: "Its program printed more than it may.",
  malformed: "What the policy wrote is no step of the grammar.",
  depth: "It stands deeper than the search goes.",
  unknown: "The sandbox could not find out what it does; that says nothing about the step.",
};

class Tree {
  constructor(block) {
    Object.assign(this, block);
    this.n = block.parent.length;
    this.parent = Int32Array.from(block.parent);
    this.visits = Float64Array.from(block.visits);
    this.q = block.q;
    this.kin = family(this.parent);
    this.depth = this.kin.depth;
    Object.assign(this, layout(this.parent, this.kin));
    const [ok, answer] = ["ok", "answer"].map((name) => block.statuses.indexOf(name));
    this.failed = Uint8Array.from(block.status, (s) => (s === ok || s === answer ? 0 : 1));
    this.isAnswer = Uint8Array.from(block.status, (s) => (s === answer ? 1 : 0));
    this.bucket = Uint8Array.from(block.q, (q) => (q === null ? 2 : q < -0.6 ? 0 : q < -0.15 ? 1 : q <= 0.15 ? 2 : q <= 0.6 ? 3 : 4));
    this.learn(block.taught ?? [], block.pairs ?? []);
  }

  /** Takes in what curate took from the tree. */
  learn(taught, pairs) {
    this.taught = taught;
    this.pairs = pairs;
    this.pairsOf = new Map();
    pairs.forEach(([positive, negative], i) => {
      for (const node of [positive, negative]) this.pairsOf.set(node, [...(this.pairsOf.get(node) ?? []), i]);
    });
    [this.ends, this.choice] = this.choose();
    this.chosen = new Uint8Array(this.n);
    for (const end of this.ends) for (const node of this.path(end)) this.chosen[node] = 1;
  }

  statusOf = (node) => this.statuses[this.status[node]];
  detailOf = (node) => this.details[this.detail[node]];
  gradeOf = (node) => this.grades[this.grade[node]];

  /** Nodes from the root's child down to this one. */
  path(node) {
    const found = [];
    for (let v = node; v > 0; v = this.parent[v]) found.push(v);
    return found.reverse();
  }

  children(node) {
    const found = [];
    for (let v = this.kin.first[node]; v >= 0; v = this.kin.next[v]) found.push(v);
    return found;
  }

  /** The last nodes of the trajectories that were chosen, and a phrase for how. */
  choose() {
    if (this.taught.length) return [this.taught, "learnt by the policy"];
    const answers = [];
    for (let v = 0; v < this.n; v++) if (this.isAnswer[v] && this.visits[v] > 0) answers.push(v);
    if (!answers.length) return [[], ""];
    if (this.elected !== undefined) return [[this.elected], this.elected_by];
    if (this.set !== "search") return [[this.voted(answers)], `its answer, by votes that the ${this.reward} weighs`];
    const right = answers.filter((v) => this.gradeOf(v) === "right");
    const sums = new Float64Array(this.n);
    for (let v = 1; v < this.n; v++) sums[v] = sums[this.parent[v]] + (this.q[v] ?? 0);
    const mean = (v) => sums[v] / this.depth[v];
    const best = (of) => of.reduce((a, b) => (mean(b) > mean(a) ? b : a));
    return right.length ? [[best(right)], "the right one of highest mean Q"] : [[best(answers)], "the one of highest mean Q; none is right"];
  }

  voted(answers) {
    const weight = (v) => (this.ppm[v] === null ? 1 : (1 + this.ppm[v]) / 2);
    const classes = new Map();
    for (const v of this.finals.length ? this.finals : answers) {
      const found = classes.get(this.answer[v]) ?? { sum: 0, node: v };
      found.sum += weight(v);
      if (weight(v) > weight(found.node)) found.node = v;
      classes.set(this.answer[v], found);
    }
    return [...classes.values()].reduce((a, b) => (b.sum > a.sum ? b : a)).node;
  }

  /** A node's name in a line. */
  title(node) {
    if (!node) return "The question";
    if (this.isAnswer[node]) return `Answer ${seen((this.answer[node] ?? "").slice(0, 80))}`;
    const head = headline(this.text[node]);
    return this.failed[node] ? `${this.detailOf(node) || this.statusOf(node)}: ${head}`.slice(0, 220) : head || "(empty)";
  }

  /** A node's name where there is little room: its column says which step it is. */
  label(node) {
    return this.title(node).replace(/^(\w+: )?step \d+[:.]\s*(?=\S)/i, "$1");
  }

  /** What became of a node, in words for a list that is read aloud. */
  fate(node) {
    if (this.failed[node]) return `failed, ${this.statusOf(node)} ${this.detailOf(node)}`;
    const grade = this.isAnswer[node] ? `, ${this.gradeOf(node) || "not graded"}` : "";
    return `Q ${signed(this.q[node])}, ${counted(this.visits[node], "visit")}${grade}`;
  }
}
