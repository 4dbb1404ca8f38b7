"""A digest of a workflow's definition: equal as long as its sagas would do the same.

It is made of the values of the definition, and of the code of its functions with all that they use in the same folder.
Comments, layout, docstrings and type annotations do not count, nor does the release of Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from citybrain.mesh.storage.code_digests import text_of
from citybrain.sagas.engine.definition import Workflow


class DigestError(Exception):
    """A definition that no digest can be made of. The message says what in it is the matter."""


def digest(workflow: Workflow) -> str:
    """The SHA-256 of a definition in hex. DigestError: it holds something that has no text of its own."""
    return hashlib.sha256("\n".join(_lines(workflow)).encode()).hexdigest()


def _lines(value: Any) -> Iterator[str]:
    """A value as text."""
    if isinstance(value, bool | int | float | str | None):
        yield repr(value)
    elif isinstance(value, type) and hasattr(value, "DESCRIPTOR"):
        yield f"message {value.DESCRIPTOR.full_name}"
    elif isinstance(value, Mapping):
        yield "mapping"
        for item in value.items():
            yield from _lines(item)
    elif isinstance(value, tuple):
        yield f"{len(value)} of"
        for item in value:
            yield from _lines(item)
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__
        for field in dataclasses.fields(value):
            held = getattr(value, field.name)
            # A word that the vocabulary gets later changes no definition that does not use it.
            if field.init and not _is_default(field, held):
                yield field.name
                yield from _lines(held)
    elif callable(value) and (text := text_of(value)):
        yield text
    else:
        raise DigestError(
            f"a definition holds {value!r}: make it of functions with a source, messages, numbers, texts, tuples and mappings"
        )


def _is_default(field: dataclasses.Field[Any], held: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(held == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(held is field.default or held == field.default)
