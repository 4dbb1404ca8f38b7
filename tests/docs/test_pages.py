"""Pages that name what the code has: messages, terms. Where the code changes, they must."""

from __future__ import annotations

import re

from citybrain.local.city import ROOT

ROOMS = (
    "cli", "event_store", "gateway", "k8s", "local", "mesh", "observability", "sagas", "services", "simulation", "stories",
    "tools",
)  # fmt: skip
SOURCES = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".sh", ".lua")]


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table, without heads."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def test_every_message_that_troubleshooting_explains_is_one_that_the_code_has() -> None:
    # Texts that a long line broke in two are one text.
    texts = [re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")) for path in SOURCES]
    messages = [row[0].strip("`") for row in rows("troubleshooting.md")]
    assert len(messages) > 20
    for message in messages:
        parts = [re.escape(part) for part in message.split("…")]
        pattern = re.compile(r"[^\n]{1,60}?".join(parts))
        assert any(pattern.search(text) for text in texts), f"no code says: {message}"


def test_every_term_of_the_glossary_has_both_languages_and_stands_once() -> None:
    found = rows("glossary.md")
    assert all(re.search(r"[\u4e00-\u9fff]", chinese) and here for _, chinese, here in found)
    terms = [term for english, *_ in found for term in english.split(", ")]
    assert len(terms) == len(set(terms))


def test_every_word_of_the_enums_of_the_contracts_is_in_the_glossary() -> None:
    known = " ".join(" ".join(row) for row in rows("glossary.md")).lower()
    enums = [
        text
        for path in (ROOT / "protos").rglob("*.proto")
        for text in re.findall(r"^enum (\w+)", path.read_text(encoding="utf-8"), re.M)
    ]
    words = {word for name in enums for word in re.findall(r"[A-Z][a-z]+", name)} - {"Report", "State", "Stage", "Role", "Kind"}
    assert [word for word in sorted(words) if word.lower() not in known] == []


def test_the_pages_are_linked_from_the_readme_in_both_languages() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    for name in ("README.md", "README.zh-CN.md"):
        assert pages - set(re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))) == set(), name


def test_every_room_says_what_it_is_for_and_what_it_may_import() -> None:
    pages = {name: ROOT / name / "README.md" for name in (*ROOMS, "protos")}
    assert [name for name, page in pages.items() if not page.is_file()] == []
    for wanted in ("**May import**", "**Words.**"):
        texts = {name: page.read_text(encoding="utf-8") for name, page in pages.items() if name != "tools"}
        assert [name for name, text in texts.items() if wanted not in text] == [], wanted
        assert [name for name, text in texts.items() if len(text.splitlines()) > 64] == [], "a README is one screen"


def test_every_file_that_a_room_says_it_has_is_there() -> None:
    said = []
    pages = [*ROOT.glob("*/README.md"), *ROOT.glob("services/*/README.md"), *ROOT.glob("event_store/*/__init__.py")]
    for page in sorted(pages):
        for row in re.findall(r"^\|(.*?)\|", page.read_text(encoding="utf-8"), re.M):
            # After a comma a name may be an ending only.
            said += [page.parent / name for name in re.findall(r"`(\w+\.\w+)`", row)]
    assert len(said) > 100
    assert [str(path.relative_to(ROOT)) for path in said if not path.is_file()] == []


def test_every_module_at_the_top_of_a_room_stands_in_its_readme() -> None:
    # Of the others the README names what a reader looks for first.
    for name in ("cli", "event_store", "k8s", "local", "stories", "tools"):
        page = (ROOT / name / "README.md").read_text(encoding="utf-8")
        modules = {path.name for path in (ROOT / name).glob("*.py")}
        assert [module for module in sorted(modules) if f"`{module}`" not in page] == [], name


def test_every_file_that_the_page_of_the_architecture_names_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+/[\w.-]*)`", page)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert len(rows("architecture.md")) >= 20


def test_every_room_of_the_kit_stands_in_its_readme() -> None:
    page = (ROOT / "mesh" / "README.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "mesh").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(re.findall(r"^\| \[(\w+)\]", page, re.M)) == rooms
