// A tidy tree in linear time (Buchheim, Juenger and Leipert 2002, as one pass up and one down: parents come
// before their children, so that no call is nested and a chain of any length can be laid out).

/** Children of each node, in their order: first, last, next, before (left sibling), or -1; place among them. */
function family(parent) {
  const n = parent.length;
  const [first, last, next, before, place] = Array.from({ length: 5 }, () => new Int32Array(n).fill(-1));
  const depth = new Int32Array(n);
  let deepest = 0;
  for (let v = 1; v < n; v++) {
    const p = parent[v];
    if (last[p] < 0) first[p] = v;
    else next[(before[v] = last[p])] = v;
    place[v] = before[v] < 0 ? 0 : place[before[v]] + 1;
    last[p] = v;
    depth[v] = depth[p] + 1;
    if (depth[v] > deepest) deepest = depth[v];
  }
  return { first, last, next, before, place, depth, deepest };
}

/** Rows of the nodes: `y`, at least 1 between neighbours of a level; `levels`, the nodes of each depth by y. */
function layout(parent, kin) {
  const n = parent.length;
  const { first, last, next, before, place, depth, deepest } = kin;
  const [prelim, mod, shift, change, middle, y] = Array.from({ length: 6 }, () => new Float64Array(n));
  const thread = new Int32Array(n).fill(-1);
  const ancestor = Int32Array.from({ length: n }, (_, v) => v);
  const left = (v) => (first[v] >= 0 ? first[v] : thread[v]);
  const right = (v) => (last[v] >= 0 ? last[v] : thread[v]);

  function apportion(v, fallback) {
    const w = before[v];
    if (w < 0) return fallback;
    let [inR, outR, inL, outL] = [v, v, w, first[parent[v]]];
    let [sInR, sOutR, sInL, sOutL] = [mod[inR], mod[outR], mod[inL], mod[outL]];
    while (right(inL) >= 0 && left(inR) >= 0) {
      [inL, inR, outL, outR] = [right(inL), left(inR), left(outL), right(outR)];
      ancestor[outR] = v;
      const by = prelim[inL] + sInL - (prelim[inR] + sInR) + 1;
      if (by > 0) {
        const from = parent[ancestor[inL]] === parent[v] ? ancestor[inL] : fallback;
        const share = by / (place[v] - place[from]);
        change[v] -= share;
        change[from] += share;
        shift[v] += by;
        prelim[v] += by;
        mod[v] += by;
        sInR += by;
        sOutR += by;
      }
      sInL += mod[inL];
      sInR += mod[inR];
      sOutL += mod[outL];
      sOutR += mod[outR];
    }
    if (right(inL) >= 0 && right(outR) < 0) {
      thread[outR] = right(inL);
      mod[outR] += sInL - sOutR;
    }
    if (left(inR) >= 0 && left(outL) < 0) {
      thread[outL] = left(inR);
      mod[outL] += sInR - sOutL;
      fallback = v;
    }
    return fallback;
  }

  for (let p = n - 1; p >= 0; p--) {
    if (first[p] < 0) continue;
    let fallback = first[p];
    for (let v = first[p]; v >= 0; v = next[v]) {
      prelim[v] = before[v] < 0 ? middle[v] : prelim[before[v]] + 1;
      if (first[v] >= 0) mod[v] = prelim[v] - middle[v];
      fallback = apportion(v, fallback);
    }
    let [moved, changed] = [0, 0];
    for (let v = last[p]; v >= 0; v = before[v]) {
      prelim[v] += moved;
      mod[v] += moved;
      changed += change[v];
      moved += shift[v] + changed;
    }
    middle[p] = (prelim[first[p]] + prelim[last[p]]) / 2;
  }

  // Down: what the ancestors moved adds up. `shift` is done with and holds it.
  shift.fill(0);
  let least = 0;
  prelim[0] = middle[0];
  for (let v = 0; v < n; v++) {
    if (v) shift[v] = shift[parent[v]] + mod[parent[v]];
    else mod[v] = 0;
    y[v] = prelim[v] + shift[v];
    if (y[v] < least) least = y[v];
  }
  const levels = Array.from({ length: deepest + 1 }, () => []);
  levels[0].push(0);
  for (let d = 0; d < deepest; d++) {
    for (const p of levels[d]) for (let v = first[p]; v >= 0; v = next[v]) levels[d + 1].push(v);
  }
  let most = 0;
  for (let v = 0; v < n; v++) most = Math.max(most, (y[v] -= least));
  return { y, levels: levels.map((level) => Int32Array.from(level)), height: most };
}
