// The arena: one prompt, two answers, a vote, and only then the names. Who answers is not known here before.

import { make } from "/inline.js";
import { scrolling } from "/markdown.js";
import { draw, fresh, knobs } from "/state.js";
import { fill, json } from "/stream.js";
import { answerView, button, home, userView } from "/view.js";
import { arenaWelcome } from "/welcome.js";

const SIDES = ["left", "right"];
const VOTES = [
  ["left", "Left is better", "1"],
  ["right", "Right is better", "2"],
  ["tie", "A tie", "3"],
  ["bad", "Both are bad", "4"],
];

/** `page` has what the rest of the page does: `tell` says something to a person, `keep` saves the state, `buttons`
 * draws what depends on whether anybody answers, `send` sends a text; `info` is the server's. */
export function arena(place, state, page) {
  let views = {};
  let control = null;
  let rates = page.info.rates;

  const running = () => control !== null;
  const stop = () => control?.abort();
  const failed = (round) => SIDES.some((side) => round[side].state === "failed");
  const open = (round) => Boolean(round?.round) && !round.names && !round.gone && !running() && !failed(round);

  async function begin(prompt) {
    const seed = state.sampling.seed ?? draw();
    const round = { prompt, round: "", left: fresh(), right: fresh(), vote: "", pair: false, names: null, gone: false };
    state.arena = round;
    control = new AbortController();
    const { signal } = control;
    page.tell("");
    show();
    try {
      const system = state.system.trim() ? [{ role: "system", content: state.system.trim() }] : [];
      const messages = [...system, { role: "user", content: prompt }];
      const begun = await json("/web/arena", { messages, ...knobs(state, seed), truncate: true });
      round.round = begun.round;
      await Promise.all(SIDES.map((side) => one(round, side, signal)));
      if (failed(round)) page.tell("An answer failed.", { failed: true });
      else page.tell("Both have answered.");
    } catch (error) {
      for (const side of SIDES) Object.assign(round[side], { state: "failed", error: error.message });
      page.tell(error.message, { failed: true });
    }
    control = null;
    page.keep();
    show();
    if (open(round) && document.activeElement.value === "") place.querySelector(".vote").focus();
  }

  async function one(round, side, signal) {
    await fill(round[side], "/web/side", { round: round.round, side }, signal, () => {
      views[side]?.draw();
      page.keep();
    });
    round[side].first = round[side].seconds = null; // a pace would tell who it is
  }

  async function vote(choice) {
    const round = state.arena;
    try {
      const told = await json("/web/vote", { round: round.round, vote: choice });
      Object.assign(round, { vote: told.vote, pair: told.pair, names: { left: told.left, right: told.right } });
      rates = told.rates;
      page.tell(`Left was ${told.left}, right was ${told.right}.`);
    } catch (error) {
      round.gone = error.status === 404; // rounds live in the server, and as long as it does
      page.tell(round.gone ? "" : error.message, { failed: true });
    }
    page.keep();
    show();
    place.querySelector(".next")?.focus();
  }

  function ballot(round) {
    if (running()) return [];
    if (round.names) return [make("p", "verdict", verdict(round)), button("Next round", next, "next main")];
    if (!open(round)) {
      const why = round.gone ? "The server does not know this round any more: it was started anew, or many rounds came after this one." : "This round has no two answers.";
      return [make("p", "verdict", why), button("Ask again", () => page.send(round.prompt), "next main")];
    }
    const buttons = VOTES.map(([choice, label, key]) => {
      const element = button(label + " ", () => vote(choice), "vote");
      element.append(make("kbd", "", key));
      element.dataset.vote = choice;
      element.setAttribute("aria-keyshortcuts", key);
      return element;
    });
    return [make("fieldset", "votes", make("legend", "", "Which answer is better?"), make("div", "", ...buttons))];
  }

  function next() {
    state.arena = null;
    page.keep();
    show();
    page.buttons();
    home();
  }

  function verdict(round) {
    const preferred = { left: `You preferred ${round.names?.left}`, right: `You preferred ${round.names?.right}`, tie: "A tie", bad: "Both are bad" }[round.vote];
    return round.pair ? `${preferred}. Kept as a preference pair in ${page.info.votes}.` : `${preferred}. Kept apart: there is no preference to learn in it.`;
  }

  function show() {
    const round = state.arena;
    const parts = [];
    views = {};
    if (round) {
      parts.push(userView(round.prompt, []));
      const columns = make("div", "columns");
      for (const side of SIDES) {
        const where = side === "left" ? "Left" : "Right";
        const won = Boolean(round.names) && round.vote === side;
        views[side] = answerView(round[side], round.names ? `${round.names[side]}${won ? " ✓" : ""}` : where, () => []);
        views[side].element.classList.toggle("won", won);
        columns.append(views[side].element);
      }
      parts.push(columns, ...ballot(round));
    } else parts.push(arenaWelcome(page.send));
    parts.push(...standing(rates));
    place.replaceChildren(...parts);
  }

  document.addEventListener("keydown", (event) => {
    const found = VOTES.find(([, , key]) => key === event.key);
    const typing = event.target.matches("input, textarea") && event.target.value !== "";
    const plain = !event.ctrlKey && !event.altKey && !event.metaKey && !event.isComposing;
    if (!found || typing || !plain || state.mode !== "arena" || !open(state.arena) || event.target.closest("#panel, dialog")) return;
    event.preventDefault();
    vote(found[0]);
  });
  return { begin, stop, show, running };
}

/** The win rates by now, with a bar for each interval: whether it lies on one side of the middle is what counts. */
function standing(rates) {
  if (!rates.length) return [];
  const percent = (share) => Math.round(100 * share) + " %";
  const rows = rates.map((one) => {
    const inside = make("span");
    const point = make("i");
    Object.assign(inside.style, { left: 100 * one.low + "%", right: 100 * (1 - one.high) + "%" });
    point.style.left = 100 * one.rate + "%";
    const bar = make("span", "range", inside, point);
    bar.setAttribute("aria-hidden", "true"); // the numbers say it
    const counts = [one.first_wins, one.second_wins, one.tie, one.bad];
    const rate = `${percent(one.rate)} (${percent(one.low)} to ${percent(one.high)})`;
    const cells = [one.first, one.second, rate, bar, one.votes, ...counts];
    return make("tr", "", ...cells.map((cell) => make("td", "", cell === bar ? bar : String(cell))));
  });
  const heads = ["A", "B", "Win rate of A, 95 %", "B ← better → A", "Votes", "A wins", "B wins", "Ties", "Both bad"];
  const head = make("tr", "", ...heads.map((name) => Object.assign(make("th", "", name), { scope: "col" })));
  const table = make("table", "", make("thead", "", head), make("tbody", "", ...rows));
  return [make("div", "standing", make("h2", "", "Votes so far"), make("p", "hint", "A tie and two bad answers count half for each."), scrolling(table))];
}
