// Markdown as DOM nodes, block by block. HTML in it is text like any other; pictures and diagrams are not drawn.

import { highlighted } from "/highlight.js";
import { inline, make } from "/inline.js";

const DEEP = 8; // of quotes and lists in each other
const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`~]{0,100})$/;
const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])( {1,4}|$)/;

/** The text as nodes. `copy` is called with the code of a block whose button was pressed. */
export function markdown(text, copy) {
  return blocks(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"), copy, 0);
}

function blocks(lines, copy, deep) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const found = deep < DEEP ? block(lines, at, copy, deep) : null;
    const [node, to] = found || paragraph(lines, at, deep);
    nodes.push(node);
    at = to;
  }
  return nodes;
}

function block(lines, at, copy, deep) {
  const line = lines[at];
  if (FENCE.test(line)) return fenced(lines, at, copy);
  if (isRule(line)) return [make("hr"), at + 1];
  if (headed(line)) return [heading(line), at + 1];
  if (isQuote(line)) return quote(lines, at, copy, deep);
  if (ITEM.test(line)) return list(lines, at, copy, deep);
  if (isTable(lines, at)) return table(lines, at);
  return null;
}

const isQuote = (line) => /^ {0,3}>/.test(line);
const isRule = (line) => /^ {0,3}(\* ?){3,}$|^ {0,3}(- ?){3,}$|^ {0,3}(_ ?){3,}$/.test(line.trimEnd());
const headed = (line) => /^ {0,3}#{1,6} /.test(line);
const isTable = (lines, at) => lines[at].includes("|") && /^[\s|:-]{3,500}$/.test(lines[at + 1] ?? "") && lines[at + 1].includes("-") && lines[at + 1].includes("|");

function heading(line) {
  const text = line.trim();
  const level = text.indexOf(" ");
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  const bare = text.slice(level, text[end - 1] === " " ? end : text.length).trim();
  return make("h" + Math.min(6, level + 2), "", ...inline(bare)); // the page itself has h1 and h2
}

function fenced(lines, at, copy) {
  const [, mark, info] = FENCE.exec(lines[at]);
  let to = at + 1;
  const ends = (line) => line.trim().startsWith(mark) && !line.trim().replaceAll(mark[0], "");
  while (to < lines.length && !ends(lines[to])) to += 1;
  const code = lines.slice(at + 1, to).join("\n");
  const language = info.trim().split(/[\s,{]/, 1)[0];
  const button = make("button", "copy-code", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy ${language || "code"}`);
  button.addEventListener("click", () => copy(code, button));
  const inner = make("pre", "", make("code", "", ...highlighted(code, language)));
  inner.tabIndex = 0; // long lines scroll by the keyboard too
  return [make("div", "code", make("div", "code-head", make("span", "", language || "code"), button), inner), Math.min(to + 1, lines.length)];
}

function quote(lines, at, copy, deep) {
  let to = at;
  while (to < lines.length && isQuote(lines[to])) to += 1;
  const inside = lines.slice(at, to).map((line) => line.replace(/^ {0,3}> ?/, ""));
  return [make("blockquote", "", ...blocks(inside, copy, deep + 1)), to];
}

function list(lines, at, copy, deep) {
  const first = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first[2]);
  const element = make(ordered ? "ol" : "ul");
  if (ordered) element.start = Number.parseInt(first[2], 10);
  let to = at;
  while (to < lines.length) {
    const found = ITEM.exec(lines[to]);
    if (!found || /\d/.test(found[2]) !== ordered || found[1].length > first[1].length + 1) break;
    const width = found[0].length;
    const inside = [lines[to].slice(width)];
    to += 1;
    while (to < lines.length && belongs(lines, to, width)) {
      inside.push(lines[to].slice(Math.min(width, lines[to].search(/\S|$/))));
      to += 1;
    }
    element.append(make("li", "", ...tight(blocks(inside, copy, deep + 1))));
    while (to < lines.length && !lines[to].trim() && ITEM.test(lines[to + 1] ?? "")) to += 1;
  }
  return [element, to];
}

/** Whether a line goes on with the item before it: indented, or more of its words. */
function belongs(lines, at, width) {
  const line = lines[at];
  const indent = line.search(/\S|$/);
  if (!line.trim()) return (lines[at + 1] ?? "").search(/\S|$/) >= Math.min(width, 2) && Boolean((lines[at + 1] ?? "").trim());
  if (indent >= Math.min(width, 2)) return true;
  return Boolean(lines[at - 1].trim()) && !ITEM.test(line) && !headed(line) && !isQuote(line) && !isRule(line) && !FENCE.test(line);
}

/** An item with one paragraph has no room around it. */
function tight(nodes) {
  return nodes.flatMap((node, place) => (node.tagName === "P" && place === 0 ? [...node.childNodes] : [node]));
}

/** A wide table scrolls in itself, by the keyboard too. */
export function scrolling(element) {
  const place = make("div", "scrolls", element);
  place.tabIndex = 0;
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Table");
  return place;
}

function table(lines, at) {
  const row = (line, tag) => {
    const cells = line.trim().replace(/^\||\|$/g, "").split("|").slice(0, 50);
    return make("tr", "", ...cells.map((cell) => make(tag, "", ...inline(cell.trim()))));
  };
  let to = at + 2;
  while (to < lines.length && lines[to].includes("|")) to += 1;
  const head = make("thead", "", row(lines[at], "th"));
  const body = make("tbody", "", ...lines.slice(at + 2, to).map((line) => row(line, "td")));
  return [scrolling(make("table", "", head, body)), to];
}

function paragraph(lines, at, deep) {
  let to = at + 1;
  while (to < lines.length && lines[to].trim() && !(deep < DEEP && begins(lines, to))) to += 1;
  return [make("p", "", ...inline(lines.slice(at, to).map((line) => line.trim()).join("\n"))), to];
}

const begins = (lines, at) => FENCE.test(lines[at]) || headed(lines[at]) || isQuote(lines[at]) || ITEM.test(lines[at]) || isRule(lines[at]) || isTable(lines, at);
