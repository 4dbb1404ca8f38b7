"""Verifies the evidence of a case, a file of records that are sealed one to the next. It needs the file, and asks no city.

    python -m citybrain.client.evidence case.jsonl --head 3f7a…

A record is one line of JSON (UTF-8) with `n` (1, 2, 3 …), `at`, `kind`, `body`, `previous` and `seal`. Its seal is SM3 (GB/T
32905-2016) over the 64 signs of `previous`, the seal of the record before it (of the first one: 64 zeros), followed by the one
form of {at, body, kind, n}: JSON with keys in order, without blanks, without needless escapes. The line itself is in that form
too, so no sign of it can change unnoticed. What a chain cannot show is that its end was cut off, or that all of it was made
anew: for that, give the seal of a record that you know from elsewhere (`head`).

This shares no code with the services that make such files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

BEGINNING = "0" * 64
"""The `previous` of the first record."""
_KEYS = {"n", "at", "kind", "body", "previous", "seal"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. `n`: the record; `line`: where it stands in the file, 0: nowhere."""

    n: int
    line: int
    what: Literal["unreadable", "changed", "missing", "moved", "repeated", "replaced", "cut off"]
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `head_at`: the record whose seal the known head is; 0: none was given, or it is none of them."""

    records: int
    head: str
    head_at: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


class _Record(NamedTuple):
    line: int
    n: int
    previous: str
    seal: str
    # As its content asks for.
    computed: str
    canonical: bool


def verify(lines: Iterable[bytes], head: str = "") -> Report:
    """Verifies a file, line by line. `head`: the seal of a record, known from elsewhere; empty: none is."""
    records: list[_Record] = []
    findings: list[Finding] = []
    guessed: set[int] = set()
    for number, line in enumerate(lines, 1):
        text = line.removesuffix(b"\n")
        read = _read(number, text)
        if isinstance(read, _Record):
            records.append(read)
        else:
            # The one that was to come there.
            guess = records[-1].n + 1 if records else 1
            guessed.add(guess)
            findings.append(Finding(guess, number, "unreadable", read))
    findings += _looked_at(records)
    by_number = {one.n: one for one in records}
    last = max([*by_number, *guessed], default=0)
    for n in range(1, last):
        if n not in by_number and n not in guessed:
            findings.append(Finding(n, 0, "missing", "there is no record of this number"))
    if not records and not guessed:
        findings.append(Finding(1, 0, "missing", "the file has no record"))
    at = next((one.n for one in records if head and one.seal == head), 0)
    if head and not at:
        why = "the head that is known is the seal of none of its records: what followed is missing, or all was made anew"
        findings.append(Finding(last, 0, "cut off", why))
    findings.sort(key=lambda one: (one.n, one.line))
    return Report(len(records), records[-1].seal if records else "", at, tuple(findings))


def _looked_at(records: Sequence[_Record]) -> Iterator[Finding]:
    """What is wrong with each record, and with its place."""
    by_number: dict[int, _Record] = {}
    highest = 0
    for one in records:
        if one.seal != one.computed:
            yield Finding(one.n, one.line, "changed", "its seal does not fit what it says")
        elif not one.canonical:
            yield Finding(one.n, one.line, "changed", "it says the same in another form than it was written in")
        if one.n in by_number:
            yield Finding(one.n, one.line, "repeated", f"it stands in line {by_number[one.n].line} already")
            continue
        if one.n < highest:
            yield Finding(one.n, one.line, "moved", f"it stands behind record {highest}")
        by_number[one.n] = one
        highest = max(highest, one.n)
    for n, one in by_number.items():
        before = by_number.get(n - 1)
        # One that was changed is named already; what follows it fits what it was.
        fits = {BEGINNING} if n == 1 else {before.seal, before.computed} if before is not None else {one.previous}
        changed = before is not None and before.seal != before.computed
        if one.previous not in fits and not changed:
            what = "the first record does not begin a chain" if n == 1 else f"it does not follow record {n - 1} as that is here"
            yield Finding(n, one.line, "replaced", what)


def _read(number: int, text: bytes) -> _Record | str:
    """The record in a line, or why there is none."""
    try:
        decoded = text.decode("utf-8")
        found: Any = json.loads(decoded, parse_constant=_refused)
        if not isinstance(found, dict) or set(found) != _KEYS:
            return f"it is no object with {', '.join(sorted(_KEYS))}"
        n, previous, seal = found["n"], found["previous"], found["seal"]
        if type(n) is not int or n < 1 or not isinstance(found["body"], dict):
            return "its number is no number from 1 on, or its body no object"
        if not all(isinstance(found[key], str) for key in ("at", "kind", "previous", "seal")):
            return "its at, kind, previous and seal are texts"
        sealed = {key: found[key] for key in ("at", "body", "kind", "n")}
        computed = _sm3((previous + _one_form(sealed)).encode("utf-8"))
        return _Record(number, n, previous, seal, computed, _one_form(found) == decoded)
    except (ValueError, RecursionError) as error:
        return f"it is no line of JSON: {error}"


def _one_form(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _sm3(data: bytes) -> str:
    """SM3 as 64 hex digits, by OpenSSL, or by the package cryptography where this Python's OpenSSL was built without it."""
    if "sm3" in hashlib.algorithms_available:
        return hashlib.new("sm3", data).hexdigest()
    from cryptography.hazmat.primitives import hashes

    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize().hex()


def told(report: Report) -> str:
    """The report for people, with every finding by the number of its record."""
    lines = [
        f"✗ record {one.n} ({f'line {one.line}' if one.line else 'not there'}): {one.what}: {one.why}"
        for one in report.findings
    ]
    counted = f"{report.records} record{'' if report.records == 1 else 's'}"
    verdict = "sound" if report.sound else f"{len(report.findings)} finding{'' if len(report.findings) == 1 else 's'}"
    lines.append(f"{counted}: {verdict}; the last seal is {report.head or 'none'}")
    if report.head_at:
        lines.append(f"the head that is known is the seal of record {report.head_at}")
    elif report.sound:
        lines.append("no head was given: an end that was cut off would not be seen (--head)")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verifies a file. Returns the exit code: 0 where nothing is wrong, 1 where something is, 2 where it cannot be read."""
    parser = argparse.ArgumentParser(description="Verifies the evidence of a case, without access to the city.")
    parser.add_argument("file", type=Path, help="what was exported: a record a line")
    parser.add_argument("--head", default="", help="the seal of a record, known from elsewhere")
    asked = parser.parse_args(arguments)
    try:
        with asked.file.open("rb") as file:
            report = verify(file, asked.head)
    except OSError as error:
        sys.stderr.write(f"{asked.file} cannot be read: {error.strerror}\n")
        return 2
    sys.stdout.write(told(report) + "\n")
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main())
