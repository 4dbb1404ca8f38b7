"""What calls to the hotline are about: words, departments, and how near two calls of one matter are. A table with its version.

All of it is a proposal of this project: docs/urban-management.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.mesh.merging import Reach

VERSION = "urban-hotline-2"
"""Stands on each ticket. A changed table gets another one."""


@dataclass(frozen=True, slots=True)
class TicketKind:
    """`words`: those that lead to it. `order`: the kind of work, which has the time that an answer may take."""

    department: str
    order: str
    reach: Reach
    words: tuple[str, ...]


DAY = 24 * 60
KINDS: Mapping[str, TicketKind] = {
    "gas": TicketKind(
        "urban_management.utilities",
        "gas",
        Reach(200, DAY),
        ("燃气", "煤气", "天然气", "漏气", "液化气", "gas leak", "smell of gas", "gas"),
    ),
    "water": TicketKind(
        "urban_management.utilities",
        "water",
        Reach(200, DAY),
        (
            "停水",
            "没水",
            "供水",
            "水管",
            "爆管",
            "漏水",
            "自来水",
            "水压",
            "水龙头",
            "水表",
            "burst pipe",
            "water pipe",
            "no water",
            "tap water",
        ),
    ),
    "power": TicketKind(
        "urban_management.utilities",
        "power",
        Reach(300, DAY),
        ("停电", "没电", "断电", "供电", "触电", "电线", "跳闸", "power cut", "blackout", "no electricity", "power line"),
    ),
    "drainage": TicketKind(
        "urban_management.drainage",
        "drainage",
        Reach(150, DAY),
        ("积水", "内涝", "下水道", "污水", "堵塞", "淹", "排水", "返水", "flooded", "flooding", "sewer", "drain"),
    ),
    "manhole": TicketKind("urban_management.drainage", "manhole", Reach(30, 3 * DAY), ("井盖", "窨井", "manhole")),
    "road": TicketKind(
        "urban_management.roads",
        "component",
        Reach(50, 7 * DAY),
        ("路面", "坑洼", "坑坑洼洼", "地砖", "破损", "塌陷", "pothole", "road surface"),
    ),
    "bridge": TicketKind(
        "urban_management.roads",
        "bridge",
        Reach(100, 3 * DAY),
        ("大桥", "天桥", "桥梁", "桥面", "桥墩", "立交", "隧道", "高架", "bridge", "tunnel"),
    ),
    "lamp": TicketKind(
        "urban_management.roads",
        "lamp",
        Reach(50, 7 * DAY),
        ("路灯", "街灯", "灯不亮", "灯都不亮", "灯坏", "照明", "street lamp", "street light", "streetlight"),
    ),
    "garbage": TicketKind(
        "urban_management.cleaning",
        "bin",
        Reach(50, 2 * DAY),
        ("垃圾", "脏", "臭", "保洁", "环卫", "garbage", "rubbish", "litter", "trash"),
    ),
    "parking": TicketKind(
        "urban_management.parking",
        "parking",
        Reach(50, 120),
        ("停车", "违停", "车位", "乱停", "把车停", "私家车", "parking", "parked"),
    ),
    "vendor": TicketKind(
        "urban_management.enforcement",
        "other",
        Reach(50, 240),
        ("摊", "摆摊", "占道", "流动摊贩", "小贩", "street vendor", "stall", "hawker"),
    ),
    "dog": TicketKind("urban_management.enforcement", "dog", Reach(100, DAY), ("狗", "犬", "遛狗", "dog")),
    "noise": TicketKind(
        "urban_management.enforcement",
        "other",
        Reach(100, 240),
        ("噪音", "噪声", "扰民", "施工声", "吵", "音响", "大声", "喇叭", "noise", "noisy", "loud"),
    ),
    "river": TicketKind(
        "urban_management.rivers", "river", Reach(300, DAY), ("河道", "河水", "黑臭", "死鱼", "river", "canal", "dead fish")
    ),
    # What nobody has sorted has nothing in common: it joins no ticket.
    "other": TicketKind("hotline.desk", "other", Reach(0, 0), ()),
}
"""In this order; of kinds that fit equally well the first counts."""
