"""A glossary of what is looked for in images from above: Chinese words to English, and wider English words.

Its rows lie in `glossary.tsv` (one concept a row) and are read at the first look-up. Lookups compare words, never
parts of sentences: a word that is not in the table has no translation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from importlib import resources

HAN = re.compile("[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
PARTICLES = ("类别", "类型", "地物", "区域", "范围", "目标", "图斑", "要素", "用地", "类", "等")
"""Endings that add nothing to a term: 道路类, 水体区域, 飞机目标."""
ORDINARY = """
    上海 海南 青海 河南 河北 湖南 湖北 山东 山西 江苏 江西 浙江 黑龙江 云南 吉林 桂林 香港 台湾 烟台 土耳其 人工 人口
    个人 有人 工人 人民 人均 人造 水平 水泥 薪水 海拔 马上 路过 路径 思路 车次 花费 树立 云端 林业 领土 网络 网站
    网格 网状 雪白 草绿 火红 火热 海报 海关 田野调查
"""
"""Names and ordinary words that hold a short term of the table and mean something else; sentences skip them."""
NEAR_ENOUGH = 0.5
"""Difflib's ratio above which words are near that only share characters; at it (桦林, 松林) they must end alike too."""
TRADITIONAL = """
    業业 叢丛 嚴严 臨临 樂乐 習习 鄉乡 書书 雲云 產产 倉仓 眾众 衆众 會会 傘伞 傳传 體体 儲储 兒儿 關关 養养 內内 寫写
    軍军 農农 衝冲 沖冲 決决 凍冻 淨净 凈净 準准 涼凉 鳳凤 擊击 劃划 別别 劇剧 辦办 務务 動动 勞劳 區区 醫医 華华 單单
    衛卫 卻却 捲卷 廠厂 廳厅 壓压 廂厢 廈厦 發发 變变 臺台 颱台 葉叶 號号 後后 員员 鹹咸 嘯啸 噴喷 園园 囪囱 圍围 國国
    圖图 圓圆 場场 壇坛 壞坏 塊块 壩坝 塢坞 墳坟 壟垄 壘垒 牆墙 墻墙 處处 備备 復复 複复 頭头 寶宝 宮宫 賓宾 爾尔 塵尘
    層层 屬属 嶼屿 崗岗 島岛 巖岩 嶺岭 嶽岳 峽峡 峯峰 帳帐 幟帜 帶带 乾干 幹干 廣广 莊庄 庫库 廟庙 廢废 開开 棄弃 彈弹
    徑径 迴回 惡恶 懸悬 戶户 揚扬 護护 報报 搶抢 攔拦 掛挂 擋挡 揮挥 損损 換换 據据 攪搅 數数 斷断 無无 舊旧 時时 曬晒
    雜杂 機机 來来 楊杨 構构 樞枢 柵栅 櫃柜 標标 棧栈 棟栋 欄栏 樹树 橋桥 槳桨 樁桩 樑梁 桿杆 檢检 樓楼 欖榄 櫚榈 殲歼
    殘残 毀毁 燬毁 氣气 汙污 溝沟 沒没 瀝沥 瀉泻 澤泽 淺浅 漿浆 澆浇 濁浊 渾浑 滸浒 塗涂 澇涝 澱淀 漁渔 溫温 灣湾 濕湿
    溼湿 潰溃 滾滚 濱滨 灘滩 潛潜 窪洼 燈灯 災灾 煉炼 爛烂 煙烟 菸烟 熱热 燒烧 牀床 牽牵 獨独 獄狱 豬猪 貓猫 環环 現现
    電电 暢畅 鹽盐 監监 蓋盖 盤盘 礦矿 碼码 磚砖 礫砾 礎础 鹼碱 堿碱 禮礼 離离 種种 積积 窯窑 窰窑 競竞 築筑 籃篮 籬篱
    類类 糧粮 糞粪 係系 紅红 紀纪 線线 綫线 練练 組组 經经 結结 統统 綿绵 綠绿 纜缆 編编 縫缝 網网 聯联 勝胜 膠胶 脈脉
    腳脚 艦舰 蘆芦 葦苇 蘋苹 範范 蕩荡 盪荡 營营 藍蓝 蟲虫 蝦虾 蝕蚀 補补 裝装 觀观 規规 視视 覽览 計计 議议 訊讯 設设
    診诊 誌志 調调 穀谷 貨货 貧贫 購购 貿贸 費费 賽赛 跡迹 蹟迹 車车 軌轨 轉转 軛轭 輪轮 轟轰 軸轴 輕轻 載载 轎轿 輛辆
    輸输 邊边 達达 遷迁 過过 運运 遠远 遺遗 遊游 郵邮 採采 裡里 裏里 針针 鋼钢 鑽钻 鐵铁 鈴铃 鏟铲 鋪铺 鎮镇 鏡镜 長长
    門门 閒闲 閑闲 間间 閘闸 闊阔 陽阳 陰阴 階阶 陸陆 隕陨 難难 霧雾 頂顶 頸颈 題题 風风 颶飓 飛飞 飯饭 飼饲 館馆 馬马
    驅驱 駁驳 駝驼 駱骆 騎骑 魚鱼 鮮鲜 鯨鲸 鳥鸟 雞鸡 鷄鸡 鴉鸦 鵝鹅 麥麦 黃黄 龍龙 龜龟 羣群 綑捆 製制 佈布 昇升 領领
    點点 學学 術术 衚胡 衕同 紐纽 橫横 麵面 戰战 鬥斗 隻只 喬乔 蘚藓 條条 拋抛 濟济 稈秆 檯台 枱台 鞦秋 韆千 濃浓 磧碛
    註注 衞卫 東东 蘇苏 絡络 氈毡 蓮莲 漬渍 鍋锅 雙双 箏筝 蘭兰 蘿萝 蔔卜 薩萨 筆笔 腦脑 遙遥 鍵键 爐炉 鐘钟 錶表 櫥橱
    籠笼 紙纸 墊垫 紡纺 織织 簾帘 傢家 記记 張张 廁厕 銀银 連连 輔辅 專专 應应 塹堑 聲声 導导 邏逻 鋒锋 預预 與与 錨锚
    禿秃 陣阵 話话 續续 洩泄 個个 狀状
"""
"""Traditional characters, each with the simplified one after it: those that the terms of the table are written with."""
SIMPLIFIED = {ord(pair[0]): pair[1] for pair in TRADITIONAL.split()}
NOT_TERMS = frozenset(ORDINARY.split())


