// What is seen before anything was said: who answers, how, and a few questions to begin with.

import { make } from "/inline.js";
import { button } from "/view.js";

const PROMPTS = ["What is the capital of France?", "What is machine learning?", "Write a Python function for the Fibonacci numbers.", "Give me tips for staying healthy."];

function listed(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
}

/** Of a conversation with these models; `ask` is called with the question that was chosen. */
export function welcome(models, ask) {
  if (!models.length) return make("div", "empty", make("p", "hint", "The models are being read …"));
  const names = models.map((one) => one.name);
  const bases = models.filter((one) => !one.chat).map((one) => one.name);
  const lines = [names.length > 1 ? `${listed(names)} answer side by side, with the same seed.` : `${names[0]} answers.`];
  if (bases.length) lines.push(`${listed(bases)} ${bases.length > 1 ? "are base models: they go" : "is a base model: it goes"} on with a text more than ${bases.length > 1 ? "they reply" : "it replies"}.`);
  return offered("What do you want to ask?", lines, ask);
}

/** Of the arena. */
export function arenaWelcome(ask) {
  return offered("Which model is better?", ["Ask something: two models answer, and you say which answer is better. Only then do you learn who they were."], ask);
}

function offered(title, lines, ask) {
  const prompts = PROMPTS.map((text) => button(text, () => ask(text)));
  return make("div", "empty", make("h2", "", title), ...lines.map((line) => make("p", "hint", line)), make("div", "prompts", ...prompts));
}
