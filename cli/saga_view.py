"""Sagas on a terminal: a line each, one as a tree of its steps, and what has changed in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.text import Text
from rich.tree import Tree

from citybrain.observability.terminal import escaped

_MARKS = {
    "not begun": "·", "sent": "…", "pausing": "…", "waiting": "…", "asked": "…",
    "resumed": "…", "done": "✓", "skipped": "-", "failed": "✗",
    "timed out": "✗", "undoing": "↺", "undone": "↺", "undo failed": "✗", "undo skipped": "-",
}  # fmt: skip
_STYLES = {"✓": "green", "✗": "red", "…": "yellow", "·": "dim", "-": "dim", "↺": "cyan"}
_LOUD = {pb.SAGA_STATE_NEEDS_HUMAN: "bold red", pb.SAGA_STATE_UNKNOWN: "bold red"}
_REASON = 60


def state(saga: pb.Saga) -> str:
    """The name of a state, for people: needs human."""
    return pb.SagaState.Name(saga.state).removeprefix("SAGA_STATE_").replace("_", " ").lower()


def lines(sagas: Sequence[pb.Saga]) -> Iterator[Text]:
    """One line each, below a line of titles. A line is never cut: a saga is asked for by its whole id."""
    titles = ("saga", "state", "since", "began", "workflow", "district", "why")
    loud = {number: _LOUD[one.state] for number, one in enumerate(sagas, 1) if one.state in _LOUD}
    yield from _table([titles, *map(_cells, sagas)], loud)


def _table(rows: Sequence[tuple[str, ...]], styles: Mapping[int, str]) -> Iterator[Text]:
    """Rows below their titles. `styles`: of the second cell, by the number of the row."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        style = styles.get(number, "") if number else "bold"
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        yield Text.assemble(padded[0], "  ", (padded[1], style), "  ", "  ".join(padded[2:]).rstrip())


def _cells(saga: pb.Saga) -> tuple[str, ...]:
    why = saga.reason if len(saga.reason) <= _REASON else saga.reason[: _REASON - 1] + "…"
    workflow = f"{saga.workflow} {saga.workflow_version}" if saga.workflow else ""
    at = (_at(saga.state_since), _at(saga.started_at))
    return tuple(map(escaped, (saga.saga_id, state(saga), *at, workflow, saga.district_id, why)))


def tasks(found: Sequence[pb.Task]) -> Iterator[Text]:
    """One line each, below a line of titles; none where there are none."""
    titles = ("saga", "kind", "of", "asked", "since", "until", "what")
    yield from _table([titles, *map(_task_cells, found)] if found else [], {})


def _task_cells(task: pb.Task) -> tuple[str, ...]:
    kind = pb.TaskKind.Name(task.kind).removeprefix("TASK_KIND_").lower()
    what = f"{task.text} ({', '.join(task.options)})" if task.options else task.text
    asked = ", ".join(task.authorities) or "on duty"
    return tuple(map(escaped, (task.saga_id, kind, task.step, asked, _at(task.since), _at(task.until), what)))


def drawn(saga: pb.Saga) -> Tree:
    """One saga: what runs side by side stands below one line, a branch each."""
    saga_id, workflow, district, reason = map(escaped, (saga.saga_id, saga.workflow, saga.district_id, saga.reason))
    title = Text.assemble(
        f"{saga_id}  {workflow} {saga.workflow_version}  ", (state(saga), _LOUD.get(saga.state, "bold")),
        f"  since {_at(saga.state_since)}\nbegan {_at(saga.started_at)}", f", district {district}" if district else "",
        f", child of {escaped(saga.parent)}" if saga.parent else "",
        f"\n{reason}" if reason else "",
    )  # fmt: skip
    tree = Tree(title)
    # The branches that are there already, by their names, and the line above those of one part.
    above: dict[str, Tree] = {"": tree}
    for step in saga.steps:
        _branch(above, step.branch).add(_line(step))
    return tree


def _branch(above: dict[str, Tree], name: str) -> Tree:
    if name not in above:
        outer, _, last = name.rpartition("/")
        part = f"{outer}/{last.partition('.')[0]}"
        if part not in above:
            above[part] = _branch(above, outer).add(Text("side by side", "dim"))
        above[name] = above[part].add(Text(f"branch {last.partition('.')[2]}", "dim"))
    return above[name]


def _line(step: pb.SagaStep) -> Text:
    mark = _MARKS.get(step.status, "?")
    return Text.assemble((f"{mark} {escaped(step.name)}", _STYLES.get(mark, "")), f"  {'  '.join(_told(step))}")


def _told(step: pb.SagaStep) -> Iterator[str]:
    yield escaped(step.status)
    if step.HasField("changed_at"):
        yield _at(step.changed_at)
    if step.child:
        yield escaped(f"saga {step.child}")
    if step.tries > 1:
        yield f"{step.tries} tries"
    if step.HasField("next_try_at"):
        yield f"again {_at(step.next_try_at)}"
    if step.HasField("deadline"):
        yield f"late {_at(step.deadline)}"
    if step.asks:
        yield escaped(f"{step.asks} is asked: {step.question} ({', '.join(step.options)})")
    if step.reason:
        yield escaped(step.reason)


def changes(before: pb.Saga, now: pb.Saga) -> Iterator[str]:
    """A line for each step that has changed, and one for the saga."""
    known = {step.name: step for step in before.steps}
    for step in now.steps:
        if step != known.get(step.name):
            yield f"{_MARKS.get(step.status, '?')} {escaped(step.name)}  {'  '.join(_told(step))}"
    if (now.state, now.reason) != (before.state, before.reason):
        yield escaped(f"{now.saga_id} is {state(now)} since {_at(now.state_since)}{f': {now.reason}' if now.reason else ''}")


def _at(moment: Timestamp) -> str:
    if not moment.ByteSize():
        return "-"
    at: datetime = moment.ToDatetime(UTC)
    return at.strftime("%Y-%m-%d %H:%M:%SZ")
