"""What a sector writes when it has changed its events twice."""

from __future__ import annotations

from citybrain.probe.v1 import events_pb2 as ev

from citybrain.mesh.service import upcast


@upcast(ev.Jotted, ev.Noted)
def jotted(old: ev.Jotted) -> ev.Noted:
    about, _, text = old.line.partition(": ")
    return ev.Noted(about=about, text=text)


@upcast(ev.Noted, ev.Written)
def noted(old: ev.Noted) -> ev.Written:
    return ev.Written(key=old.about, text=old.text)
