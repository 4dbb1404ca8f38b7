"""Exercises (演练): drills that use the services of the city, on streams of their own.

A call that names an exercise, and every call and event that follows from it, reads and writes the streams of that exercise.
Each begins as a copy of the city's stream, and nothing of it comes back. Read models, reactions and followers see none of it,
unless they ask. So a drill finds the city as it is, and changes nothing in it.
"""

from __future__ import annotations

import re

from citybrain.mesh.errors import BadRequest, Forbidden

HEADER = "x-exercise"
"""The header that names an exercise, in calls from outside too."""
SCOPE = "exercises.join"
"""The scope without which nobody outside may name one."""
KIND = "exercise"
"""No stream of the city is of a kind that begins so."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def admit(name: str, *, holds_scope: bool) -> str:
    """The exercise that a call names; empty: none. BadRequest: no such name can be. Forbidden: the caller may not take part."""
    if name and not _NAME.fullmatch(name):
        raise BadRequest([(HEADER, "names an exercise with a-z, 0-9 and -, in at most 40 letters: fire-2026")])
    if name and not holds_scope:
        raise Forbidden(f"to take part in an exercise a token needs the scope {SCOPE}", "NO_EXERCISE")
    return name


def of_token(exercise: str) -> str:
    """What makes a resume token one of an exercise: with it nobody goes on in the city, or in another exercise."""
    return f"|{KIND}-{exercise}" if exercise else ""


def stream_in(exercise: str, stream: str) -> str:
    """The name of a stream in an exercise; without one: that of the city."""
    if not exercise:
        return stream
    service, _, rest = stream.partition("/")
    return f"{service}/{KIND}-{exercise}/{rest}"


def exercise_of(stream: str) -> str:
    """The exercise that a stream is of; empty: it is the city's."""
    _, _, rest = stream.partition("/")
    space, slash, _ = rest.partition("/")
    return space.removeprefix(f"{KIND}-") if slash and space.startswith(f"{KIND}-") else ""


def city_stream(stream: str) -> str:
    """The city's stream that a stream of an exercise is a copy of."""
    service, _, rest = stream.partition("/")
    return f"{service}/{rest.partition('/')[2]}"
