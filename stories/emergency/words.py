"""The plain sentence about a run, in English and Chinese. Every number in it was measured in this run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Driven:
    """One drive of a call: seconds from the call to the hospital door (None where it was not reached), and red lights run."""

    door_s: float | None
    reds: int


def minutes(seconds: float) -> str:
    """3 min 05 s."""
    whole = round(abs(seconds))
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def minutes_zh(seconds: float) -> str:
    """3 分 05 秒."""
    whole = round(abs(seconds))
    return f"{whole // 60} 分 {whole % 60:02d} 秒" if whole >= 60 else f"{whole} 秒"


def sentence(lights: Driven | None, siren: Driven | None, city: Driven) -> tuple[str, str]:
    """How much sooner the patient arrived than with lights obeyed, and than with a siren alone (None: SUMO crashed there)."""
    if city.door_s is None:
        return (
            "With the city's help the patient did not get to the hospital before the run ended.",
            "有了城市大脑，患者在仿真结束前没有到达医院。",
        )
    others = ((lights, "when obeying the lights", "遵守信号灯"), (siren, "with a siren alone", "仅鸣笛闪灯"))
    told = [_against(city.door_s, other, *named) for other, *named in others if other is not None]
    reds_en = f"It ran {_reds(city.reds)}" + (f"; with a siren alone {_reds(siren.reds)}." if siren is not None else ".")
    reds_zh = f"途中闯红灯 {city.reds} 次" + (f"；仅鸣笛闪灯时 {siren.reds} 次。" if siren is not None else "。")
    english, chinese = " and ".join(one for one, _ in told), "，".join(one for _, one in told)
    english, chinese = (f": {english}", f"：{chinese}") if told else ("", "")
    return (
        f"With the city's help the patient was at the hospital {minutes(city.door_s)} after the call{english}. {reds_en}",
        f"有了城市大脑，患者从报警到医院门口用时 {minutes_zh(city.door_s)}{chinese}。{reds_zh}",
    )


def _against(city_s: float, other: Driven, english: str, chinese: str) -> tuple[str, str]:
    if other.door_s is None:
        return f"{english} it did not get there before the run ended", f"{chinese}时在仿真结束前没有到达"
    saved = other.door_s - city_s
    if round(abs(saved)) < 1:
        return f"no sooner than {english}", f"与{chinese}相同"
    if saved > 0:
        return f"{minutes(saved)} sooner than {english}", f"比{chinese}早 {minutes_zh(saved)}"
    return f"{minutes(saved)} later than {english}", f"比{chinese}晚 {minutes_zh(saved)}"


def _reds(count: int) -> str:
    return {0: "no red light", 1: "1 red light"}.get(count, f"{count} red lights")
