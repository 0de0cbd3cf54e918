// Who answers: a button for each model, or its name alone where there is only one.

import { make } from "/inline.js";
import { button } from "/view.js";

const about = (one) => (one.chat ? `window: ${one.context} tokens` : `a base model, which goes on with texts; window: ${one.context} tokens`);

/** Draws them in `place`; `changed` is called when somebody was chosen or left out, who is in `state.chosen` then. */
export function chooser(place, models, state, changed) {
  const chips = models.map((one) => {
    if (models.length === 1) return Object.assign(make("span", "chip", one.name), { title: about(one) });
    const chip = button(one.name, () => choose(one.name), "chip");
    chip.title = about(one);
    return chip;
  });

  function choose(name) {
    const others = state.chosen.filter((one) => one !== name);
    if (state.chosen.includes(name) && others.length) state.chosen = others; // somebody has to answer
    else state.chosen = [...others, name];
    show();
    changed();
  }

  function show() {
    if (models.length > 1) for (const [number, chip] of chips.entries()) chip.setAttribute("aria-pressed", String(state.chosen.includes(models[number].name)));
  }

  place.replaceChildren(...chips);
  show();
}
