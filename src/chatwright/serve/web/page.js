// The page: who answers, what was said, and the message that is being written. Everything else is in the other files.

import { arena } from "/arena.js";
import { make } from "/inline.js";
import { settings } from "/settings.js";
import { draw, fresh, knobs, load, messagesFor, save } from "/state.js";
import { fill, json, keyFrom } from "/stream.js";
import { download, packed, unpacked } from "/transcript.js";
import { answerView, button, copy, editor, userView } from "/view.js";

const part = (id) => document.getElementById(id);
const log = part("log"), message = part("message"), door = part("door");
const state = load();
const panel = settings(state, { keep, keepNow });
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

function tell(text) {
  part("status").textContent = text;
}

const busy = () => controls.size > 0 || Boolean(battle?.running());
const chosen = () => models.filter((one) => state.chosen.includes(one.name));

// ---- the conversation

function answer(turn, name, seed) {
  const made = fresh(seed);
  state.turns[turn].answers[name] = made;
  return made;
}

async function ask(turn, names) {
  const seed = state.sampling.seed ?? draw();
  const jobs = names.map((name) => {
    const messages = messagesFor(state, name, turn); // before this turn's answers are there
    return { name, messages, made: null };
  });
  for (const job of jobs) job.made = answer(turn, job.name, seed);
  show();
  bottom();
  tell("");
  await Promise.all(jobs.map((job) => stream(job, seed)));
  keepNow();
  show();
  part("spoken").textContent = jobs.map(({ name, made }) => `${name} ${made.state === "done" ? "answered" : made.state}: ${made.text.slice(0, 2000)}`).join("\n");
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
    return true;
  }
  state.turns.push({ user: text.trim(), answers: {} });
  ask(state.turns.length - 1, chosen().map((one) => one.name));
  return true;
}

function edit(turn) {
  if (busy()) return;
  const { element, area } = editor(state.turns[turn].user, (text) => {
    if (text === null) show();
    else {
      state.turns.length = turn;
      send(text);
    }
    message.focus();
  });
  log.children[turn].querySelector(".user").replaceWith(element);
  area.focus();
}

function remove(turn) {
  if (busy()) return;
  state.turns.splice(turn, 1);
  keepNow();
  show();
  message.focus();
}

// ---- drawing

let views = new Map();

function show() {
  views = new Map();
  const names = chosen().map((one) => one.name);
  log.replaceChildren(...state.turns.map((turn, number) => turnView(turn, number, names)));
  if (!state.turns.length) log.append(make("p", "hint empty", models.length ? "Say something." : "The models are being read …"));
  battle?.show();
  for (const [id, on] of [["to-chat", state.mode === "chat"], ["to-arena", state.mode === "arena"]]) part(id).setAttribute("aria-pressed", String(on));
  log.hidden = state.mode === "arena";
  part("arena").hidden = state.mode !== "arena";
  part("models").hidden = state.mode === "arena";
  part("below").querySelector("#window").hidden = state.mode === "arena";
  buttons();
  windowUsed();
}

function turnView(turn, number, names) {
  const told = [...new Set([...names, ...Object.keys(turn.answers)])].filter((name) => turn.answers[name]);
  const shown = names.some((name) => turn.answers[name]) ? told.filter((name) => names.includes(name)) : told.slice(0, 1);
  const user = userView(turn.user, [
    button("Edit", () => edit(number)),
    button("Delete", () => remove(number)),
    button("Copy", (event) => copy(turn.user, event.target)),
  ]);
  const columns = make("div", "columns");
  for (const name of shown) {
    const view = answerView(turn.answers[name], name, () => [
      button("Copy", (event) => copy(turn.answers[name].text, event.target)),
      ...(number === state.turns.length - 1 ? [button("Regenerate", () => busy() || ask(number, [name]))] : []),
    ]);
    views.set(turn.answers[name], view);
    columns.append(view.element);
  }
  return make("section", "turn", user, columns);
}

function buttons() {
  part("stop").hidden = !busy();
  part("send").hidden = busy();
  for (const one of document.querySelectorAll("#models button, #modes button, #new, #import")) one.disabled = busy();
}

