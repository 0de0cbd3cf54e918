// Markdown inside a line, as DOM nodes: nothing is ever parsed as HTML, and nothing is fetched. Every search has a limit,
// so that no text takes longer than its length asks for.

const FAR = 1000; // characters in which a mark looks for its other half
const DEEP = 6;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const BARE = /https?:\/\/[^\s<>"'`\\]{1,2000}/y;
const WORD = /[\p{L}\p{N}]/u;

/** An element with children; text is only ever text. */
export function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** Where a link may lead: to web pages and mail, nowhere else; null for anything else. */
export function address(text) {
  const given = text.trim();
  if (!/^(https?:\/\/|mailto:)/i.test(given)) return null;
  try {
    const url = new URL(given);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(href, ...children) {
  const element = make("a", "", ...children);
  element.href = href;
  element.target = "_blank";
  element.rel = "noopener noreferrer nofollow";
  element.title = href;
  return element;
}

/** The nodes of a text. */
export function inline(text, deep = 0) {
  const nodes = [];
  let plain = "";
  let at = 0;
  const put = (node, to) => {
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(node);
    at = to;
  };
  while (at < text.length) {
    const sign = text[at];
    if (sign === "\\" && at + 1 < text.length && ESCAPABLE.test(text[at + 1])) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (sign === "\n") {
      put(make("br"), at + 1);
      continue;
    }
    const found = deep < DEEP ? marked(text, at, deep) : null;
    if (found) put(found.node, found.to);
    else {
      plain += sign;
      at += 1;
    }
  }
  if (plain) nodes.push(plain);
  return nodes;
}

function marked(text, at, deep) {
  switch (text[at]) {
    case "`":
      return code(text, at);
    case "*":
    case "_":
    case "~":
      return stressed(text, at, deep);
    case "!":
      return text[at + 1] === "[" ? picture(text, at) : null;
    case "[":
      return reference(text, at, deep);
    case "<":
      return pointed(text, at);
    case "h":
      return at === 0 || !WORD.test(text[at - 1]) ? bare(text, at) : null;
    default:
      return null;
  }
}

function run(text, at) {
  let to = at;
  while (text[to] === text[at]) to += 1;
  return to - at;
}

function code(text, at) {
  const count = run(text, at);
  const near = text.slice(0, at + count + FAR);
  for (let end = near.indexOf("`", at + count); end >= 0; ) {
    const other = run(near, end);
    if (other === count) {
      const inside = near.slice(at + count, end);
      const bare = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() ? inside.slice(1, -1) : inside;
      return { node: make("code", "", bare.replaceAll("\n", " ")), to: end + count };
    }
    end = near.indexOf("`", end + other);
  }
  return { node: document.createTextNode(text.slice(at, at + count)), to: at + count };
}

function stressed(text, at, deep) {
  const sign = text[at];
  const count = Math.min(run(text, at), sign === "~" ? 2 : 3);
  const whole = { node: document.createTextNode(text.slice(at, at + run(text, at))), to: at + run(text, at) };
  if ((sign === "~" && count < 2) || run(text, at) > 3) return whole;
  const after = text[at + count];
  if (after === undefined || /\s/.test(after)) return whole;
  if (sign === "_" && at > 0 && WORD.test(text[at - 1])) return whole;
  const mark = sign.repeat(count);
  const end = closing(text, at + count, mark);
  if (end < 0) return whole;
  const inside = inline(text.slice(at + count, end), deep + 1);
  const tags = sign === "~" ? ["del"] : { 1: ["em"], 2: ["strong"], 3: ["strong", "em"] }[count];
  const node = tags.reduceRight((inner, tag) => [make(tag, "", ...inner)], inside)[0];
  return { node, to: end + count };
}

function closing(text, from, mark) {
  const most = Math.min(text.length, from + FAR);
  for (let end = text.indexOf(mark, from); end >= 0 && end < most; end = text.indexOf(mark, end + run(text, end))) {
    const length = run(text, end);
    const next = text[end + length];
    const opens = /\s/.test(text[end - 1]);
    const inWord = mark[0] === "_" && next !== undefined && WORD.test(next);
    if (length === mark.length && !opens && !inWord) return end;
  }
  return -1;
}

/** `[text](address "title")` from a place: the text and the address, or null. */
function parts(text, at) {
  let open = 0;
  let middle = -1;
  for (let to = at; to < Math.min(text.length, at + FAR); to += 1) {
    if (text[to] === "\\") to += 1;
    else if (text[to] === "[") open += 1;
    else if (text[to] === "]" && (open -= 1) === 0) {
      middle = to;
      break;
    }
  }
  if (middle < 0 || text[middle + 1] !== "(") return null;
  let depth = 0;
  for (let to = middle + 1; to < Math.min(text.length, middle + FAR); to += 1) {
    if (text[to] === "(") depth += 1;
    else if (text[to] === ")" && (depth -= 1) === 0) {
      const target = text.slice(middle + 2, to).trim().split(/\s/, 1)[0].replace(/^<|>$/g, "");
      return { label: text.slice(at + 1, middle), target, to: to + 1 };
    }
  }
  return null;
}

function reference(text, at, deep) {
  const found = parts(text, at);
  if (!found) return null;
  const href = address(found.target);
  const label = inline(found.label, Math.max(deep + 1, 4));
  // what leads nowhere that is allowed stays as it was written
  return { node: href ? link(href, ...label) : make("span", "", text.slice(at, found.to)), to: found.to };
}

/** A picture is not fetched: whoever wants to see it follows the link. */
function picture(text, at) {
  const found = parts(text, at + 1);
  if (!found) return null;
  const href = address(found.target);
  const name = "picture: " + (found.label || found.target);
  return { node: href ? link(href, name) : make("span", "", text.slice(at, found.to)), to: found.to };
}

function pointed(text, at) {
  const end = text.slice(at, at + FAR).indexOf(">");
  const href = end > 1 ? address(text.slice(at + 1, at + end)) : null;
  return href ? { node: link(href, text.slice(at + 1, at + end)), to: at + end + 1 } : null;
}

function bare(text, at) {
  BARE.lastIndex = at;
  const found = BARE.exec(text);
  if (!found) return null;
  const shown = found[0].replace(/[.,;:!?)\]]{1,20}$/, "");
  const href = address(shown);
  return href ? { node: link(href, shown), to: at + shown.length } : null;
}
