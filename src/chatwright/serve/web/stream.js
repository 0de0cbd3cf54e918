// Asks the server: JSON there, JSON or a stream of events back. Failures are sentences.

const PLACE = "chatwright-key"; // for this tab alone
const BROKEN = "The connection ended in the middle of the answer; is the server still running?";
const LONGEST_EVENT = 4 * 1024 * 1024;
let askForKey = async () => null;

/** Who asks a person for the key when the server wants one; it hears whether there was one, and a wrong one. */
export function keyFrom(ask) {
  askForKey = ask;
}

function key() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null;
  }
}

async function ask(path, body, signal) {
  for (;;) {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    if (key()) headers.Authorization = "Bearer " + key();
    const options = { method: body === undefined ? "GET" : "POST", headers, signal, cache: "no-store", credentials: "omit" };
    if (body !== undefined) options.body = JSON.stringify(body);
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer; is it still running?");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      const given = await askForKey(key() !== null);
      if (given) {
        sessionStorage.setItem(PLACE, given);
        continue;
      }
    }
    throw await failure(response);
  }
}

async function failure(response) {
  let message = `The server answered with status ${response.status}`;
  try {
    message = (await response.json()).error.message || message;
  } catch {
    // not our error object: the status says enough
  }
  const error = new Error(message);
  error.status = response.status;
  return error;
}

/** The JSON of an answer; a body makes it a POST. */
export async function json(path, body) {
  return (await ask(path, body)).json();
}

/** What a stream says, object by object. Aborting the signal closes the connection, and the server stops at once. */
export async function* events(path, body, signal) {
  const response = await ask(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      waiting += value;
      if (waiting.length > LONGEST_EVENT) throw new Error("The server sends an event without end.");
      const parts = waiting.split("\n\n");
      waiting = parts.pop();
      for (const part of parts) {
        if (!part.startsWith("data: ")) continue; // a comment that keeps the connection open
        const data = part.slice(6);
        if (data === "[DONE]") return;
        const object = JSON.parse(data);
        if (object.error) throw new Error(object.error.message);
        yield object;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The next piece; what a browser says of a connection that breaks is no sentence, and another one in each. */
async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(BROKEN);
  }
}

/** Fills an answer from a stream of chunks; `changed` is called for each piece. It ends done, stopped or failed. */
export async function fill(answer, path, body, signal, changed) {
  const begin = performance.now();
  let last = begin;
  try {
    for await (const chunk of events(path, body, signal)) {
      if (chunk.truncated) answer.left_out = chunk.truncated.messages;
      if (chunk.usage) Object.assign(answer, { tokens: chunk.usage.completion_tokens, prompt: chunk.usage.prompt_tokens });
      const choice = chunk.choices[0];
      if (!choice) continue;
      if (choice.delta.content) {
        last = performance.now();
        answer.first ??= last - begin;
        answer.text += choice.delta.content;
      }
      if (choice.finish_reason) answer.finish = choice.finish_reason;
      changed();
    }
    answer.state = answer.finish ? "done" : "failed";
    if (!answer.finish) answer.error = BROKEN;
  } catch (error) {
    answer.state = signal.aborted ? "stopped" : "failed";
    if (!signal.aborted) answer.error = error.message;
  }
  answer.seconds = (last - begin - (answer.first ?? 0)) / 1000; // from the first piece to the last
  changed();
}
