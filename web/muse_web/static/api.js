// The server's named functions. Every visitor has a key that nobody else knows.

const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const at = (path) => new URL(`gradio_api/${path}`, document.baseURI).href;
const KINDS = {
  f4: Float32Array,
  i4: Int32Array,
  u2: Uint16Array,
  u1: Uint8Array,
  i2: Int16Array,
};

/** An error whose message is shown to the visitor. */
export class Problem extends Error {}

const PING_PERIOD = 60; // seconds between two calls that keep this visitor alive on the server

/** Keep the visitor alive on the server until the page is closed; then their continuations end. */
export function keepAlive() {
  const ping = () => call("ping", {}).catch(() => {}); // the next call reports the problem
  new EventSource(at(`heartbeat/${key}`)).onopen = ping;
  setInterval(ping, 1000 * PING_PERIOD);
  window.addEventListener("pagehide", (event) => {
    const body = new Blob([JSON.stringify({ data: [{}], session_hash: key })], { type: "application/json" });
    if (!event.persisted) navigator.sendBeacon(at("run/leave"), body);
  });
}

/** A packed array of `muse_web.views` -> a typed array, with its shape. */
export function unpack({ kind, shape, data }) {
  const binary = atob(data);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const array = new KINDS[kind](bytes.buffer);
  array.shape = shape;
  return array;
}

async function post(path, body, problem) {
  let answer;
  try {
    answer = await fetch(at(path), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Problem("the server does not answer; is it still running?");
  }
  if (answer.status === 503) throw new Problem("too many requests are waiting; try again later");
  if (!answer.ok) throw new Problem(problem);
  return answer.json();
}

/** Call a function that is not queued. */
export async function call(name, payload) {
  const { data } = await post(`run/${name}`, { data: [payload], session_hash: key }, "something went wrong on the server");
  if (data[0].problem) throw new Problem(data[0].problem);
  return data[0];
}

let waitingFor = null; // the event id of a continuation that has not started

/** Leave the queue; returns false if nothing is queued. */
export async function leaveQueue() {
  if (!waitingFor) return false;
  const { id } = window.gradio_config.dependencies.find((one) => one.api_name === "generate");
  await post("cancel", { session_hash: key, fn_index: id, event_id: waitingFor }, "the request could not be cancelled");
  return true;
}

let turn = Promise.resolve(); // one event stream per visitor, so one request at a time

/** Call a queued function: `receive` gets every message. Resolves with the last result. */
async function queued(name, payload, receive, lost) {
  const before = turn;
  let free;
  turn = new Promise((resolve) => (free = resolve));
  await before;
  let event;
  try {
    ({ event_id: event } = await post(`call/${name}`, { data: [payload], session_hash: key }, "the server did not accept the request"));
  } catch (problem) {
    free();
    throw problem;
  }
  receive({ msg: "queued" }, undefined, event);
  return new Promise((resolve, reject) => {
    const source = new EventSource(at(`queue/data?session_hash=${key}`));
    const end = () => {
      source.close();
      free();
    };
    source.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      // Closed earlier, the stream would swallow the messages of the next request.
      if (message.msg === "close_stream") end();
      if (message.event_id && message.event_id !== event) return;
      const part = message.output?.data?.[0];
      if (part?.problem) reject(new Problem(part.problem));
      receive(message, part, event);
      if (message.msg === "process_completed") {
        if (message.success) resolve(part);
        else reject(new Problem(message.output?.error ?? "something went wrong on the server"));
      } else if (message.msg === "unexpected_error" || message.msg === "server_stopped") {
        end();
        reject(new Problem("the server has stopped"));
      }
    };
    source.onerror = () => {
      end();
      reject(new Problem(lost));
    };
  });
}

/** Open a prompt. */
export function open(payload) {
  return queued("open", payload, () => {}, "the connection was lost before the prompt was read; open it again");
}

/**
 * Generate a continuation: `receive` gets its events, `wait` the position in the queue.
 * Resolves when it is complete.
 */
export async function generate(payload, receive, wait) {
  const received = (message, part, event) => {
    if (message.msg === "queued") waitingFor = event;
    else if (message.msg === "estimation") wait(message.rank + 1, message.queue_size, message.rank_eta);
    else if (message.msg === "process_starts") waitingFor = null;
    else if (message.msg === "process_generating" && part && !part.problem) receive(part);
  };
  try {
    await queued("generate", payload, received, "the connection was lost, and with it the continuation");
  } finally {
    waitingFor = null;
  }
}

/** Upload a file; returns the payload for `open`. */
export async function upload(file, name = file.name) {
  const form = new FormData();
  // A unique name, so that visitors do not share uploads.
  form.append("files", file, `${crypto.randomUUID?.() ?? Math.random().toString(36).slice(2)}-${name}`);
  let answer;
  try {
    answer = await fetch(at("upload"), { method: "POST", body: form });
  } catch {
    throw new Problem(`${name} could not be uploaded; is the server still running?`);
  }
  if (answer.status === 413) throw new Problem(`${name} is larger than this server allows`);
  if (!answer.ok) throw new Problem(`${name} could not be uploaded`);
  const [path] = await answer.json();
  return { upload: path, name };
}

/** The address of a file that `export` created. */
export function address(path) {
  return at(`file=${path}`);
}
