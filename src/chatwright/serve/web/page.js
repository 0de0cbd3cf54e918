// The page: who answers, what was said, and the message that is being written. Everything else is in the other files.

import { arena } from "/arena.js";
import { chooser } from "/chooser.js";
import { info } from "/door.js";
import { make } from "/inline.js";
import { meter } from "/meter.js";
import { before, tell } from "/notice.js";
import { settings } from "/settings.js";
import { draw, fresh, knobs, load, messagesFor, PLACE, save } from "/state.js";
import { fill } from "/stream.js";
import { download, packed, unpacked } from "/transcript.js";
import { answerView, button, copy, editor, home, userView } from "/view.js";
import { welcome } from "/welcome.js";

const part = (id) => document.getElementById(id);
const log = part("log"), message = part("message");
const state = load();
const panel = settings(state, { keep, keepNow, picking: windowUsed });
let models = []; // as the server has them: name, context, chat, own
let controls = new Map(); // answers that are being written, and how they are stopped
let battle = null;
let saving = null;

// ---- what is kept

function keep() {
  saving ??= setTimeout(keepNow, 300);
}

function keepNow() {
  clearTimeout(saving);
  saving = null;
  if (!save(state)) tell("The browser keeps nothing here: what is said will be gone when the page is closed.");
}

function changed() {
  keepNow();
  show();
}

const undoing = () => before(state, () => (panel.show(), changed(), home()));
const busy = () => controls.size > 0 || Boolean(battle?.running());
const chosen = () => models.filter((one) => state.chosen.includes(one.name));

// ---- the conversation

async function ask(turn, names) {
  const seed = state.sampling.seed ?? draw();
  const answers = state.turns[turn].answers;
  const jobs = names.map((name) => {
    const messages = messagesFor(state, name, turn); // before this turn's answers are there
    return { name, messages, made: fresh(seed, state.sampling.temperature) };
  });
  for (const { name, made } of jobs) answers[name] = made;
  tell("");
  show();
  bottom();
  part("spoken").textContent = `${names.join(", ")}: writing …`;
  await Promise.all(jobs.map((job) => stream(job, seed)));
  changed();
  part("spoken").textContent = jobs.map(({ name, made }) => `${name} ${made.state === "done" ? "answered" : made.state}: ${made.text.slice(0, 2000)} ${made.error}`.trim()).join("\n");
}

/** Another answer in the place of one; where no word of it comes, the former one stays. */
async function regenerate(turn, name) {
  if (busy()) return;
  const { answers } = state.turns[turn];
  const former = answers[name];
  const asking = ask(turn, [name]);
  home();
  await asking;
  const made = answers[name];
  if (former.text && !made.text) {
    answers[name] = former;
    tell(made.error || "No word came; the former answer stays.", { failed: Boolean(made.error) });
    changed();
  } else if (made.text === former.text && made.state === "done") {
    tell(`The same answer again: ${state.sampling.temperature === 0 ? "temperature 0 always takes the likeliest token" : "the seed is fixed"}. Settings can change that.`);
  }
}

async function stream({ name, messages, made }, seed) {
  const control = new AbortController();
  controls.set(made, control);
  buttons();
  const body = { model: name, messages, stream: true, stream_options: { include_usage: true }, truncate: true, ...knobs(state, seed) };
  await fill(made, "/v1/chat/completions", body, control.signal, () => {
    const below = nearBottom();
    views.get(made)?.draw();
    if (below) bottom();
    keep();
  });
  controls.delete(made);
  buttons();
  windowUsed();
}

function stop() {
  for (const control of controls.values()) control.abort();
  battle?.stop();
}

function send(text) {
  if (busy() || !text.trim() || !models.length) return false;
  if (state.mode === "arena") {
    battle.begin(text.trim()).then(buttons);
    buttons();
  } else go(state.turns, text);
  return true;
}

/** Goes on after these turns with a question. */
function go(turns, text) {
  state.turns = [...turns, { user: text.trim(), answers: {} }];
  return ask(turns.length, chosen().map((one) => one.name));
}

function edit(turn) {
  if (busy()) return;
  const { element, area } = editor(state.turns[turn].user, (text) => {
    if (text === null) show();
    else {
      const undo = undoing();
      const gone = state.turns.length - turn - 1;
      go(state.turns.slice(0, turn), text).then(() => gone && tell(`What came after it is gone: ${gone} turn${gone > 1 ? "s" : ""}.`, { undo }));
    }
    home();
  });
  log.children[turn].querySelector(".user").replaceWith(element);
  area.focus();
}

function remove(turn) {
  if (busy()) return;
  const undo = undoing();
  state.turns = state.turns.filter((_, number) => number !== turn);
  tell("A turn is deleted.", { undo });
  changed();
  home();
}

function renew() {
  const undo = undoing();
  const said = state.mode === "arena" ? state.arena : state.turns.length;
  if (state.mode === "arena") state.arena = null;
  else state.turns = [];
  tell(said ? "A new beginning." : "", { undo: said ? undo : null });
  changed();
  home();
}

// ---- drawing

let views = new Map();

