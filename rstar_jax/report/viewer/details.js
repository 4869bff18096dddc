// What is known of one step: its numbers, its code, what the interpreter showed, the pairs that it is in.

const CHIP = { right: "walk-chip walk-right", wrong: "walk-chip walk-wrong" };

/** Fills an element with a node. go(node): to another one. look(pair or null): at a pair. */
function showDetails(element, tree, node, go, look) {
  const path = tree.path(node);
  const head = node ? `Step ${path.length}${tree.isAnswer[node] ? ", an answer" : ""}` : "The question";
  element.replaceChildren(
    make("h4", { tabindex: "-1" }, head, " ", node ? chip(tree, node) : null),
    ...(node ? stepParts(tree, node, path, go, look) : rootParts(tree, go)),
  );
  element.scrollTop = 0;
}

function chip(tree, node) {
  if (tree.failed[node]) return make("span", { class: "walk-chip walk-fail" }, seen(`${tree.statusOf(node)} ${tree.detailOf(node)}`.trim()));
  if (tree.isAnswer[node]) return make("span", { class: CHIP[tree.gradeOf(node)] ?? "walk-chip" }, tree.gradeOf(node) || "not graded");
  return tree.chosen[node] ? make("span", { class: "walk-chip walk-accent" }, "chosen") : "";
}

function rootParts(tree, go) {
  const failed = tree.failed.reduce((a, b) => a + b, 0);
  const answers = tree.isAnswer.reduce((a, b) => a + b, 0);
  return [
    codeBlock(tree.problem.question.trim(), "The question"),
    numbers([
      ["Reference answer", seen(String(tree.problem.answer).slice(0, 200))],
      ["Steps", (tree.n - 1).toLocaleString("en")],
      ["Failed", failed.toLocaleString("en")],
      ["Answers", answers.toLocaleString("en")],
      ["Rollouts", tree.rollouts.toLocaleString("en")],
      ["Ended by", tree.ended],
      ["Tokens", tree.tokens.toLocaleString("en")],
      ["Policy", tree.policy || "–"],
      [tree.reward, tree.ppm_model || "none"],
    ]),
    ...(tree.ends.length ? [make("h5", {}, "The chosen trajectory"), make("p", {}, `${capital(tree.choice)}.`), ...tree.ends.map((end) => jump(tree, end, go))] : []),
    ...(tree.pairs.length ? [make("p", { class: "walk-soft" }, `${counted(tree.pairs.length, "preference pair")} taken from here.`)] : []),
  ];
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function stepParts(tree, node, path, go, look) {
  const failed = tree.failed[node];
  const below = tree.children(node);
  return [
    make("nav", { class: "walk-path", "aria-label": "The way here" }, ...[0, ...path.slice(0, -1)].map((v) => jump(tree, v, go, v ? `${tree.depth[v]}` : "Question"))),
    failed ? make("p", { class: "walk-why" }, FAILED_WHY[tree.statusOf(node)] ?? "It is no valid step.") : null,
    numbers([
      ["Q", signed(tree.q[node])],
      ["Visits", tree.visits[node].toLocaleString("en")],
      [tree.reward, signed(tree.ppm[node])],
      ["Log-prob.", tree.logprob[node] === null ? "–" : tree.logprob[node].toFixed(2).replace("-", "−")],
      ["Tokens", tree.written[node].toLocaleString("en")],
      ["CPU", tree.cpu_s[node] ? `${(tree.cpu_s[node] * 1000).toFixed(1)} ms` : "–"],
      ["Candidate", tree.candidate[node] >= 0 ? `${tree.candidate[node] + 1}` : "–"],
      ["Node", node.toLocaleString("en")],
    ]),
    make("h5", {}, "What the policy wrote"),
    codeBlock(tree.text[node].replace(/^\n+/, ""), "What the policy wrote"),
    ...(tree.observation[node] === undefined ? [] : [make("h5", {}, "What the interpreter showed"), codeBlock(tree.observation[node], "What the interpreter showed")]),
    ...(tree.isAnswer[node] ? answerParts(tree, node) : []),
    ...pairParts(tree, node, go, look),
    ...(below.length ? [make("h5", {}, `${counted(below.length, "candidate")} below`), ...below.slice(0, 32).map((v) => jump(tree, v, go))] : []),
  ].filter((part) => part !== null);
}

function answerParts(tree, node) {
  return [
    make("h5", {}, "The answer"),
    numbers([
      ["Found", seen((tree.answer[node] ?? "").slice(0, 400))],
      ["Reference", seen(String(tree.problem.answer).slice(0, 400))],
    ]),
  ];
}

function pairParts(tree, node, go, look) {
  const of = tree.pairsOf.get(node) ?? [];
  if (!of.length) return [];
  return [
    make("h5", {}, counted(of.length, "preference pair")),
    ...of.slice(0, 32).map((i) => {
      const [positive, negative, margin, whole] = tree.pairs[i];
      const up = positive === node;
      const text = `${up ? "preferred to" : "rejected for"} node ${up ? negative : positive}${whole ? ", as whole trajectories" : ""}, margin ${margin.toFixed(2)}`;
      const button = make("button", { type: "button", class: "walk-jump" }, make("span", { class: up ? "walk-right" : "walk-wrong", "aria-hidden": "true" }, up ? "▲ " : "▼ "), text);
      button.addEventListener("click", () => go(up ? negative : positive, i));
      button.addEventListener("pointerenter", () => look(i));
      button.addEventListener("focus", () => look(i));
      return button;
    }),
  ];
}

function numbers(rows) {
  return make("dl", { class: "walk-numbers" }, ...rows.map(([name, value]) => make("div", value.length > 9 || name.length > 9 ? { class: "walk-long" } : {}, make("dt", {}, name), make("dd", {}, value))));
}

function jump(tree, node, go, text) {
  const grade = tree.isAnswer[node] && !text ? gradeMark(tree.gradeOf(node)) : "";
  const button = make(
    "button",
    { type: "button", class: text ? "walk-crumb" : "walk-jump", title: text ? tree.title(node) : null, "aria-label": text ? `${text}: ${tree.title(node)}` : null },
    text ?? make("span", { class: `walk-dot walk-q${tree.failed[node] ? "f" : tree.bucket[node]}` }),
    text ? "" : make("span", { class: "walk-title" }, tree.title(node)),
    grade,
    text ? "" : make("span", { class: "walk-value" }, tree.failed[node] ? tree.statusOf(node) : signed(tree.q[node])),
  );
  button.addEventListener("click", () => go(node));
  return button;
}
