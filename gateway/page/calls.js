// Makes a call, and shows what comes back: at once, or as it comes.
import { el } from "./schema.js";

const MOST_SHOWN = 200;
const MOST_COLOURED = 300_000;

export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return `docs-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
};

// JSON with its keys, texts and numbers told apart.
function coloured(value) {
  const text = JSON.stringify(value, null, 2);
  const parts = text.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/);
  const kind = (part) => (part.endsWith(":") ? "key" : part.startsWith('"') ? "text" : "value");
  return el("pre", { tabindex: "0" }, parts.map((part, n) => (n % 2 ? el("span", { class: kind(part) }, part) : part)));
}

// The error of the gateway or a service: what to do, field by field.
function refused(error) {
  const violations = (error.details ?? []).flatMap((detail) => detail.fieldViolations ?? []);
  const lines = violations.length < 2 ? [] : violations.map((one) => el("li", {}, el("code", {}, one.field), ` ${one.description}`));
  return el("div", { class: "refused" }, el("p", {}, error.message ?? ""), lines.length ? el("ul", {}, lines) : null);
}

const read = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

// Whether a message only says that the stream works.
const isQuiet = (message) => {
  const lists = Object.values(message).filter(Array.isArray);
  return lists.length > 0 && lists.every((list) => !list.length);
};

async function* messages(body) {
  let held = "";
  for (const reader = body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value.replaceAll("\r", "")).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length) yield read(data.join("\n")) ?? data.join("\n");
    }
  }
}

// Sends the request and fills `place`. `heard` gets each message of a stream. Ends when the answer has, or at `signal`.
export async function send(request, place, signal, heard) {
  const began = performance.now();
  const status = el("span", { class: "status" }, "Sent");
  const line = el("p", { class: "answered", role: "status" }, status);
  place.replaceChildren(el("h3", {}, "Answer"), line);
  const say = (text, mark) => {
    status.textContent = text;
    status.className = `status ${mark}`;
  };
  try {
    const response = await fetch(request.url, { ...request, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    const id = response.headers.get("x-request-id") ?? request.headers["x-request-id"];
    say(`${response.status} ${response.statusText}`, response.ok ? "good" : "bad");
    const took = el("span", {}, `${Math.round(performance.now() - began)} ms`);
    line.append(took, el("span", {}, "request id ", el("code", {}, id)));
    const again = response.headers.get("retry-after");
    if (again) line.append(el("span", {}, `try again after ${again} s`));
    if (response.ok && response.headers.get("content-type")?.startsWith("text/event-stream")) {
      await follow(response, place, took, heard);
      return;
    }
    const text = await response.text();
    const value = read(text);
    if (!response.ok && value) place.append(refused(value));
    const plain = value === null || text.length > MOST_COLOURED;
    place.append(plain ? el("pre", { tabindex: "0" }, text || "Nothing.") : coloured(value));
  } catch (error) {
    if (signal.aborted) line.append(el("span", {}, "stopped"));
    else if (status.textContent === "Sent") say(`No answer: ${error.message}`, "bad");
    else line.append(el("span", {}, `the connection broke (${error.message})`));
  }
}

async function follow(response, place, told, heard) {
  const list = el("ol", { class: "stream", "aria-label": "Messages", reversed: true });
  place.append(list);
  let count = 0;
  let quiet = 0;
  told.textContent = "waiting for the first message";
  for await (const message of messages(response.body)) {
    heard(message);
    if (isQuiet(message)) quiet += 1;
    else {
      count += 1;
      list.prepend(el("li", {}, el("time", {}, new Date().toLocaleTimeString()), coloured(message)));
      if (list.childElementCount > MOST_SHOWN) list.lastChild.remove();
    }
    told.textContent = `${count} ${count === 1 ? "message" : "messages"}${quiet ? `, ${quiet} without events` : ""}`;
  }
  told.textContent += ", the stream ended";
}