/** The fullest window of those that answer: tokens of the newest prompt and its answer. */
function windowUsed() {
  const last = state.turns.at(-1);
  const used = chosen()
    .map((one) => ({ ...one, answer: last?.answers[one.name] }))
    .filter(({ answer }) => answer && answer.tokens !== null && answer.prompt !== null)
    .map(({ name, context, answer }) => ({ name, context, tokens: answer.tokens + answer.prompt }))
    .sort((a, b) => b.tokens / b.context - a.tokens / a.context)[0];
  const meter = part("meter");
  meter.hidden = !used || state.mode === "arena";
  part("window").textContent = used ? `${used.tokens} of ${used.context} tokens${chosen().length > 1 ? " (" + used.name + ")" : ""}` : "";
  if (used) meter.value = used.tokens / used.context;
}

const nearBottom = () => innerHeight + scrollY > document.documentElement.scrollHeight - 80;
const bottom = () => scrollTo({ top: document.documentElement.scrollHeight });

// ---- who answers

function modelsView() {
  const made = models.map((one) => {
    const on = state.chosen.includes(one.name);
    const element = button(one.name, () => {
      const others = state.chosen.filter((name) => name !== one.name);
      state.chosen = on ? others : [...others, one.name];
      if (!chosen().length) state.chosen = [one.name]; // somebody has to answer
      keepNow();
      modelsView();
      show();
    });
    element.setAttribute("aria-pressed", String(on));
    element.title = one.chat ? `window: ${one.context} tokens` : `a base model, which continues texts; window: ${one.context} tokens`;
    return element;
  });
  part("models").replaceChildren(...made);
}

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
  part("stop").addEventListener("click", () => (stop(), message.focus()));
  part("new").addEventListener("click", () => ((state.turns = []), (state.arena = null), tell(""), keepNow(), show(), message.focus()));
  part("export").addEventListener("click", () => download("conversation.json", packed(state, chosen().map((one) => one.name))));
  part("import").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", imported);
  for (const mode of ["chat", "arena"]) part("to-" + mode).addEventListener("click", () => ((state.mode = mode), tell(""), keepNow(), show(), message.focus()));
  // before the browser breaks off what is being written, which would look like a failure
  addEventListener("beforeunload", () => (stop(), keepNow()));
  addEventListener("pagehide", keepNow);
}

async function imported() {
  const file = part("file").files[0];
  part("file").value = "";
  if (!file) return;
  try {
    await unpacked(file, state, chosen()[0].name);
    state.mode = "chat";
    panel.show();
    keepNow();
    show();
    tell(`${file.name} is here.`);
  } catch (error) {
    tell(error.message);
  }
}

// ---- the beginning

let asking = null;
keyFrom(() => (asking ??= new Promise((resolve) => {
  door.returnValue = "";
  door.showModal();
  door.addEventListener("close", () => ((asking = null), resolve(part("key").value.trim() || null), (part("key").value = "")), { once: true });
})));

async function info() {
  for (;;) {
    try {
      return await json("/web/info");
    } catch (error) {
      tell(error.status === 503 ? "" : error.message);
      await new Promise((resolve) => setTimeout(resolve, error.status === 503 ? 300 : 2000));
    }
  }
}

async function begin() {
  panel.show();
  message.value = state.draft;
  listen();
  show();
  const found = await info();
  models = found.models;
  state.chosen = state.chosen.filter((name) => models.some((one) => one.name === name));
  if (!state.chosen.length) state.chosen = models.map((one) => one.name);
  panel.begin(models[0].own);
  document.title = models.map((one) => one.name).join(" | ") + " – chatwright";
  part("modes").hidden = !found.arena;
  if (!found.arena) state.mode = "chat";
  battle = arena(part("arena"), state, { tell, keep, again: () => (buttons(), message.focus()), rates: found.rates });
  tell("");
  modelsView();
  show();
  grow();
  document.body.dataset.ready = "yes";
}

begin();
