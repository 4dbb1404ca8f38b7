"""The ids of sagas in exercises (演练). A saga is known by `fire-2026~inc-1` there, and calls itself inc-1 as anywhere."""

from __future__ import annotations

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.runtime.exercises import exercise_of

_BETWEEN = "~"


def may_be_id(saga_id: str) -> bool:
    """Whether a saga can call itself so."""
    return _BETWEEN not in saga_id


def in_exercise(exercise: str, saga_id: str) -> str:
    """The id by which a saga is known; without an exercise: its own. BadRequest: it has the sign between the two."""
    if not may_be_id(saga_id):
        raise BadRequest([("saga_id", f"has a {_BETWEEN}, which stands between an exercise and its sagas: choose another")])
    return f"{exercise}{_BETWEEN}{saga_id}" if exercise else saga_id


def parted(saga_id: str) -> tuple[str, str]:
    """The exercise that a saga is of (empty: none), and its own id."""
    exercise, between, own = saga_id.partition(_BETWEEN)
    return (exercise, own) if between else ("", saga_id)


def saga_of(stream: str) -> str:
    """The id by which the saga is known whose stream it is."""
    exercise, own = exercise_of(stream), stream.partition("/saga-")[2]
    return f"{exercise}{_BETWEEN}{own}" if exercise else own
