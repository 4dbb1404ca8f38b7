"""The plain sentence for someone who is no engineer, in English and Chinese; every number in it was measured in this run."""

from __future__ import annotations


def minutes(seconds: float) -> str:
    """3 min 05 s."""
    whole = round(abs(seconds))
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def minutes_zh(seconds: float) -> str:
    """3 分 05 秒."""
    whole = round(abs(seconds))
    return f"{whole // 60} 分 {whole % 60:02d} 秒" if whole >= 60 else f"{whole} 秒"


def sentence(without_s: float | None, with_s: float | None) -> tuple[str, str]:
    """What the city changed for one patient: seconds from the call to the hospital door, None where it was not reached."""
    if with_s is None or without_s is None:
        return _missing(without_s, with_s)
    saved = without_s - with_s
    if saved > 0.5:
        return (
            f"With the city's help the patient was at the hospital door {minutes(saved)} sooner: "
            f"{minutes(with_s)} after the call instead of {minutes(without_s)}.",
            f"有了城市大脑，患者提前 {minutes_zh(saved)} 到达医院："
            f"从报警到医院门口用时 {minutes_zh(with_s)}，而不是 {minutes_zh(without_s)}。",
        )
    return (
        f"This time the city's help did not bring the patient to the hospital sooner: {minutes(with_s)} after the call, "
        f"and {minutes(without_s)} without it.",
        f"这一次城市大脑没有让患者更早到达医院：用时 {minutes_zh(with_s)}，没有它时 {minutes_zh(without_s)}。",
    )


def _missing(without_s: float | None, with_s: float | None) -> tuple[str, str]:
    if with_s is not None:
        return (
            f"With the city's help the patient was at the hospital door {minutes(with_s)} after the call. "
            "The drive without it did not get there before the run ended, so the two cannot be compared.",
            f"有了城市大脑，患者从报警到医院门口用时 {minutes_zh(with_s)}。没有它时，在仿真结束前没有到达，因此无法比较。",
        )
    if without_s is not None:
        return (
            "With the city's help the patient did not get to the hospital before the run ended; "
            f"without it, {minutes(without_s)} after the call.",
            f"有了城市大脑，患者在仿真结束前没有到达医院；没有它时，从报警到医院门口用时 {minutes_zh(without_s)}。",
        )
    return (
        "In neither drive did the patient get to the hospital before the run ended, so there is nothing to compare.",
        "两次行程在仿真结束前都没有把患者送到医院，因此无法比较。",
    )
