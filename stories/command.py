"""`city demo STORY`: the stories that can be played."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from citybrain.stories.burst.command import demo as burst
from citybrain.stories.crowd.command import demo as crowd
from citybrain.stories.emergency.command import demo as emergency
from citybrain.stories.pollution.command import demo as pollution
from citybrain.stories.rush.command import demo as rush

FIRST = "emergency"
"""The story that is played where none is named."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(FIRST)(emergency)
app.command("pollution")(pollution)
app.command("burst")(burst)
app.command("rush")(rush)
app.command("crowd")(crowd)


@app.callback()
def stories() -> None:
    """Plays a story in a city of its own, and shows what the mesh did. Without a name it is the emergency."""


def play(words: Sequence[str]) -> None:
    """Plays what a command line asks for, as `city demo` was given it."""
    named = bool(words) and (not words[0].startswith("-") or words[0] == "--help")
    app([*words] if named else [FIRST, *words], prog_name="city demo")
