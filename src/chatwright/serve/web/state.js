// What the page remembers: one object, kept in the browser's own storage, checked when it is read back.

export const PLACE = "chatwright";
export const KNOBS = [
  // name, label, least, most, step, what it does
  ["temperature", "Temperature", 0, 2, 0.05, "0 always takes the likeliest token"],
  ["top_p", "Top p", 0.01, 1, 0.01, "keeps the likeliest tokens up to this share; 1 is off"],
  ["top_k", "Top k", 0, 1000, 1, "keeps so many of the likeliest tokens; 0 is off"],
  ["min_p", "Min p", 0, 1, 0.01, "least share of the likeliest token's; 0 is off"],
  ["repetition_penalty", "Repetition penalty", 0.5, 2, 0.05, "above 1, what was said is less likely"],
  ["max_tokens", "Max tokens", 1, 100000, 1, "longest answer"],
  ["seed", "Seed", 0, 2147483647, 1, "above temperature 0, the same seed gives the same answer"],
];
// as in the terminal: who compares the two sees the same answers
export const USUAL = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 256, seed: null };

const text = (value) => (typeof value === "string" ? value : "");
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

function empty() {
  return { mode: "chat", theme: "auto", panel: false, chosen: [], system: "", sampling: { ...USUAL }, touched: false, turns: [], draft: "", arena: null };
}

/** A value for a knob that holds, or what it would be without it. */
export function held(name, value) {
  const [, , least, most, step] = KNOBS.find(([one]) => one === name);
  const found = number(value);
  if (found === null) return USUAL[name];
  const whole = step === 1 ? Math.round(found) : found;
  return Math.min(most, Math.max(least, whole));
}

/** An answer of which nothing is said yet. */
export function fresh(seed = null, temperature = null) {
  return { text: "", state: "running", finish: "", error: "", seed, temperature, tokens: null, prompt: null, first: null, seconds: null, left_out: null };
}

function answer(value) {
  const given = value || {};
  const state = given.state === "running" ? "stopped" : ["done", "stopped", "failed"].includes(given.state) ? given.state : "done";
  const kept = { text: text(given.text), state, finish: text(given.finish), error: text(given.error) };
  for (const name of ["seed", "temperature", "tokens", "prompt", "first", "seconds", "left_out"]) kept[name] = number(given[name]);
  return kept;
}

function named(value) {
  return Object.fromEntries(Object.entries(value && typeof value === "object" ? value : {}).map(([name, one]) => [name, answer(one)]));
}

/** Turns out of anything: what is no turn is left out. */
export function turnsOf(value) {
  if (!Array.isArray(value)) return [];
  return value.filter((one) => one && typeof one.user === "string").map((one) => ({ user: one.user, answers: named(one.answers) }));
}

function arenaOf(value) {
  if (!value || typeof value.prompt !== "string") return null;
  const names = value.names && text(value.names.left) && text(value.names.right) ? { left: value.names.left, right: value.names.right } : null;
  return { prompt: value.prompt, round: text(value.round), left: answer(value.left), right: answer(value.right), vote: text(value.vote), pair: value.pair === true, names, gone: value.gone === true };
}

/** The state as it was left, of this page or an older one; a new one where there is none. */
export function load() {
  const state = empty();
  let found;
  try {
    found = JSON.parse(localStorage.getItem(PLACE)) || {};
  } catch {
    found = {};
  }
  const sampling = found.sampling && typeof found.sampling === "object" ? found.sampling : {};
  if (["chat", "arena"].includes(found.mode)) state.mode = found.mode;
  if (["auto", "light", "dark"].includes(found.theme)) state.theme = found.theme;
  if (Array.isArray(found.chosen)) state.chosen = found.chosen.filter((one) => typeof one === "string");
  if (found.touched === true) for (const [name] of KNOBS) if (name in sampling) state.sampling[name] = held(name, sampling[name]);
  state.panel = found.panel === true;
  state.touched = found.touched === true;
  state.system = text(found.system);
  state.draft = text(found.draft);
  state.turns = turnsOf(found.turns);
  state.arena = arenaOf(found.arena);
  return state;
}

/** Keeps the state; false where the browser lets nothing be kept. */
export function save(state) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state));
    return true;
  } catch {
    return false;
  }
}

/** What a model is given for the turn with this number: earlier turns with its own answers, or where it has none, another's. */
export function messagesFor(state, model, turn) {
  const messages = state.system.trim() ? [{ role: "system", content: state.system.trim() }] : [];
  for (const one of state.turns.slice(0, turn)) {
    const said = [one.answers[model], ...Object.values(one.answers)].find((given) => given && given.text.trim());
    if (said) messages.push({ role: "user", content: one.user }, { role: "assistant", content: said.text });
  }
  messages.push({ role: "user", content: state.turns[turn].user });
  return messages;
}

/** The knobs as a request has them. */
export function knobs(state, seed) {
  const { seed: fixed, ...rest } = state.sampling;
  return { ...rest, seed: fixed ?? seed };
}

/** A seed for a turn that has none. */
export function draw() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}
