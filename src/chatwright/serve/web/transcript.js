// A conversation as a file, and back. `messages` is what other programs read: chat --load, and sft as a row.

import { held, KNOBS, messagesFor, turnsOf } from "/state.js";

const LARGEST = 8 * 1024 * 1024;

/** The conversation with the first of the models as messages, and everything as turns. */
export function packed(state, models) {
  const last = state.turns.length - 1;
  const messages = last < 0 ? [] : messagesFor(state, models[0], last);
  const newest = last < 0 ? null : state.turns[last].answers[models[0]];
  if (newest && newest.text.trim()) messages.push({ role: "assistant", content: newest.text });
  const turns = state.turns.map(({ user, answers }) => ({ user, answers: JSON.parse(JSON.stringify(answers)) }));
  return { program: "chatwright", model: models[0] ?? "", messages, system: state.system, sampling: state.sampling, turns };
}

/** Gives the browser a file to keep. */
export function download(name, object) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(object, null, 2) + "\n"], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

/** Puts a file's conversation into the state. Throws an Error with a sentence, and changes nothing then. */
export async function unpacked(file, state, model) {
  if (file.size > LARGEST) throw new Error(`${file.name} is larger than 8 MB; it is no conversation of this page`);
  let found;
  try {
    found = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is no JSON; choose a file that was exported`);
  }
  const turns = found?.program === "chatwright" ? turnsOf(found.turns) : turnsOfMessages(found?.messages, model);
  if (!turns.length) throw new Error(`${file.name} holds no conversation; it must have "messages"`);
  const first = Array.isArray(found.messages) ? found.messages[0] : null;
  state.turns = turns;
  state.system = typeof found.system === "string" ? found.system : first?.role === "system" ? String(first.content) : "";
  const sampling = found.sampling && typeof found.sampling === "object" ? found.sampling : {};
  for (const [name] of KNOBS) {
    if (!(name in sampling)) continue;
    state.sampling[name] = held(name, sampling[name]);
    state.touched = true;
  }
}

function turnsOfMessages(messages, model) {
  const turns = [];
  for (const one of Array.isArray(messages) ? messages : []) {
    if (typeof one?.content !== "string") continue;
    if (one.role === "user") turns.push({ user: one.content, answers: {} });
    else if (one.role === "assistant" && turns.length) turns.at(-1).answers[model] = { text: one.content };
  }
  return turnsOf(turns);
}
