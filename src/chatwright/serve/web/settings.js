// The settings: the system prompt, how tokens are picked, the theme.

import { make } from "/inline.js";
import { held, KNOBS, USUAL } from "/state.js";

const NEXT = { auto: "dark", dark: "light", light: "auto" };
const part = (id) => document.getElementById(id);

/** `keep` and `keepNow` save the state, soon or at once; `picking` hears that tokens are picked in another way. */
export function settings(state, { keep, keepNow, picking }) {
  let usual = USUAL; // and what the model itself brings

  function knob([name, label, least, most, step, hint]) {
    const input = make("input");
    const shown = { type: "number", id: "knob-" + name, min: least, max: most, step };
    Object.assign(input, shown, { placeholder: name === "seed" ? "drawn" : "", value: state.sampling[name] ?? "" });
    input.addEventListener("change", () => {
      state.sampling[name] = held(name, input.value === "" ? null : Number(input.value));
      state.touched = true;
      input.value = state.sampling[name] ?? "";
      keepNow();
      picking();
    });
    const words = make("label", "", label);
    const told = make("small", "", hint);
    words.htmlFor = input.id;
    told.id = "about-" + name;
    input.setAttribute("aria-describedby", told.id);
    return make("div", "", words, input, told);
  }

  /** Draws all of them as the state has them. */
  function show() {
    part("knobs").replaceChildren(...KNOBS.map(knob));
    part("system").value = state.system;
    part("panel").hidden = !state.panel;
    part("settings").setAttribute("aria-expanded", String(state.panel));
    if (state.theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = state.theme;
    part("theme").querySelector(".word").textContent = "Theme: " + state.theme;
    picking();
  }

  /** Where nobody has set anything yet, what the model itself brings is meant. */
  function begin(own) {
    usual = { ...USUAL };
    for (const [name, value] of Object.entries(own)) if (name in usual) usual[name] = held(name, value);
    if (!state.touched) state.sampling = { ...usual };
    show();
  }

  /** `temperature 0`, and whatever else is not as it is without being set: what the terminal shows as well. */
  function picked() {
    const differing = KNOBS.filter(([name]) => name === "temperature" || state.sampling[name] !== USUAL[name]);
    return differing.map(([name]) => `${name} ${state.sampling[name]}`).join(" · ");
  }

  part("settings").addEventListener("click", () => ((state.panel = !state.panel), show(), keepNow()));
  part("theme").addEventListener("click", () => ((state.theme = NEXT[state.theme]), show(), keepNow()));
  part("system").addEventListener("input", () => ((state.system = part("system").value), keep()));
  part("reset").addEventListener("click", () => ((state.sampling = { ...usual }), (state.touched = false), show(), keepNow()));
  return { show, begin, picked };
}
