// The way in: the key, where the server wants one, and what it serves.

import { json, keyFrom } from "/stream.js";

const part = (id) => document.getElementById(id);
let asking = null;

/** Asks a person for the key, in one dialog for all that wait for it; null where none is given. */
function asked(wrong) {
  asking ??= new Promise((resolve) => {
    const door = part("door");
    door.returnValue = "";
    part("door-title").textContent = wrong ? "That key does not fit" : "This page wants a key";
    door.showModal();
    const closed = () => {
      asking = null;
      resolve(part("key").value.trim() || null);
      part("key").value = "";
    };
    door.addEventListener("close", closed, { once: true });
  });
  return asking;
}

/** What the server serves, as soon as it is ready; meanwhile `tell` says what is wrong. */
export async function info(tell) {
  keyFrom(asked);
  for (;;) {
    try {
      return await json("/web/info");
    } catch (error) {
      const reading = error.status === 503; // the models
      tell(reading ? "" : error.message, { failed: true });
      await new Promise((resolve) => setTimeout(resolve, reading ? 300 : 2000));
    }
  }
}
