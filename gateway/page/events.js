// The events of the city: a list with a search, a picture of who tells whom, and the page of one event.
import { searching } from "./search.js";
import { inTheLog } from "./log.js";
import { el, fields, prose, resolve, use } from "./schema.js";
import { whenChanged } from "./token.js";

const byId = (id) => document.getElementById(id);
const main = byId("main");
let events = [];
let services = [];
const search = searching(byId("events"), () => events);

function found(api) {
  const all = Object.entries(api.components.messages).map(([type, message]) => ({ ...message, type, publisher: "", hearers: [] }));
  const byType = Object.fromEntries(all.map((one) => [one.type, one]));
  for (const operation of Object.values(api.operations)) {
    const one = byType[operation.channel.$ref.split("/").pop()];
    const [{ name }] = operation.tags;
    if (operation.action === "send") one.publisher = name;
    else one.hearers.push(name);
  }
  return all;
}

function list() {
  byId("events").replaceChildren(...services.filter(({ name }) => events.some((one) => one.publisher === name)).map((service) =>
    el("section", {}, el("h2", {}, service.name), el("ul", {}, events.filter((one) => one.publisher === service.name).map((one) => {
      one.words = [one.type, one.summary, one.publisher, ...one.hearers, one["x-classification"], service.description].join(" ").toLowerCase();
      one.link = el("a", { href: `#${one.type}`, title: one.summary }, el("span", {}, one.title));
      return el("li", {}, one.link);
    })))));
}

// ---- who tells whom: services on a circle, an arrow where one hears another, as wide as there are types of events

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS(byId("seed").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function picture() {
  const talking = services.map(({ name }) => name).filter((name) => events.some((one) => [one.publisher, ...one.hearers].includes(name)));
  const at = Object.fromEntries(talking.map((name, n) => {
    const turn = (2 * Math.PI * n) / talking.length - Math.PI / 2;
    return [name, [360 + 230 * Math.cos(turn), 190 + 150 * Math.sin(turn)]];
  }));
  const heard = {};
  for (const one of events) for (const hearer of one.hearers) if (hearer !== one.publisher) (heard[`${one.publisher} ${hearer}`] ??= []).push(one.title);
  const arrows = Object.entries(heard).map(([pair, titles]) => {
    const [from, to] = pair.split(" ");
    const [[x1, y1], [x2, y2]] = [at[from], at[to]];
    // Bent, so that two arrows between the same two are apart; it ends before the name.
    const [mx, my] = [(x1 + x2) / 2 + (y2 - y1) * 0.15, (y1 + y2) / 2 - (x2 - x1) * 0.15];
    const [dx, dy] = [x2 - mx, y2 - my];
    const part = Math.min((to.length * 4.2 + 8) / Math.abs(dx || 1e-9), 14 / Math.abs(dy || 1e-9));
    const [ex, ey] = [x2 - dx * part, y2 - dy * part];
    return drawn("path", { d: `M${x1},${y1} Q${mx},${my} ${ex},${ey}`, class: "arrow", "stroke-width": 1 + Math.min(titles.length, 8) / 2, "marker-end": "url(#head)" },
      drawn("title", {}, `${from} → ${to}: ${titles.join(", ")}`));
  });
  const names = talking.map((name) => {
    const [x, y] = at[name];
    return drawn("text", { x, y, class: "node", "text-anchor": "middle", "dominant-baseline": "middle" }, name);
  });
  const head = drawn("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 10, markerHeight: 10, markerUnits: "userSpaceOnUse", orient: "auto" },
    drawn("path", { d: "M0,0 L8,4 L0,8 z", class: "tip" }));
  return drawn("svg", { viewBox: "0 0 720 380", role: "img", "aria-label": "Which service hears which", class: "picture" }, drawn("defs", {}, head), ...arrows, ...names);
}

function overview(info) {
  const pairs = services.map(({ name }) => [name, [...new Set(events.filter((one) => one.hearers.includes(name)).map((one) => one.publisher))]]);
  main.replaceChildren(el("h1", {}, "Events"), ...prose(info.description), el("h3", {}, "Who hears whom"), picture(),
    el("ul", {}, pairs.filter(([, from]) => from.length).map(([name, from]) => el("li", {}, `${name} hears ${from.join(", ")}`))));
}

function page(one) {
  const who = (name) => el("a", { href: "#", onclick: () => { search.value = name; search.dispatchEvent(new Event("input")); } }, name);
  main.replaceChildren(
    el("h1", {}, one.title), el("p", { class: "address" }, el("code", {}, one.type)), ...prose(one.summary),
    el("p", {}, "Published by ", who(one.publisher), ". Heard by ", ...(one.hearers.length ? one.hearers.flatMap((name, n) => [n ? ", " : "", who(name)]) : ["no service of the city"]), ". "),
    el("p", { class: "quiet" }, `For clearance ${one["x-classification"]} or higher.`, one["x-deprecated"] ? " Given up: it is still read, and written no more." : ""),
    el("h3", {}, "In the log"), inTheLog(one.type),
    el("h3", {}, "Fields"), ...fields({ ...resolve(one.payload), description: "" }),
    el("h3", {}, "Example"), el("pre", {}, JSON.stringify(one.examples[0].payload, null, 2)));
}

function show() {
  const one = events.find(({ type }) => type === decodeURIComponent(location.hash.slice(1)));
  for (const { link, type } of events) type === one?.type ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.title = one ? `${one.title} – City Brain events` : "City Brain events";
  one ? page(one) : overview(show.info);
  if (one) main.focus();
  scrollTo(0, 0);
}

const answer = await fetch("asyncapi.json");
if (answer.ok) {
  const api = await answer.json();
  use(api);
  [events, services, show.info] = [found(api), api.info.tags, api.info];
  byId("version").textContent = api.info.version;
  list();
  show();
  addEventListener("hashchange", show);
  whenChanged(() => document.querySelector(".log")?.replaceWith(inTheLog(decodeURIComponent(location.hash.slice(1)))));
} else {
  main.replaceChildren(el("p", { class: "problem" }, `The events cannot be shown: the gateway answers ${answer.status}.`));
}