@dataclass(frozen=True, slots=True)
class GlossaryEntry:
    """One concept.

    Attributes:
        english: synonyms, the best prompt for a vision-language model first.
        chinese: synonyms in simplified characters, the standard term first.
        broader: English words of wider or neighbouring meaning, the most useful first; none for what has none.
        theme: such as "transport".
    """

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    broader: tuple[str, ...]
    theme: str


@lru_cache(maxsize=1)
def entries() -> tuple[GlossaryEntry, ...]:
    """All rows of the table, in its order."""
    text = resources.files("earthwords.text").joinpath("glossary.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return tuple(
        GlossaryEntry(_words(english), _words(chinese), _words(wide), theme) for english, chinese, wide, theme in rows
    )


def is_chinese(word: str) -> bool:
    """Whether a word holds Han characters."""
    return HAN.search(word) is not None


def translate(word: str) -> str | None:
    """The best English word for a Chinese term: "建筑物" is "building"; None for what is not in the table.

    White space, full-width and traditional characters, endings such as 类 or 区域 and the particle 的 (倒塌的建筑 is
    倒塌建筑) make no difference. A sentence ("湖边的大楼") is no term.
    """
    text = _tidy(word)
    for form in (text, text.replace("的", "")):
        while form and form not in _by_chinese():
            form = next((form.removesuffix(end) for end in PARTICLES if form.endswith(end)), "")
        if form:
            return _by_chinese()[form].english[0]
    return None


def nearest_chinese(word: str, n: int = 3) -> tuple[str, ...]:
    """Up to `n` known Chinese terms like an unknown one, one a concept; none if nothing is like it.

    Terms that hold the word or lie in it come first, those with the longest part in common before others and those at
    its end, where a Chinese noun says what it is, before those at its beginning; then terms of like characters.
    """
    text = _tidy(word)
    if not text:
        return ()
    found = []
    for entry in entries():
        if entry.broader:  # what has no wider word is hardly seen from above
            likeness, term = max((_likeness(text, term), term) for term in entry.chinese)
            if any(likeness):
                found.append((likeness, term))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(term for _, term in found[:n])


