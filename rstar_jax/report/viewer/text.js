// Texts of models, shown and never run: plain characters, and what cannot be seen by its code.

// Takes NUL, U+202E and half of a surrogate pair; leaves newline and tab.
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
    "\\ufeff\\ufff9-\\ufffb]|\\udb40[\\udc00-\\udc7f]|[\\ud800-\\udbff](?![\\udc00-\\udfff])" +
    "|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
  "g",
);
const LONGEST = 4000; // characters of a text that are shown at first
const MARK = /<\|?[a-z_]+\|?>/g; // takes <end_of_step>: left out of labels

const escaped = (found) => `\\u{${found.codePointAt(0).toString(16)}}`;

/** The text with every character that cannot be seen by its code. */
const seen = (text) => text.replace(UNSEEN, escaped);

/** An element with attributes and children; strings are text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Appends text to an element, codes of unseen characters in elements of their own. */
function appendSeen(element, text) {
  let from = 0;
  for (const found of text.matchAll(UNSEEN)) {
    element.append(text.slice(from, found.index), make("span", { class: "walk-unseen" }, escaped(found[0])));
    from = found.index + found[0].length;
  }
  element.append(text.slice(from));
}

/** A block of code or output; a long one is cut, with a button for all of it. */
function codeBlock(text, label) {
  const block = make("pre", { tabindex: "0", dir: "ltr", role: "region", "aria-label": label });
  const fill = (shown) => {
    block.replaceChildren();
    shown.split("\n").forEach((line, i) => {
      if (i) block.append("\n");
      const kind = /^\s*#/.test(line) ? "walk-comment" : MARK.test(line) && !line.replace(MARK, "").trim() ? "walk-mark" : "";
      MARK.lastIndex = 0;
      const target = kind ? make("span", { class: kind }) : block;
      appendSeen(target, line);
      if (kind) block.append(target);
    });
  };
  if (text.length <= LONGEST) {
    fill(text);
    return block;
  }
  fill(text.slice(0, LONGEST));
  const all = make("button", { type: "button", class: "walk-all" }, `Show all ${text.length.toLocaleString("en")} characters`);
  all.addEventListener("click", () => {
    block.replaceChildren();
    appendSeen(block, text);
    all.remove();
    block.focus();
  });
  return make("div", { class: "walk-cut" }, block, all);
}

/** The lines of a step that say something, delimiters left out; at most so many. */
function stepLines(text, most) {
  const lines = [];
  for (const line of text.slice(0, LONGEST).split("\n")) {
    const bare = line.replace(MARK, "").trimEnd();
    if (bare.trim() && lines.push(seen(bare)) === most) break;
  }
  return lines;
}

/** What a step says it does, in a line: its comment without the sign. */
const headline = (text) => (stepLines(text, 1)[0] ?? "").replace(/^\s*#+\s*/, "").slice(0, 200);

const signed = (value) => (value === null ? "–" : (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(2));
const counted = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
