// The settings: the system prompt, how tokens are picked, the theme.

import { make } from "/inline.js";
import { held, KNOBS } from "/state.js";

const NEXT = { auto: "dark", dark: "light", light: "auto" };
const part = (id) => document.getElementById(id);

/** `keep` and `keepNow` save the state, soon or at once. */
export function settings(state, { keep, keepNow }) {
  function knob([name, label, least, most, step, hint]) {
    const input = make("input");
    const shown = { type: "number", id: "knob-" + name, min: least, max: most, step, title: hint };
    Object.assign(input, shown, { placeholder: name === "seed" ? "drawn" : "", value: state.sampling[name] ?? "" });
    input.addEventListener("change", () => {
      state.sampling[name] = held(name, input.value === "" ? null : Number(input.value));
      state.touched = true;
      input.value = state.sampling[name] ?? "";
      keepNow();
    });
    return make("label", "", label, input);
  }

  /** Draws all of them as the state has them. */
  function show() {
    part("knobs").replaceChildren(...KNOBS.map(knob));
    part("system").value = state.system;
    part("panel").hidden = !state.panel;
    part("settings").setAttribute("aria-expanded", String(state.panel));
    if (state.theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = state.theme;
    part("theme").textContent = "Theme: " + state.theme;
  }

  /** Where nobody has set anything yet, what the model itself brings is meant. */
  function begin(own) {
    if (!state.touched) for (const [name, value] of Object.entries(own)) if (name in state.sampling) state.sampling[name] = held(name, value);
    show();
  }

  part("settings").addEventListener("click", () => ((state.panel = !state.panel), show(), keepNow()));
  part("theme").addEventListener("click", () => ((state.theme = NEXT[state.theme]), show(), keepNow()));
  part("system").addEventListener("input", () => ((state.system = part("system").value), keep()));
  return { show, begin };
}