def broader(english: str) -> tuple[str, ...]:
    """English words of wider or neighbouring meaning, the most useful first: "solar panel" gives "roof", "building"."""
    entry = _find(english)
    return entry.broader if entry else ()


def theme(english: str) -> str | None:
    """The theme of an English word, such as "transport"; None if it is not in the table."""
    entry = _find(english)
    return entry.theme if entry else None


def related(english: str) -> tuple[str, ...]:
    """The other English synonyms of a word, the best first."""
    entry = _find(english)
    own_keys = set(_keys(english))
    return tuple(word for word in entry.english if _key(word) not in own_keys) if entry else ()


def terms_in(sentence: str) -> list[tuple[str, str]]:
    """The terms of the table in a Chinese sentence, with their English: "湖边的大楼" holds 湖 (lake), 大楼 (building).

    Read from left to right, always the longest term; each is given as it was typed (full-width forms apart), once for
    every time it occurs.
    """
    typed = "".join(unicodedata.normalize("NFKC", sentence).split())
    text = _simplify(typed)
    if len(text) != len(typed):  # a letter whose small form has more characters
        typed = text
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        length = next((n for n in range(min(_longest(), len(text) - at), 0, -1) if _known(text[at : at + n])), 1)
        entry = _by_chinese().get(text[at : at + length])
        if entry is not None and (length > 1 or entry.broader):
            found.append((typed[at : at + length], entry.english[0]))
        at += length
    return found


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split(",") if word)


def _tidy(word: str) -> str:
    """As the table writes it: no white space, half-width, simplified, no quotes or full stops around it."""
    text = _simplify("".join(unicodedata.normalize("NFKC", word).split()))
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[start])[0] == "P":
        start += 1
    while end > start and unicodedata.category(text[end - 1])[0] == "P":
        end -= 1
    return text[start:end]


def _simplify(text: str) -> str:
    return text.casefold().translate(SIMPLIFIED)


@lru_cache(maxsize=1)
def _by_chinese() -> dict[str, GlossaryEntry]:
    return {_tidy(term): entry for entry in entries() for term in entry.chinese}


@lru_cache(maxsize=1)
def _by_english() -> dict[str, GlossaryEntry]:
    return {_key(word): entry for entry in entries() for word in entry.english}


@lru_cache(maxsize=1)
def _longest() -> int:
    return max(map(len, _by_chinese()))


def _known(text: str) -> bool:
    return text in _by_chinese() or text in NOT_TERMS


def _likeness(text: str, term: str) -> tuple[bool, int, bool, float]:
    """How near two Chinese words are, to be compared: contained, characters in common, same end, difflib's ratio.

    All of it is false or 0 for words that are not near at all.
    """
    known = _tidy(term)
    same_end, short = known[-1] == text[-1], min(len(known), len(text))
    most = 2 * short / (len(known) + len(text))
    if known in text or text in known:
        return True, short, same_end, most
    common = len(set(known) & set(text)) if most >= NEAR_ENOUGH else 0
    ratio = SequenceMatcher(None, text, known).ratio() if common else 0.0
    if ratio > NEAR_ENOUGH or (ratio == NEAR_ENOUGH and same_end):
        return False, common, same_end, ratio
    return False, 0, False, 0.0


def _find(english: str) -> GlossaryEntry | None:
    return next((entry for key in _keys(english) if (entry := _by_english().get(key))), None)


def _key(word: str) -> str:
    return re.sub(r"[\s_-]+", "", word.casefold())


def _keys(english: str) -> Iterator[str]:
    """Ways to write a word, as typed first: plural or singular, and as COCO-Stuff names it ("wall-brick")."""
    kind, _, detail = english.strip().casefold().partition("-")
    swapped = [kind] if detail in ("other", "stuff") else [detail + kind] if detail else []
    for word in [_key(english), *map(_key, swapped)]:
        yield word
        for ending, singular in (("ies", "y"), ("s", ""), ("es", "")):
            if word.endswith(ending):
                yield word.removesuffix(ending) + singular
        yield word + "s"
