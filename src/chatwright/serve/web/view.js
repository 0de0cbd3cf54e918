// Draws turns and answers. What a model or a person wrote goes in as text, or through markdown(), which makes nodes.

import { make } from "/inline.js";
import { markdown } from "/markdown.js";

const PACE = 60; // milliseconds between two drawings of an answer that is being written
const MEASURED = 0.02; // seconds; an answer that came in less came in one piece, and its pace is nobody's

/** A button with words, or with a sign and words for those who hear it. */
export function button(label, pressed, name = "") {
  const element = make("button", name, label);
  element.type = "button";
  element.addEventListener("click", pressed);
  return element;
}

/** To the message, where that does not bring up the keyboard of a telephone. */
export function home() {
  if (!matchMedia("(pointer: coarse)").matches) document.getElementById("message").focus();
}

export async function copy(text, from) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copied = copiedByHand(text);
  }
  const before = from.textContent;
  from.textContent = copied ? "Copied" : "Not copied";
  setTimeout(() => (from.textContent = before), 1500);
}

/** For pages that came over plain HTTP from another machine, where there is no clipboard to write to. */
function copiedByHand(text) {
  const area = make("textarea", "unseen", text);
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** One answer: its element, and `draw` that shows what has been said by now. */
export function answerView(answer, title, actions) {
  const body = make("div", "body");
  body.dir = "auto";
  const facts = make("p", "facts");
  const buttons = make("div", "actions");
  const head = title ? [make("h2", "", title)] : [];
  const element = make("article", "answer", ...head, body, facts, buttons);
  element.setAttribute("aria-label", title ? `Answer of ${title}` : "Answer");
  let drawn = null;
  let timer = null;

  const now = () => {
    timer = null;
    if (drawn !== answer.text) {
      body.replaceChildren(...markdown(answer.text, copy));
      drawn = answer.text;
    }
    if (answer.state === "running" && !answer.text) body.replaceChildren(make("p", "waiting", "…"));
    if (answer.state === "running" && answer.text === "") drawn = null;
    element.dataset.state = answer.state;
    element.setAttribute("aria-busy", String(answer.state === "running"));
    facts.replaceChildren(...said(answer));
    buttons.replaceChildren(...(answer.state === "running" ? [] : actions()));
  };
  const draw = () => {
    if (answer.state !== "running") {
      clearTimeout(timer);
      now();
    } else timer ??= setTimeout(now, PACE);
  };
  now();
  return { element, draw };
}

const rounded = (number) => number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });

/** What is known of an answer, in a line: why it ended, how fast it was. */
function said(answer) {
  const parts = [];
  if (answer.state === "failed") parts.push(make("strong", "failed", answer.error || "It failed."));
  if (answer.state === "stopped") parts.push("stopped");
  if (answer.state === "done" && answer.finish === "length") parts.push("cut at the limit");
  if (answer.left_out) parts.push(`${answer.left_out} oldest messages left out`);
  if (answer.tokens !== null && answer.state === "done") parts.push(`${answer.tokens} tokens`);
  if (answer.tokens > 1 && answer.seconds >= MEASURED) parts.push(make("span", "speed", `${rounded((answer.tokens - 1) / answer.seconds)} tokens/s`));
  if (answer.first !== null && answer.state !== "running") parts.push(make("span", "first", `first after ${answer.first < 1000 ? Math.round(answer.first) + " ms" : (answer.first / 1000).toFixed(1) + " s"}`));
  if (answer.seed !== null && answer.temperature !== 0 && answer.state !== "running") parts.push(make("span", "seed", `seed ${answer.seed}`));
  return parts.flatMap((part, place) => (place ? [" · ", part] : [part]));
}

/** What a person said, and how it is changed: `edited` is called with the new words, or with null. */
export function userView(text, actions) {
  const body = make("div", "body", text);
  body.dir = "auto";
  const buttons = make("div", "actions", ...actions);
  const element = make("article", "user", body, buttons);
  element.setAttribute("aria-label", "You");
  return element;
}

/** The box in which a turn is edited, in place of what was said. */
export function editor(text, done) {
  const area = make("textarea", "edit");
  area.value = text;
  area.rows = Math.min(12, text.split("\n").length + 1);
  area.setAttribute("aria-label", "Edit the message");
  const send = () => area.value.trim() && done(area.value.trim());
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      done(null);
    }
  });
  const buttons = make("div", "actions", button("Send again", send), button("Cancel", () => done(null)));
  const element = make("article", "user editing", area, buttons);
  return { element, area };
}
