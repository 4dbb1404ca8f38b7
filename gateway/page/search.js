// The search of a list: `/` leads to it, arrows move in the list.

// `list`: its element, with a section for each group. `all`: gives what is in it, each with its words and its link.
export function searching(list, all) {
  const [search, none] = ["search", "none"].map((id) => document.getElementById(id));
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase().split(/\s+/);
    for (const one of all()) one.link.parentElement.hidden = !wanted.every((word) => one.words.includes(word));
    for (const section of list.children) section.hidden = !section.querySelector("li:not([hidden])");
    none.hidden = !!list.querySelector("section:not([hidden])");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select")) {
      event.preventDefault();
      search.select();
      search.focus();
    }
    if (event.target.closest?.("nav") && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
      const links = [...document.querySelectorAll("nav li:not([hidden]) a")].filter((link) => link.offsetParent);
      const at = links.indexOf(event.target);
      if (event.key === "Enter" && event.target === search) links[0]?.click();
      else if (event.key !== "Enter") {
        event.preventDefault();
        const next = at + (event.key === "ArrowDown" ? 1 : -1);
        (next < 0 ? search : links[Math.min(next, links.length - 1)])?.focus();
      }
    }
  });
  return search;
}
