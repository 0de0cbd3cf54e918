"use strict";
// Draws the rows of the page: a screenful at a time, as text nodes only, so that nothing in a row can become markup.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map((row, number) => ({ ...row, number, text: (row.place + "\n" + row.pieces.join("")).toLowerCase() }));
const PAGE = 20; // rows that are drawn together
const FIRST = 500; // tokens of a row that are drawn before somebody asks for the rest
// What is there but cannot be seen: control characters, marks of direction, spaces without width.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const ORDERS = {
  worst: (a, b) => number(b.mean, -1) - number(a.mean, -1),
  peak: (a, b) => number(b.peak, -1) - number(a.peak, -1),
  lowest: (a, b) => number(a.mean, Infinity) - number(b.mean, Infinity),
  longest: (a, b) => b.tokens - a.tokens,
  shortest: (a, b) => a.tokens - b.tokens,
  file: (a, b) => a.number - b.number,
};

const part = (id) => document.getElementById(id);
const list = part("rows"), filter = part("filter"), sort = part("sort"), only = part("only");
const detail = part("detail"), spoken = part("spoken");
let shown = rows, page = 0, current = null;

function number(value, otherwise) {
  return typeof value === "number" ? value : otherwise;
}

function make(tag, name, ...inside) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inside);
  return element;
}

function visible(text) {
  if (text === "") return "\u2205";
  return text
    .replace(UNSEEN, (one) => "\u27e8U+" + one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9")
    .replace(/ {2,}/g, (spaces) => "\u00b7".repeat(spaces.length))
    .replaceAll("\t", "\u2192\t")
    .replaceAll("\n", "\u21b5\n");
}

const quoted = (text) => "\u201c" + visible(text).replaceAll("\n", "") + "\u201d";
const count = (value) => value.toLocaleString("en-US");
const nats = (value) => (typeof value === "number" ? value.toFixed(2) : "\u2013");

function share(loss) {
  if (typeof loss !== "number") return "\u2013";
  const odds = Math.exp(-loss);
  if (odds >= 0.001) return (100 * odds).toPrecision(odds > 0.9995 ? 4 : 3) + " %";
  return loss < 27 ? "1 in " + count(Math.round(1 / odds)) : "under 1 in 500 billion";
}

function level(loss) {
  const found = data.levels.findIndex((most) => loss <= most);
  return found < 0 ? data.levels.length : found;
}

// ---- one row

function starts(row) {
  if (!row.starts) {
    let at = 0;
    row.starts = row.pieces.map((_, i) => {
      const here = at;
      at += row.sizes ? row.sizes[i] : row.ids.length ? 1 : 0;
      return here;
    });
    row.starts.push(at);
  }
  return row.starts;
}

// A piece of several tokens (the bytes of one character) counts as much as its most surprising one.
function worst(row, i) {
  if (!row.nats) return null;
  const losses = row.nats.slice(starts(row)[i], starts(row)[i + 1]).filter((one) => typeof one === "number");
  return losses.length ? Math.max(...losses) : null;
}

function token(row, i) {
  const mark = Number(row.marks[i]), loss = worst(row, i);
  let name = "t" + (mark & 1 ? " learned" : "") + (mark & 2 ? " special" : "");
  if (mark & 1) name += loss === null ? " l" : " l l" + level(loss);
  const span = make("span", name, visible(row.pieces[i]));
  span.dataset.i = i;
  return span;
}

function strip(row, all) {
  const many = !all && row.pieces.length > FIRST + 50;
  const tokens = make("div", "tokens");
  tokens.tabIndex = 0;
  tokens.dir = "auto";
  tokens.dataset.row = row.number;
  tokens.setAttribute("role", "group");
  tokens.setAttribute("aria-label", row.place + ": left and right arrows go from token to token");
  const end = many ? FIRST : row.pieces.length;
  for (let i = 0; i < end; i++) tokens.append(token(row, i));
  if (!many) return [tokens];
  const more = make("button", "more", "Show the other " + count(row.pieces.length - FIRST) + " pieces");
  more.type = "button";
  more.addEventListener("click", () => {
    const [whole] = strip(row, true);
    more.remove();
    tokens.replaceWith(whole);
    whole.focus();
  });
  return [tokens, more];
}

function facts(row) {
  const found = make("p", "facts");
  if (typeof row.mean === "number") {
    const swatch = make("i", "swatch l l" + level(row.mean));
    const mean = make("span", "mean", swatch, make("b", "", nats(row.mean)), " nats a learned token");
    found.append(mean, make("span", "", "highest " + nats(row.peak)));
  }
  found.append(make("span", "", count(row.tokens) + " " + data.unit), make("span", "", count(row.learned) + " learned"));
  if (row.part) found.append(make("span", "badge", row.part));
  if (row.note) found.append(make("span", "badge warning", row.note));
  return found;
}

function table(row) {
  const scored = Boolean(row.nats);
  const titles = ["", "token", "id", "learned", ...(scored ? ["loss", "probability", "rank", "likeliest"] : [])];
  const head = make("tr", "", ...titles.map((one) => make("th", "", one)));
  const body = make("tbody");
  row.pieces.forEach((text, i) => {
    const from = starts(row)[i], to = Math.max(from + 1, starts(row)[i + 1]);
    for (let at = from; at < to; at++) {
      const line = [count(at + 1), at > from ? "\u2026" : visible(text).replaceAll("\n", ""), row.ids[at] ?? ""];
      line.push(Number(row.marks[i]) & 1 ? "yes" : "no");
      if (scored) {
        const said = row.ranks[at] > 0;
        line.push(nats(row.nats[at]), share(row.nats[at]), said ? count(row.ranks[at]) : "\u2013");
        line.push(said ? quoted(spelling(row.likeliest[at])) : "\u2013");
      }
      body.append(make("tr", "", ...line.map((one) => make("td", "", String(one)))));
    }
  });
  const scroll = make("div", "scroll", make("table", "", make("thead", "", head), body));
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "the tokens of " + row.place);
  return scroll;
}

