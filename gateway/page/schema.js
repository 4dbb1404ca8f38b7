// Reads schemas of the document, and shows them.

let components = {};
export const use = (document) => (components = document.components);

// An element. Texts are always texts, never markup.
export function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

// Paragraphs, lists and `code`, as comments of the contracts have them.
export function prose(text) {
  const inline = (line) => line.split("`").map((part, n) => (n % 2 ? el("code", {}, part) : part));
  return (text ?? "").split(/\n\n+/).filter(Boolean).flatMap((paragraph) => {
    const lines = paragraph.split("\n");
    const items = lines.filter((line) => line.startsWith("- "));
    const before = lines.filter((line) => !line.startsWith("- ")).join(" ");
    return [
      ...(before ? [el("p", {}, inline(before))] : []),
      ...(items.length ? [el("ul", {}, items.map((line) => el("li", {}, inline(line.slice(2)))))] : []),
    ];
  });
}

const named = (ref) => ref.split("/").pop();
export function resolve(part) {
  if (!part?.$ref) return part ?? {};
  const [, , kind, name] = part.$ref.split("/");
  const { $ref, ...beside } = part;
  return { ...components[kind][name], ...beside };
}

// The values that a schema allows, without those that a rule refuses.
export const choices = (schema) => schema.enum?.filter((value) => !schema.not?.enum?.includes(value));

const TEXTS = { "date-time": "moment", int64: "int64 as text", uint64: "uint64 as text" };
export function kind(part) {
  const schema = resolve(part);
  if (schema.type === "array") return resolve(schema.items).enum ? "some of" : `list of ${kind(schema.items)}`;
  if (schema.additionalProperties?.constructor === Object) return `map of ${kind(schema.additionalProperties)}`;
  if (part.$ref && schema.type !== "string") return named(part.$ref).split(".").pop();
  if (schema.contentEncoding) return "base64";
  return schema.enum ? "one of" : TEXTS[schema.format] ?? schema.format ?? schema.anyOf?.[0].format ?? schema.type ?? "anything";
}

function limits(schema) {
  const from = (least, most, unit) => {
    if (least == null) return most == null ? [] : [`at most ${most}${unit}`];
    return [most == null ? `at least ${least}${unit}` : `${least} to ${most}${unit}`];
  };
  return [
    ...from(schema.minimum, schema.maximum, ""),
    ...(schema.exclusiveMinimum == null ? [] : [`more than ${schema.exclusiveMinimum}`]),
    ...(schema.exclusiveMaximum == null ? [] : [`less than ${schema.exclusiveMaximum}`]),
    ...(/bytes in UTF-8/.test(schema.description) ? [] : from(schema.minLength, schema.maxLength, " letters")),
    ...from(schema.minItems, schema.maxItems, " items"),
    ...(schema.pattern && !TEXTS[schema.format] ? [schema.pattern] : []),
  ];
}

// One field or parameter: its name, kind, limits, description, and what is inside it. `id`: of the input that the name is for.
export function about(name, part, required, text = part.description, id = null) {
  const schema = resolve(part);
  const item = schema.type === "array" ? resolve(schema.items) : schema;
  const values = choices({ ...item, not: schema.not ?? item.not });
  const title = el("code", {}, name);
  return [
    el("p", { class: "field" }, id ? el("label", { for: id }, title) : title, el("span", { class: "kind" }, kind(part)),
      required ? el("b", {}, "required") : null,
      limits({ ...schema, description: text }).map((limit) => el("span", { class: "limit" }, limit))),
    ...prose(text),
    ...(values ? [el("p", { class: "values" }, values.map((value) => el("code", {}, value)))] : []),
    ...(Object.keys(item.properties ?? {}).length ? [inside(part.items ?? part, item)] : []),
  ];
}

// The fields of a message, made when they are opened: a message may hold itself.
function inside(part, schema) {
  const show = ({ target }) => target.open && target.childElementCount === 1 && target.append(...fields(schema));
  return el("details", { ontoggle: show }, el("summary", {}, `Fields of ${part.$ref ? named(part.$ref).split(".").pop() : "it"}`));
}

export function fields(part) {
  const schema = resolve(part);
  const all = Object.entries(schema.properties ?? {});
  if (!all.length) return [el("p", { class: "quiet" }, "No fields.")];
  const rows = all.map(([name, field]) => el("li", {}, about(name, field, schema.required?.includes(name))));
  return [...prose(schema.description), el("ul", { class: "fields" }, rows)];
}

// A value to begin with. `whole`: with the fields that may be left out.
export function example(part, whole, depth = 0) {
  const schema = resolve(part);
  const values = choices(schema);
  if (values) return values.find((value) => !value.endsWith("_UNSPECIFIED")) ?? values[0];
  if (schema.type === "array") return depth < 6 && (whole || schema.minItems) ? [example(schema.items, whole, depth + 1)] : [];
  if (schema.properties) {
    const chosen = Object.entries(schema.properties).filter(([name]) => depth < 6 && (whole || schema.required?.includes(name)));
    return Object.fromEntries(chosen.map(([name, field]) => [name, example(field, whole, depth + 1)]));
  }
  if (schema.type === "object") return {};
  if (schema.type === "boolean") return false;
  if (schema.format === "date-time") return new Date().toISOString().replace(/\.\d+/, "");
  if (["int64", "uint64"].includes(schema.format)) return "0";
  if (["integer", "number"].includes(schema.type) || schema.anyOf) return schema.minimum ?? 0;
  return "";
}
