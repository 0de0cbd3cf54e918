// The arena: one prompt, two answers, a vote, and only then the names. Who answers is not known here before.

import { make } from "/inline.js";
import { draw, fresh, knobs } from "/state.js";
import { fill, json } from "/stream.js";
import { answerView, button, userView } from "/view.js";

const SIDES = ["left", "right"];
const VOTES = [
  ["left", "Left is better", "1"],
  ["tie", "A tie", "2"],
  ["bad", "Both are bad", "3"],
  ["right", "Right is better", "4"],
];

/** `tell` says something to a person, `keep` saves the state, `rates` are those that the server gave at first. */
export function arena(place, state, { tell, keep, again, rates }) {
  let views = {};
  let control = null;
  let known = rates;

  const running = () => control !== null;
  const stop = () => control?.abort();

  async function begin(prompt) {
    const seed = state.sampling.seed ?? draw();
    const round = { prompt, round: "", left: fresh(), right: fresh(), vote: "", pair: false, names: null };
    state.arena = round;
    control = new AbortController();
    const { signal } = control;
    show();
    try {
      const system = state.system.trim() ? [{ role: "system", content: state.system.trim() }] : [];
      const messages = [...system, { role: "user", content: prompt }];
      const begun = await json("/web/arena", { messages, ...knobs(state, seed), truncate: true });
      round.round = begun.round;
      await Promise.all(SIDES.map((side) => one(round, side, signal)));
      tell(round.left.state === "failed" || round.right.state === "failed" ? "An answer failed; begin another round." : "Both have answered. Which is better?");
    } catch (error) {
      for (const side of SIDES) Object.assign(round[side], { state: "failed", error: error.message });
      tell(error.message);
    }
    control = null;
    keep();
    show();
  }

  async function one(round, side, signal) {
    await fill(round[side], "/web/side", { round: round.round, side }, signal, () => {
      views[side]?.draw();
      keep();
    });
    round[side].first = round[side].seconds = null; // a pace would tell who it is
  }

  async function vote(choice) {
    const round = state.arena;
    try {
      const told = await json("/web/vote", { round: round.round, vote: choice });
      Object.assign(round, { vote: told.vote, pair: told.pair, names: { left: told.left, right: told.right } });
      known = told.rates;
      tell(`Left was ${told.left}, right was ${told.right}.`);
    } catch (error) {
      tell(error.message);
    }
    keep();
    show();
    place.querySelector(".next")?.focus();
  }

  function ballot(round) {
    const failed = SIDES.some((side) => round[side].state === "failed");
    if (running() || !round.round || failed) return [];
    if (round.names) {
      const what = round.pair ? "Kept as a preference pair." : "Kept apart: there is no preference to learn in it.";
      const next = button("Next round", () => {
        state.arena = null;
        keep();
        show();
        again();
      }, "next main");
      return [make("p", "verdict", what), next];
    }
    const buttons = VOTES.map(([choice, label]) => {
      const element = button(label, () => vote(choice), "vote");
      element.dataset.vote = choice;
      return element;
    });
    return [make("div", "votes", ...buttons)];
  }

  function show() {
    const round = state.arena;
    const parts = [];
    views = {};
    if (round) {
      parts.push(userView(round.prompt, []));
      const columns = make("div", "columns");
      for (const side of SIDES) {
        const name = round.names ? round.names[side] : side === "left" ? "Left" : "Right";
        const won = round.names && round.vote === side ? " ✓" : "";
        views[side] = answerView(round[side], name + won, () => []);
        columns.append(views[side].element);
      }
      parts.push(columns, ...ballot(round));
    } else parts.push(make("p", "hint empty", "Ask something: two models answer, and you say which answer is better. Only then do you learn who they were."));
    parts.push(...standing());
    place.replaceChildren(...parts);
  }

  function standing() {
    if (!known.length) return [];
    const percent = (share) => Math.round(100 * share) + " %";
    const rows = known.map((one) => {
      const rate = `${percent(one.rate)} (${percent(one.low)} to ${percent(one.high)})`;
      const cells = [one.first, one.second, rate, one.votes, one.first_wins, one.second_wins, one.tie, one.bad];
      return make("tr", "", ...cells.map((cell) => make("td", "", String(cell))));
    });
    const heads = ["A", "B", "Win rate of A, 95 %", "Votes", "A wins", "B wins", "Ties", "Both bad"];
    const head = make("tr", "", ...heads.map((name) => make("th", "", name)));
    const table = make("table", "", make("caption", "", "Votes by now; a tie and two bad answers count half"), make("thead", "", head), make("tbody", "", ...rows));
    return [make("div", "table standing", table)];
  }

  return { begin, stop, show, running };
}