const spelling = (id) => data.names[id] ?? "token " + id;

function card(row) {
  const line = row.place.lastIndexOf(":");
  const place = make("code", "", row.place.slice(0, Math.max(0, line)), make("span", "", row.place.slice(Math.max(0, line))));
  const item = make("li", "row", make("h3", "", place), facts(row), ...strip(row, false));
  if (row.ids.length) {
    const closed = make("details", "", make("summary", "", "Its tokens as a table"));
    closed.addEventListener("toggle", () => closed.open && closed.children.length < 2 && closed.append(table(row)));
    item.append(closed);
  }
  return item;
}

// ---- which rows

function choose() {
  const wanted = filter.value.toLowerCase();
  shown = rows.filter((row) => row.text.includes(wanted) && (only.value !== "cut" || row.note));
  shown.sort((a, b) => ORDERS[sort.value](a, b) || a.number - b.number);
  page = 0;
  draw();
}

function draw() {
  hide();
  const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  page = Math.min(Math.max(page, 0), last);
  const some = shown.slice(page * PAGE, page * PAGE + PAGE);
  list.replaceChildren(...some.map(card));
  const of = shown.length === rows.length ? "" : " (" + count(rows.length) + " without the filter)";
  part("status").textContent = some.length
    ? "Rows " + count(page * PAGE + 1) + "\u2013" + count(page * PAGE + some.length) + " of " + count(shown.length) + of
    : "No row here matches.";
  for (const pager of document.querySelectorAll(".pager")) {
    pager.hidden = last === 0;
    pager.querySelector(".back").disabled = page === 0;
    pager.querySelector(".on").disabled = page === last;
    pager.querySelector(".where").textContent = "page " + (page + 1) + " of " + (last + 1);
  }
}

function turn(by) {
  page += by;
  draw();
  part("status").scrollIntoView();
  part("status").focus({ preventScroll: true });
}

// ---- one token

function lines(row, i) {
  const from = starts(row)[i], to = starts(row)[i + 1];
  const ids = row.ids.slice(from, to);
  const mark = Number(row.marks[i]);
  const what = (mark & 2 ? "special, " : "") + (mark & 1 ? "learned" : "not learned");
  const found = [quoted(row.pieces[i])];
  found.push(ids.length ? (ids.length > 1 ? "ids " : "id ") + ids.join(", ") + " \u00b7 " + what : what);
  if (row.nats && to > from + 1) return [...found, "losses " + row.nats.slice(from, to).map(nats).join(", ") + " nats"];
  for (let at = from; row.nats && at < to; at++) {
    if (!row.ranks[at]) {
      found.push(at === 0 ? "No loss: nothing stands before it." : "No loss: it lies beyond the model\u2019s window.");
      continue;
    }
    if (typeof row.nats[at] !== "number") {
      found.push("The model\u2019s answer is no number here.");
      continue;
    }
    found.push("loss " + nats(row.nats[at]) + " nats \u00b7 probability " + share(row.nats[at]));
    found.push(
      row.ranks[at] === 1
        ? "The model finds it the likeliest of " + count(data.vocabulary) + "."
        : "rank " + count(row.ranks[at]) + " of " + count(data.vocabulary) + " \u00b7 likeliest: " +
          quoted(spelling(row.likeliest[at])) + " (" + share(row.likeliest_nats[at]) + ")"
    );
  }
  return found;
}

function show(span, aloud) {
  hide();
  const row = rows[span.parentElement.dataset.row];
  const said = lines(row, Number(span.dataset.i));
  current = span;
  span.classList.add("current");
  detail.replaceChildren(...said.map((line, i) => make(i ? "span" : "b", "", line)));
  detail.hidden = false;
  const box = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const below = box.bottom + detail.offsetHeight + 12 < window.innerHeight;
  const left = Math.min(Math.max(8, box.left), document.documentElement.clientWidth - detail.offsetWidth - 8);
  detail.style.setProperty("--left", Math.max(8, left) + "px");
  detail.style.setProperty("--top", (below ? box.bottom + 6 : Math.max(8, box.top - detail.offsetHeight - 6)) + "px");
  if (aloud) spoken.textContent = said.join(". ");
}

function hide() {
  if (current) current.classList.remove("current");
  current = null;
  detail.hidden = true;
}

function walk(event) {
  const tokens = event.target.closest(".tokens");
  if (!tokens || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = tokens.children;
  const at = current && current.parentElement === tokens ? [...all].indexOf(current) : -1;
  const next = { ArrowRight: at + 1, ArrowLeft: at < 0 ? all.length - 1 : at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (next === undefined || !all[next]) return;
  event.preventDefault();
  all[next].scrollIntoView({ block: "nearest" });
  show(all[next], true);
}

list.addEventListener("pointerover", (event) => event.target.matches(".t") && show(event.target, false));
list.addEventListener("pointerout", (event) => event.pointerType === "mouse" && hide());
list.addEventListener("click", (event) => event.target.matches(".t") && show(event.target, false));
list.addEventListener("keydown", walk);
list.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
filter.addEventListener("input", choose);
sort.addEventListener("change", choose);
only.addEventListener("change", choose);
for (const button of document.querySelectorAll(".back")) button.addEventListener("click", () => turn(-1));
for (const button of document.querySelectorAll(".on")) button.addEventListener("click", () => turn(1));
part("browse").hidden = false;
choose();
