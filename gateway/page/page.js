// The list of methods, and the page of one method.
import { newId, send } from "./calls.js";
import { searching } from "./search.js";
import { about, choices, el, example, fields, prose, resolve, use } from "./schema.js";
import { authorization, lacks, whenChanged } from "./token.js";

const byId = (id) => document.getElementById(id);
const main = byId("main");
let api;
let operations = [];
let running;

// Tells beside a method that the token has not its scope.
function tellScope() {
  const warning = byId("scope-warning");
  if (warning) warning.textContent = lacks(warning.dataset.scope) ? "Your token does not have it." : "";
}
whenChanged(tellScope);

// ---- the list

const VERBS = ["get", "post", "put", "patch", "delete"];
const verbTag = (one) => el("span", { class: `verb ${one.streams ? "live" : one.verb}` }, one.streams ? "live" : one.verb);

function found(document) {
  return Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).filter(([verb]) => VERBS.includes(verb)).map(([verb, operation]) => ({
      ...operation, path, verb, scope: operation.security[0].bearer[0],
      answer: Object.entries(operation.responses[200].content)[0][1].schema,
      streams: "text/event-stream" in operation.responses[200].content,
    })));
}

function list() {
  byId("methods").replaceChildren(...api.tags.map((tag) => el("section", {},
    el("h2", { title: tag["x-grpc"] }, tag["x-displayName"]),
    el("ul", {}, operations.filter((one) => one.tags[0] === tag.name).map((one) => {
      one.words = [one.summary, one.path, one.operationId, one.description, one.scope, tag["x-displayName"]].join(" ").toLowerCase();
      one.link = el("a", { href: `#${one.operationId}`, title: one.path }, verbTag(one), el("span", {}, one.summary));
      return el("li", {}, one.link);
    })))));
}

searching(byId("methods"), () => operations);

// ---- the page of one method

// An input for a parameter, by its schema.
function input(parameter, id) {
  const schema = resolve(parameter.schema);
  const many = schema.type === "array";
  const item = many ? resolve(schema.items) : schema;
  const values = item.type === "boolean" ? ["false", "true"] : choices({ ...item, not: schema.not ?? item.not });
  const common = { id, name: parameter.name, required: parameter.required, "data-in": parameter.in, "aria-describedby": `${id}-is` };
  if (values) {
    const options = values.map((value) => el("option", {}, value));
    const size = many ? Math.min(values.length, 5) : false;
    return el("select", { ...common, multiple: many, size }, many ? null : el("option", { value: "" }, "–"), options);
  }
  if (many) return el("textarea", { ...common, rows: 2, placeholder: "one a line", "data-lines": true });
  const placeholder = parameter.in === "header" ? "a new one each time" : item.format === "date-time" ? "2026-05-01T08:00:00Z" : "";
  return el("input", {
    ...common, type: item.type === "integer" ? "number" : "text", min: item.minimum, max: item.maximum, pattern: item.pattern,
    placeholder, spellcheck: "false", autocomplete: "off",
  });
}

const given = (field) =>
  field.multiple ? [...field.selectedOptions].map((option) => option.value)
    : field.matches("[data-lines]") ? field.value.split("\n").map((line) => line.trim()).filter(Boolean)
    : field.value === "" ? [] : [field.value];

function requestOf(one, form) {
  let path = one.path;
  const query = new URLSearchParams();
  const headers = { "x-request-id": newId() };
  for (const field of form.querySelectorAll("[data-in]")) {
    for (const value of given(field)) {
      if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(value));
      else if (field.dataset.in === "query") query.append(field.name, value);
      else headers[field.name] = value;
    }
  }
  const body = form.querySelector("#body")?.value;
  if (body) headers["content-type"] = "application/json";
  return { url: `${path}${query.size ? `?${query}` : ""}`, method: one.verb.toUpperCase(), headers, body: body || undefined };
}

// The same call for a shell. The token is never part of it.
function asCurl(request) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const headers = Object.entries(request.headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  return [`curl -sN -X ${request.method} ${quoted(location.origin + request.url)}`, '-H "authorization: Bearer $TOKEN"', ...headers,
    ...(request.body ? [`-d ${quoted(request.body)}`] : [])].join(" \\\n  ");
}

