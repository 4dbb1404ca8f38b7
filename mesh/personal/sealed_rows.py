"""Personal fields in the rows of a read model: sealed when a row is stored, opened when it is read (ES-12)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping

from citybrain.event_store.read_models import Row
from citybrain.mesh.personal.fields import NobodysData
from citybrain.mesh.personal.vault import Vault

# The key in a row under which its sealed fields are kept.
_SEALED = "\0sealed"


class SealedRows:
    """The rows of one view. `personal`: fields that are about a person, each with the field that holds the person's id."""

    def __init__(self, vault: Vault, view: str, personal: Mapping[str, str]) -> None:
        self._vault = vault
        self._view = view
        self._personal = personal

    async def seal(self, rows: Mapping[str, Row | None]) -> Mapping[str, Row | None]:
        """Rows as they are stored. NobodysData: a row has a personal field without the person's id."""
        if not self._personal:
            return rows
        sealed = {key: None if row is None else dict(row) for key, row in rows.items()}
        found = [
            (row, field, self._place(key, field))
            for key, row in sealed.items()
            for field in self._personal
            if row is not None and row.get(field) is not None
        ]
        texts = [(self._person(row, field), place, json.dumps(row.pop(field))) for row, field, place in found]
        for (row, field, _), one in zip(found, await self._vault.seal_texts(texts), strict=True):
            row.setdefault(_SEALED, {})[field] = None if one is None else b64encode(one).decode()
        return sealed

    async def open(self, rows: Mapping[str, Row]) -> Mapping[str, Row]:
        """Rows as they were folded; fields about an erased person are None."""
        if not self._personal:
            return rows
        opened = {key: dict(row) for key, row in rows.items()}
        found: list[tuple[Row, str, str, str]] = []
        for key, row in opened.items():
            for field, one in row.pop(_SEALED, {}).items():
                row[field] = None
                if one is not None:
                    found.append((row, field, self._place(key, field), one))
        texts = await self._vault.open_texts([(place, b64decode(one)) for _, _, place, one in found])
        for (row, field, _, _), text in zip(found, texts, strict=True):
            row[field] = None if text is None else json.loads(text)
        return opened

    def _place(self, key: str, field: str) -> str:
        return f"{self._view}\0{key}\0{field}"

    def _person(self, row: Row, field: str) -> str:
        person = row.get(self._personal[field])
        if not person:
            raise NobodysData(f"a row of {self._view} has {field}, and {self._personal[field]} does not say whose it is")
        return str(person)
