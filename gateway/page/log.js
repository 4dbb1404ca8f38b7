// What stands in the log of one type of events: asked of the catalogue, with the token of this tab.
import { newId } from "./calls.js";
import { el } from "./schema.js";
import { authorization } from "./token.js";

const ADDRESS = "/v1/catalogue/event-types";
const NEEDED = "With a token that has the scope catalogue.read, this shows how many there are, since when, and how late they come.";

const moment = (text) => new Date(text).toLocaleString();
const number = (text) => Number(text ?? 0).toLocaleString();

// "0.011314s" of the JSON, for people.
export function span(text) {
  const seconds = parseFloat(text ?? "0");
  if (seconds < 1) return `${Math.ceil(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

const ODD = [
  ["late", "came more than a minute after they had happened"],
  ["ahead", "were recorded before they happened: two clocks differ"],
  ["outOfOrder", "happened before one that stood there already"],
  ["unreadable", "cannot be read: their bytes are no such event"],
];

export function lines(found) {
  if (!found) return ["None so far."];
  const { lateness, quality = {} } = found;
  const odd = ODD.filter(([name]) => Number(quality[name])).map(([name, words]) => `${number(quality[name])} ${words}.`);
  const of = found.days?.reduce((sum, day) => sum + Number(day.count), 0);
  return [
    `${number(found.count)} since ${moment(found.firstRecordedAt)}, the last one ${moment(found.lastRecordedAt)}. None is ever deleted.`,
    `Of the last days: ${(found.days ?? []).map((day) => `${day.date}: ${number(day.count)}`).join(", ")}.`,
    lateness
      ? `Half of these ${number(of)} were recorded within ${span(lateness.half)}, 99 of 100 within ${span(lateness.nearlyAll)}.`
      : "City time is driven here, so nothing is said of lateness.",
    ...(odd.length ? odd : ["Nothing about them is odd."]),
  ];
}

async function told(type) {
  const headers = { "x-request-id": newId(), ...authorization() };
  if (!headers.authorization) return [NEEDED];
  try {
    const answer = await fetch(`${ADDRESS}?type=${encodeURIComponent(type)}`, { headers, cache: "no-store", credentials: "omit", redirect: "error" });
    const body = await answer.json();
    return answer.ok ? lines(body.types?.[0]) : [`The catalogue answers ${answer.status}: ${body.message ?? ""}`];
  } catch (error) {
    return [`The catalogue does not answer: ${error.message}`];
  }
}

// An element that fills itself as soon as the answer is there.
export function inTheLog(type) {
  const place = el("div", { class: "log", role: "status" });
  told(type).then((texts) => place.replaceChildren(...texts.map((text) => el("p", {}, text))));
  return place;
}
