// Where problems and trees come from: elements of this page, or the server that sent it. Both answer alike:
//
//   problems(wanted, offset) -> { total, problems, facets, left, reading }      tree(problem, tree) -> a Tree

const PAGE = 100; // problems asked for at a time
const SETS = ["search", "held-out search", "policy alone", "benchmark"];
const SOLVED = 3;

/** The JSON of an inert element: base64 of a gzip. */
async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
}

class EmbeddedSource {
  constructor(id) {
    this.all = unpack(id);
  }

  async problems(wanted, offset) {
    const { facets, problems } = await this.all;
    const bit = wanted.cause ? facets.causes.findIndex(([name]) => name === wanted.cause) : -1;
    const found = problems.filter((problem) => isWanted(problem, wanted, bit));
    return { total: found.length, offset, problems: found.slice(offset, offset + PAGE), facets, left: 0, reading: false };
  }

  async tree(problem, [set, , , , , , block]) {
    return new Tree({ ...(await unpack(`walk-tree-${block}`)), set: SETS[set] });
  }
}

/** As problems.py chooses them. */
function isWanted(problem, { text, outcome, cause, level, round, set }, bit) {
  const trees = problem.trees.filter((tree) => (set === "" || tree[0] === Number(set)) && (round === "" || tree[1] === Number(round)));
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const where = [problem.id.toLowerCase(), problem.question.toLowerCase()];
  if (!trees.length || !words.every((word) => where.some((part) => part.includes(word)))) return false;
  if (level !== "" && problem.level !== Number(level)) return false;
  if (cause && !trees.some((tree) => Math.floor(tree[5] / 2 ** bit) % 2)) return false;
  const solved = trees.map((tree) => tree[3] === SOLVED);
  const some = solved.includes(true);
  const last = solved[solved.length - 1];
  return {
    "": true,
    solved: some,
    unsolved: !some,
    wrong: !some && trees.some((tree) => tree[3] === 1),
    none: trees.every((tree) => tree[3] === 0),
    gained: !solved[0] && last,
    lost: solved[0] && !last,
    suspect: problem.suspect,
  }[outcome];
}

class ServedSource {
  async ask(path, values) {
    const response = await fetch(`${path}?${new URLSearchParams(values)}`);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  problems(wanted, offset) {
    return this.ask("problems", { ...wanted, offset, limit: PAGE });
  }

  /** The tree as soon as it is there; what was learnt from it comes after (`learnt`). */
  async tree(problem, [set, round, tree]) {
    const asked = { set, round, tree, problem: problem.id };
    const made = new Tree(await this.ask("tree", asked));
    if (set === 0) made.learnt = this.ask("lessons", asked);
    return made;
  }
}