function show() {
  views = new Map();
  const names = chosen().map((one) => one.name);
  log.replaceChildren(...state.turns.map((turn, number) => turnView(turn, number, names)));
  if (!state.turns.length) log.append(welcome(chosen(), send));
  battle?.show();
  for (const [id, on] of [["to-chat", state.mode === "chat"], ["to-arena", state.mode === "arena"]]) part(id).setAttribute("aria-pressed", String(on));
  document.body.dataset.width = state.mode === "chat" && names.length < 2 ? "narrow" : "wide";
  log.hidden = state.mode === "arena";
  part("arena").hidden = state.mode !== "arena";
  part("models").hidden = state.mode === "arena";
  buttons();
  windowUsed();
}

function turnView(turn, number, names) {
  const told = [...new Set([...names, ...Object.keys(turn.answers)])].filter((name) => turn.answers[name]);
  const shown = names.some((name) => turn.answers[name]) ? told.filter((name) => names.includes(name)) : told.slice(0, 1);
  const user = userView(turn.user, [
    button("Edit", () => edit(number), "changes"),
    button("Delete", () => remove(number), "changes"),
    button("Copy", (event) => copy(turn.user, event.target)),
  ]);
  const columns = make("div", "columns");
  for (const name of shown) {
    const view = answerView(turn.answers[name], name, () => [
      button("Copy", (event) => copy(turn.answers[name].text, event.target)),
      ...(number === state.turns.length - 1 ? [again(number, name)] : []),
    ]);
    views.set(turn.answers[name], view);
    columns.append(view.element);
  }
  return make("section", shown.length > 1 ? "turn" : "turn alone", user, columns);
}

function again(turn, name) {
  const failed = state.turns[turn].answers[name].state === "failed";
  return button(failed ? "Retry" : "Regenerate", () => regenerate(turn, name), failed ? "changes retry" : "changes");
}

function buttons() {
  part("stop").hidden = !busy();
  part("send").hidden = busy();
  for (const one of document.querySelectorAll("#models button, #modes button, #new, #import, #undo, .changes")) one.disabled = busy();
}

/** Of the chat; the arena has no conversation that could fill a window. */
function windowUsed() {
  meter(state.mode === "chat" ? chosen() : [], state.turns.at(-1), panel.picked());
}

const nearBottom = () => innerHeight + scrollY > document.documentElement.scrollHeight - 80;
const bottom = () => scrollTo({ top: document.documentElement.scrollHeight });

// ---- the keyboard and the buttons

function grow() {
  message.style.height = "auto";
  message.style.height = Math.min(message.scrollHeight + 2, innerHeight / 3) + "px";
}

function submit() {
  const text = message.value;
  if (!send(text)) return;
  message.value = state.draft = "";
  grow();
}

function listen() {
  part("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  message.addEventListener("input", () => ((state.draft = message.value), grow(), keep()));
  message.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !message.value && state.mode === "chat" && state.turns.length) {
      event.preventDefault();
      edit(state.turns.length - 1);
    }
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && stop());
  part("stop").addEventListener("click", () => (stop(), home()));
  part("new").addEventListener("click", renew);
  part("export").addEventListener("click", () => download("conversation.json", packed(state, chosen().map((one) => one.name))));
  part("import").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", imported);
  for (const mode of ["chat", "arena"]) part("to-" + mode).addEventListener("click", () => ((state.mode = mode), tell(""), changed(), home()));
  // before the browser breaks off what is being written, which would look like a failure
  addEventListener("beforeunload", () => (stop(), keepNow()));
  addEventListener("pagehide", keepNow);
  addEventListener("storage", elsewhere);
}

/** What another tab of this page has kept is what this one shows: else the one that is closed last would win. */
function elsewhere(event) {
  if (event.key !== PLACE || busy() || log.querySelector(".editing")) return;
  Object.assign(state, load(), { draft: state.draft, mode: state.mode, panel: state.panel });
  panel.show();
  show();
}

async function imported() {
  const file = part("file").files[0];
  part("file").value = "";
  if (!file) return;
  const had = state.turns.length > 0;
  const undo = undoing();
  try {
    await unpacked(file, state, chosen()[0].name);
    state.mode = "chat";
    panel.show();
    changed();
    tell(`${file.name} is here.`, { undo: had ? undo : null });
  } catch (error) {
    tell(error.message, { failed: true });
  }
}

// ---- the beginning

async function begin() {
  panel.show();
  message.value = state.draft;
  listen();
  show();
  const found = await info(tell);
  models = found.models;
  state.chosen = state.chosen.filter((name) => models.some((one) => one.name === name));
  if (!state.chosen.length) state.chosen = models.map((one) => one.name);
  panel.begin(models[0].own);
  document.title = models.map((one) => one.name).join(" | ") + " – chatwright";
  part("modes").hidden = !found.arena;
  if (!found.arena) state.mode = "chat";
  battle = arena(part("arena"), state, { tell, keep, buttons, send, info: found });
  tell("");
  chooser(part("models"), models, state, changed);
  show();
  grow();
  document.body.dataset.ready = "yes";
}

begin();
