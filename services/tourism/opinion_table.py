"""The words that sort what is said of a place, by topic and by mood: a table with its version. A proposal of this project."""

from __future__ import annotations

from collections.abc import Mapping

from citybrain.tourism.v1 import opinion_pb2 as pb

VERSION = "tourism-opinion-1"
"""Stands on each post that was sorted by it. A changed table gets another one."""

TOPICS: Mapping[pb.OpinionTopic, tuple[str, ...]] = {
    pb.OPINION_TOPIC_CROWDING: (
        "人山人海", "人挤人", "拥挤", "挤", "人多", "人太多", "排队", "排长队", "队伍", "人流", "限流", "人从众",
        "crowd", "crowded", "queue", "packed", "waiting line", "overcrowded",
    ),
    pb.OPINION_TOPIC_PRICES: (
        "价格", "贵", "便宜", "门票", "票价", "宰客", "坑钱", "收费", "性价比", "物价", "块钱", "优惠",
        "price", "expensive", "cheap", "ticket", "fee", "rip-off", "overpriced", "cost", "value for money",
    ),
    pb.OPINION_TOPIC_SERVICE: (
        "服务", "态度", "工作人员", "导游", "讲解", "客服", "店员", "保安", "志愿者", "退票", "投诉",
        "service", "staff", "guide", "rude", "helpful", "refund", "volunteer",
    ),
    pb.OPINION_TOPIC_CLEANLINESS: (
        "卫生", "干净", "脏", "垃圾", "臭", "厕所", "洗手间", "苍蝇", "异味", "整洁",
        "clean", "dirty", "litter", "toilet", "restroom", "smelly", "filthy", "rubbish",
    ),
    pb.OPINION_TOPIC_WAY_THERE: (
        "堵车", "停车", "地铁", "公交", "打车", "交通", "车位", "接驳", "堵", "路线",
        "traffic", "parking", "metro", "subway", "shuttle", "taxi", "bus", "jam",
    ),
    pb.OPINION_TOPIC_EQUIPMENT: (
        "设施", "座椅", "椅子", "电梯", "指示牌", "路牌", "信号", "充电", "无障碍", "游船", "缆车", "坏了",
        "bench", "lift", "escalator", "sign", "wheelchair", "cable car", "broken", "signal", "facilities",
    ),
    pb.OPINION_TOPIC_DANGER: (
        "危险", "安全", "踩踏", "摔", "受伤", "落水", "护栏", "打架", "小偷", "被偷", "走丢", "湿滑",
        "danger", "dangerous", "unsafe", "safe", "injured", "stampede", "slippery", "thief", "stolen", "railing",
    ),
    pb.OPINION_TOPIC_SCENERY: (
        "景色", "风景", "美景", "荷花", "日落", "夜景", "湖", "拍照", "风光", "美", "花海", "桂花",
        "view", "scenery", "lotus", "sunset", "lake", "beautiful", "photo", "landscape",
    ),
}  # fmt: skip
"""A word belongs to one topic. Of topics that fit equally well the first counts."""

PLEASED = (
    "喜欢", "漂亮", "很美", "太美", "绝美", "真美", "美丽", "好看", "好玩", "好吃", "很好", "真好", "太好", "非常好",
    "不错", "满意", "推荐", "值得", "舒服", "干净", "整洁", "热情", "耐心", "方便", "便宜", "惊喜", "开心", "赞", "完美",
    "划算", "贴心", "周到", "有序", "免费", "点赞", "凉快", "惬意", "友好", "安全", "良心", "顺畅", "震撼", "安静", "难忘",
    "love", "loved", "great", "lovely", "beautiful", "wonderful", "clean", "friendly", "helpful", "recommend", "excellent",
    "amazing", "cheap", "pleasant", "perfect", "enjoyed", "worth", "good", "nice", "well organised", "safe", "free",
    "stunning", "peaceful",
)  # fmt: skip

ANNOYED = (
    "人山人海", "人挤人", "拥挤", "挤", "排长队", "太多人", "人太多", "贵", "宰客", "坑", "差", "差劲", "失望", "脏", "臭",
    "垃圾", "糟糕", "难吃", "无聊", "态度恶劣", "恶劣", "堵", "堵车", "危险", "后悔", "不好", "投诉", "受伤", "摔", "坏了",
    "生气", "愤怒", "崩溃", "受罪", "混乱", "乱", "骗", "避雷", "踩雷", "敷衍", "不值", "异味", "苍蝇", "偷", "走丢",
    "太久", "太累", "冷漠", "无语", "难受", "吵", "湿滑", "踩踏", "crowded", "overcrowded", "packed", "expensive",
    "overpriced", "rip-off", "bad", "terrible", "awful", "dirty", "filthy", "smelly", "rude", "disappointed",
    "disappointing", "dangerous", "unsafe", "broken", "boring", "horrible", "worst", "stolen", "jam", "chaos", "chaotic",
    "injured", "slippery", "noisy", "unfriendly", "waste of", "never again", "useless", "stampede", "litter", "scam",
)  # fmt: skip

NEGATED = ("不", "没", "没有", "不太", "不算", "并不", "不是很", "毫不", "不怎么", "一点也不", "一点都不", "从不")
"""Right before a Chinese word these turn it round."""

NEGATED_ENGLISH = ("not", "no", "never", "isn't", "wasn't", "aren't", "weren't", "don't", "didn't", "hardly", "nothing")
"""So do these one or two words before an English one."""

QUESTIONS = ("?", "吗", "多少", "几点", "几号", "几月", "怎么", "哪里", "which", "when", "where", "how much", "how many")
"""With these somebody asks."""

IRONY = ("呵呵", "醉了", "真是服了", "服了", "谢谢啊", "可真行", "绝了", "lol", "yeah right", "thanks a lot", "well done")
"""With these praise is not what it says: a person decides."""
