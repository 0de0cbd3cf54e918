// The line above the message: what the program says to a person, and a button that takes back what was just done.

const part = (id) => document.getElementById(id);
let back = null;

/** Says something in the place of what was said before; `undo` is what the button beside it does. */
export function tell(text, { failed = false, undo = null } = {}) {
  part("status").textContent = text;
  part("status").className = failed ? "failed" : "";
  back = undo;
  part("undo").hidden = !undo;
}

part("undo").addEventListener("click", () => back?.());

/** What brings the conversation back as it is now; `then` draws it. */
export function before(state, then) {
  const { turns, system, sampling, arena } = state;
  return () => {
    Object.assign(state, { turns, system, sampling, arena });
    tell("Everything is as it was.");
    then();
  };
}
