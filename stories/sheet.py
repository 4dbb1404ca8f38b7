"""The report of a story as one HTML page that needs no network and no script: sentences in two languages, drawings, tables.

Texts are plain and are escaped here; drawings are SVG as `drawing.py` makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import NamedTuple

_TEMPLATE = Path(__file__).with_name("sheet.html")
_MARK = re.compile("__(TITLE|PLACE|SENTENCE|PARTS|SOURCE)__")


class Text(NamedTuple):
    """The same in both languages."""

    english: str
    chinese: str


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, as code found it that no service uses."""

    what: Text
    found: str
    holds: bool


@dataclass(slots=True)
class Sheet:
    """A page. `place`: where it is played; `sentence`: what came of it; `source`: where the data are from, and the licence."""

    place: Text
    sentence: Text
    source: Text
    parts: list[str] = field(default_factory=list)

    def heading(self, title: Text) -> None:
        """Begins a part."""
        self.parts.append(f"<h2>{_both(title)}</h2>")

    def paragraph(self, text: Text) -> None:
        """A few sentences."""
        self.parts.append(f"<p>{_both(text)}</p>")

    def drawing(self, svg: str, caption: Text) -> None:
        """A drawing with what it shows."""
        self.parts.append(f'<figure class="card">{svg}<figcaption>{_both(caption)}</figcaption></figure>')

    def beside(self, drawings: Sequence[tuple[str, Text]], caption: Text) -> None:
        """Drawings side by side, each with its name, and what they show."""
        each = "".join(f"<div>{svg}<p>{_both(name)}</p></div>" for svg, name in drawings)
        self.parts.append(
            f'<figure class="card"><div class="beside">{each}</div><figcaption>{_both(caption)}</figcaption></figure>'
        )

    def table(self, head: Sequence[Text], rows: Iterable[Sequence[Text | str]]) -> None:
        """A table. A cell that is a plain text reads the same in both languages."""
        top = "".join(f"<th>{_both(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{_both(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(f'<div class="card wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')

    def checks(self, checks: Sequence[Check]) -> None:
        """What was checked."""
        head = (Text("what must hold", "必须成立"), Text("what was found", "实际结果"), Text("", ""))
        self.table(head, [(check.what, check.found, "✓" if check.holds else "✗") for check in checks])

    def write(self, path: Path) -> int:
        """Writes the page; returns its size in bytes."""
        made = {
            "TITLE": escape(self.sentence.english),
            "PLACE": _both(self.place),
            "SENTENCE": _both(self.sentence),
            "SOURCE": _both(self.source),
            "PARTS": "\n".join(self.parts),
        }
        # All at once: what a text says is never taken for a mark.
        text = _MARK.sub(lambda mark: made[mark.group(1)], _TEMPLATE.read_text(encoding="utf-8"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return len(text.encode())


def _both(text: Text | str) -> str:
    if isinstance(text, str):
        return escape(text)
    if text.english == text.chinese:
        return escape(text.english)
    return f'<span lang="en">{escape(text.english)}</span><span lang="zh-CN">{escape(text.chinese)}</span>'