function bodyOf(one) {
  const schema = one.requestBody?.content["application/json"].schema;
  if (!schema) return [];
  const text = el("textarea", { id: "body", rows: 8, spellcheck: "false", "aria-describedby": "body-problem" });
  const problem = el("p", { id: "body-problem", class: "problem", role: "status" });
  const check = () => {
    let told = "";
    try {
      if (text.value) JSON.parse(text.value);
    } catch (error) {
      told = error.message;
    }
    problem.textContent = told;
    text.setCustomValidity(told && "This is no JSON.");
  };
  const fill = (whole) => {
    text.value = JSON.stringify(example(schema, whole), null, 2);
    text.rows = Math.min(24, Math.max(4, text.value.split("\n").length + 1));
    check();
  };
  text.addEventListener("input", check);
  fill(false);
  const buttons = [[false, "Only what is required"], [true, "All fields"]].map(([whole, words]) =>
    el("button", { type: "button", class: "light", onclick: () => fill(whole) }, words));
  return [el("div", { class: "bar" }, el("h3", {}, el("label", { for: "body" }, "Body")), buttons),
    el("div", { class: "body" }, el("div", {}, text, problem), el("div", {}, fields(schema)))];
}

function show(one) {
  const parameters = one.parameters.map(resolve);
  const answer = el("div", { id: "answer" });
  const go = el("button", { type: "submit" }, one.streams ? "Follow" : "Send");
  const stop = el("button", { type: "button", class: "light", hidden: true, onclick: () => running?.abort() }, "Stop");
  const copy = async () => {
    await navigator.clipboard?.writeText(asCurl(requestOf(one, form)));
    curl.textContent = "Copied";
    setTimeout(() => (curl.textContent = "Copy as curl"), 1500);
  };
  const curl = el("button", { type: "button", class: "light", onclick: copy }, "Copy as curl");
  const rows = parameters.map((parameter, n) => el("div", { class: "row" },
    el("div", { id: `p${n}-is` }, about(parameter.name, parameter.schema, parameter.required, parameter.description ?? "", `p${n}`)),
    input(parameter, `p${n}`)));
  const form = el("form", {}, el("h3", {}, "Parameters"), rows, bodyOf(one),
    el("div", { class: "bar send" }, go, stop, curl, el("kbd", {}, "Ctrl Enter")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = (running = new AbortController());
    const request = requestOf(one, form);
    Object.assign(request.headers, authorization());
    stop.hidden = false;
    answer.scrollIntoView({ block: "nearest" });
    // The next time it goes on where it was.
    const resume = form.querySelector("[name=resumeToken]");
    await send(request, answer, mine.signal, (message) => resume && message.resumeToken && (resume.value = message.resumeToken));
    if (running === mine) stop.hidden = true;
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  main.replaceChildren(
    el("h1", {}, one.summary), el("p", { class: "address" }, verbTag(one), el("code", {}, one.path)), ...prose(one.description),
    el("p", { class: "quiet" }, "Scope ", el("code", {}, one.scope), " ", el("em", { id: "scope-warning", "data-scope": one.scope })),
    el("p", { class: "quiet" }, "gRPC ", el("code", {}, one["x-grpc"])),
    form, answer, el("section", {}, el("h3", {}, one.streams ? "Each message has" : "The answer has"), ...fields(one.answer)));
}

function home() {
  main.replaceChildren(el("h1", {}, api.info.title), ...prose(api.info.description),
    el("p", {}, el("a", { href: "openapi.json" }, "openapi.json"), " is this API as a document (OpenAPI 3.1). Keys: ",
      el("kbd", {}, "/"), " searches, ", el("kbd", {}, "↓"), " goes through the list, ", el("kbd", {}, "Ctrl Enter"), " sends."),
    ...api.tags.map((tag) => el("section", { class: "service" }, el("h2", {}, tag["x-displayName"]),
      el("div", {}, prose(tag.description?.replace(`${tag["x-displayName"]}: `, ""))))));
}

function open() {
  running?.abort();
  const one = operations.find((other) => other.operationId === location.hash.slice(1));
  document.querySelector("nav [aria-current]")?.removeAttribute("aria-current");
  one?.link.setAttribute("aria-current", "page");
  if (one) show(one);
  else if (location.hash.slice(1) !== "main") home();
  document.title = `${one ? `${one.summary} · ` : ""}City Brain API`;
  one?.link.scrollIntoView({ block: "nearest" });
  tellScope();
}

api = await fetch("openapi.json").then((answer) => answer.json()).catch((error) => {
  main.textContent = `The document of the API cannot be read (${error.message}): load this page again.`;
  throw error;
});
use(api);
operations = found(api);
byId("version").textContent = api.info.version;
list();
addEventListener("hashchange", () => {
  open();
  if (location.hash.length > 1) main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
open();
