// The token that both pages call with: only in this tab, and only ever in a header.
const byId = (id) => document.getElementById(id);
const field = byId("token");
const listeners = [];

const claims = () => {
  try {
    const middle = field.value.trim().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(middle), (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
};

// The header of a call; none without a token.
export const authorization = () => (field.value ? { authorization: `Bearer ${field.value.trim()}` } : {});

// Whether the token is known not to have a scope.
export function lacks(scope) {
  const known = claims();
  const held = `${known?.scope ?? ""}`.split(" ");
  return Boolean(known) && !held.includes(scope) && !held.includes("*");
}

// Calls `told` at each change of the token.
export const whenChanged = (told) => listeners.push(told);

function changed() {
  const known = claims();
  const left = known?.exp ? Math.round((known.exp * 1000 - Date.now()) / 60000) : null;
  const ends = left === null ? "" : left < 0 ? ", has run out" : `, ${left} min left`;
  byId("holder").textContent = field.value ? (known ? `${known.sub ?? "nobody"}${ends}` : "is no JWT") : "";
  byId("forget").hidden = !field.value;
  for (const told of listeners) told();
}

field.value = sessionStorage.getItem("token") ?? "";
field.addEventListener("input", () => {
  sessionStorage.setItem("token", field.value.trim());
  changed();
});
byId("token-form").addEventListener("submit", (event) => event.preventDefault());
byId("token-form").addEventListener("reset", () => {
  sessionStorage.removeItem("token");
  field.value = "";
  field.defaultValue = "";
  setTimeout(changed);
});
changed();
