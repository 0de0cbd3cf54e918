// The line below the message: how full the window is, and how tokens are picked.

const part = (id) => document.getElementById(id);

/** The fullest window of those that answer: tokens of the newest prompt and its answer. */
export function meter(models, turn, picked) {
  const used = models
    .map((one) => ({ ...one, answer: turn?.answers[one.name] }))
    .filter(({ answer }) => answer && answer.tokens !== null && answer.prompt !== null)
    .map(({ name, context, answer }) => ({ name, context, tokens: answer.tokens + answer.prompt }))
    .sort((a, b) => b.tokens / b.context - a.tokens / a.context)[0];
  part("meter").hidden = !used;
  part("window").textContent = used ? `${used.tokens} of ${used.context} tokens${models.length > 1 ? " (" + used.name + ")" : ""}` : "";
  if (used) part("meter").value = used.tokens / used.context;
  part("picked").textContent = picked;
}
