"""The glossary: whole, without double entries, and found by the words that people and the field's sets use."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from earthwords.data.segmentation import sets as datasets
from earthwords.text import glossary
from earthwords.text.glossary import broader, entries, is_chinese, nearest_chinese, related, terms_in, theme, translate

THEMES = """
    built transport vegetation agriculture water bare sport industry vehicle energy disaster ice other
"""
FEW_WORDS = """
    building, roof, house, road, street, pavement, parking lot, water, river, lake, sea, trees, forest, grass, meadow,
    cropland, field, bare land, sand, car, truck, ship, plane, swimming pool, storage tank, tennis court, sports field,
    runway, railway, container, greenhouse, snow
"""
EVERYDAY = {
    "建筑": "building",
    "房子": "house",
    "屋顶": "roof",
    "大楼": "building",
    "道路": "road",
    "马路": "road",
    "街道": "street",
    "高速公路": "freeway",
    "人行道": "sidewalk",
    "停车场": "parking lot",
    "桥": "bridge",
    "铁路": "railway",
    "火车站": "railway station",
    "机场": "airport",
    "跑道": "runway",
    "飞机": "plane",
    "直升机": "helicopter",
    "船": "ship",
    "汽车": "car",
    "小汽车": "car",
    "卡车": "truck",
    "公交车": "bus",
    "树": "tree",
    "森林": "forest",
    "草地": "grass",
    "农田": "cropland",
    "稻田": "rice paddy",
    "果园": "orchard",
    "水": "water",
    "地表水": "water",
    "河": "river",
    "河流": "river",
    "湖": "lake",
    "大海": "sea",
    "池塘": "pond",
    "水库": "reservoir",
    "沙滩": "beach",
    "沙漠": "desert",
    "裸地": "bare land",
    "山": "mountain",
    "雪": "snow",
    "冰川": "glacier",
    "太阳能板": "solar panel",
    "光伏板": "solar panel",
    "大棚": "greenhouse",
    "游泳池": "swimming pool",
    "网球场": "tennis court",
    "足球场": "soccer field",
    "篮球场": "basketball court",
    "操场": "playground",
    "学校": "school",
    "医院": "hospital",
    "工厂": "factory",
    "油罐": "storage tank",
    "集装箱": "container",
    "风力发电机": "wind turbine",
    "洪水": "flood",
    "滑坡": "landslide",
    "公园": "park",
    "高尔夫球场": "golf course",
    "教堂": "church",
    "港口": "harbor",
    "云": "cloud",
    "阴影": "shadow",
    "背景": "background",
    "人": "person",
}

CLASSES_OF_SETS = {
    "AID": "airport, bare land, baseball field, beach, bridge, center, church, commercial, dense residential, desert, "
    "farmland, forest, industrial, meadow, medium residential, mountain, park, parking, playground, pond, port, "
    "railway station, resort, river, school, sparse residential, square, stadium, storage tanks, viaduct",
    "UC Merced": "agricultural, airplane, baseball diamond, beach, buildings, chaparral, dense residential, forest, "
    "freeway, golf course, harbor, intersection, medium residential, mobile home park, overpass, parking lot, river, "
    "runway, sparse residential, storage tanks, tennis court",
    "RSSCN7": "grass, field, industry, forest, residential, parking",
    "RESISC45": "airplane, airport, baseball diamond, basketball court, beach, bridge, chaparral, church, "
    "circular farmland, cloud, commercial area, dense residential, desert, forest, freeway, golf course, "
    "ground track field, harbor, industrial area, intersection, island, lake, meadow, medium residential, "
    "mobile home park, mountain, overpass, palace, parking lot, railway, railway station, rectangular farmland, river, "
    "roundabout, runway, sea ice, ship, snowberg, sparse residential, stadium, storage tank, tennis court, terrace, "
    "thermal power station, wetland",
    "WHU-RS19": "airport, beach, bridge, commercial, desert, farmland, football field, forest, industrial, meadow, "
    "mountain, park, parking, pond, port, railway station, residential, river, viaduct",
    "DOTA": "plane, ship, storage-tank, baseball-diamond, tennis-court, basketball-court, ground-track-field, harbor, "
    "bridge, large-vehicle, small-vehicle, helicopter, roundabout, soccer-ball-field, swimming-pool, container-crane, "
    "airport, helipad",
    "DIOR": "airplane, airport, baseballfield, basketballcourt, bridge, chimney, dam, Expressway-Service-area, "
    "Expressway-toll-station, golffield, groundtrackfield, harbor, overpass, ship, stadium, storagetank, tenniscourt, "
    "trainstation, vehicle, windmill",
    "FAIR1M": "Boeing737, Boeing747, Boeing777, Boeing787, C919, A220, A321, A330, A350, ARJ21, passenger ship, "
    "motorboat, fishing boat, tugboat, engineering ship, liquid cargo ship, dry cargo ship, warship, small car, bus, "
    "cargo truck, dump truck, van, trailer, tractor, excavator, truck tractor, basketball court, tennis court, "
    "football field, baseball field, intersection, roundabout, bridge",
    "xView": "fixed-wing aircraft, small aircraft, cargo plane, helicopter, passenger vehicle, small car, bus, "
    "pickup truck, utility truck, truck, cargo truck, truck tractor, trailer, crane truck, railway vehicle, "
    "passenger car, cargo car, flat car, tank car, locomotive, maritime vessel, motorboat, sailboat, tugboat, barge, "
    "fishing vessel, ferry, yacht, container ship, oil tanker, engineering vehicle, tower crane, container crane, "
    "reach stacker, straddle carrier, mobile crane, dump truck, haul truck, front loader, excavator, cement mixer, "
    "ground grader, hut, tent, shed, building, aircraft hangar, damaged building, construction site, vehicle lot, "
    "helipad, storage tank, shipping container lot, shipping container, pylon, tower",
    "FLAIR": "building, pervious surface, impervious surface, bare soil, water, coniferous, deciduous, brushwood, "
    "vineyard, herbaceous vegetation, agricultural land, plowed land, swimming pool, snow, clear cut, mixed forest, "
    "ligneous, greenhouse, other",
    "WorldCover": "tree cover, shrubland, grassland, cropland, built-up, bare / sparse vegetation, snow and ice, "
    "permanent water bodies, herbaceous wetland, mangroves, moss and lichen",
    "Dynamic World": "water, trees, grass, flooded vegetation, crops, shrub and scrub, built area, bare ground, "
    "snow and ice",
    "FloodNet": "background, building flooded, building non-flooded, road flooded, road non-flooded, water, tree, "
    "vehicle, pool, grass",
    "RescueNet": "building no damage, building medium damage, building major damage, building total destruction, "
    "road clear, road blocked",
    "xBD": "no damage, minor damage, major damage, destroyed",
    "CORINE": "continuous urban fabric, discontinuous urban fabric, mineral extraction sites, dump sites, "
    "construction sites, green urban areas, non-irrigated arable land, permanently irrigated land, rice fields, "
    "vineyards, olive groves, pastures, complex cultivation patterns, agro-forestry, broad-leaved forest, "
    "coniferous forest, mixed forest, natural grassland, moors and heathland, sclerophyllous vegetation, "
    "transitional woodland shrub, beaches, bare rock, burnt areas, glaciers and perpetual snow, inland marshes, "
    "peat bogs, salt marshes, salines, intertidal flats, water courses, water bodies, coastal lagoons, estuaries, "
    "sea and ocean",
}
LAND_USE_CODES = """
    水田 水浇地 旱地 果园 茶园 橡胶园 乔木林地 竹林地 森林沼泽 灌木林地 天然牧草地 沼泽草地 人工牧草地 工业用地
    采矿用地 盐田 仓储用地 城镇住宅用地 农村宅基地 公园与绿地 铁路用地 公路用地 农村道路 机场用地 港口码头用地
    河流水面 湖泊水面 水库水面 坑塘水面 沿海滩涂 内陆滩涂 沟渠 沼泽地 水工建筑用地 冰川及永久积雪 空闲地 设施农用地
    田坎 盐碱地 沙地 裸土地 裸岩石砾地
"""  # the second-level classes of GB/T 21010 that are seen from above


def test_the_table_is_large_and_whole() -> None:
    rows = entries()
    assert len(rows) >= 450
    assert len({term for row in rows for term in row.chinese}) >= 900
    assert sum(bool(row.broader) for row in rows) >= 450, "what is seen from above alone is large enough"
    for row in rows:
        assert row.english and row.chinese, row
        assert row.theme in THEMES.split(), row
        assert all(is_chinese(term) for term in row.chinese), row
        assert all(word.isascii() and word == word.lower().strip() for word in row.english), row


def test_a_word_belongs_to_one_row_alone() -> None:
    rows = entries()
    for what, words in (
        ("Chinese", [glossary._tidy(term) for row in rows for term in row.chinese]),
        ("English", [glossary._key(word) for row in rows for word in row.english]),
    ):
        assert [word for word, count in Counter(words).items() if count > 1] == [], what


def test_every_word_leads_to_its_own_row() -> None:
    """Plurals, hyphens, COCO's word order and Chinese endings must not lead to another row."""
    for row in entries():
        for word in row.english:
            assert glossary._find(word) is row, word
            assert glossary._find(word.title().replace(" ", "-")) is row, word
        assert [term for term in row.chinese if translate(term) != row.english[0]] == []


def test_wider_words_are_such_as_a_small_model_knows() -> None:
    few = set(" ".join(FEW_WORDS.split()).split(", "))
    for row in entries():
        assert set(row.broader) <= few, row
        assert row.broader or row.theme == "other", row
        assert all(glossary._find(word) not in (None, row) for word in row.broader), "no word is wider than itself"


def test_classes_of_the_sets_for_segmentation_are_found() -> None:
    names = [m.name for m in pkgutil.iter_modules(datasets.__path__)]
    assert len(names) >= 24
    sets = [importlib.import_module(f"earthwords.data.segmentation.sets.{name}").SPEC for name in names]
    missing = {(s.name, word) for s in sets for c in s.classes for word in c.split(",") if theme(word) is None}
    assert not missing


@pytest.mark.parametrize("name", CLASSES_OF_SETS)
def test_classes_of_other_sets_are_found(name: str) -> None:
    assert [word for word in CLASSES_OF_SETS[name].split(", ") if theme(word) is None] == []


def test_land_use_codes_are_translated() -> None:
    assert [term for term in LAND_USE_CODES.split() if translate(term) is None] == []


def test_everyday_words() -> None:
    assert {chinese: translate(chinese) for chinese in EVERYDAY} == EVERYDAY


@pytest.mark.parametrize(
    ("typed", "english"),
    [
        (" 停 车 场\n", "parking lot"),
        ("停車場", "parking lot"),
        ("太陽能板", "solar panel"),
        ("建築物", "building"),
        ("農田", "cropland"),
        ("土石流", "debris flow"),
        ("貨櫃", "container"),
        ("遊艇", "yacht"),
        ("穀倉", "barn"),
        ("颱風災害", "storm damage"),
        ("ＬＮＧ储罐", "gas tank"),
        ("空客a330", "airbus a330"),
        ("“建筑”。", "building"),
        ("道路类", "road"),
        ("道路類別", "road"),
        ("水体区域", "water"),
        ("飛機目標", "plane"),
        ("耕地图斑", "cropland"),
        ("学校用地", "school"),
        ("鸟类", "bird"),
        ("倒塌的房屋", "collapsed building"),
        ("红色的屋顶", "red roof"),
        ("工业用地", "industrial area"),
        ("其他类别", "background"),
    ],
)
def test_ways_of_writing(typed: str, english: str) -> None:
    assert translate(typed) == english


@pytest.mark.parametrize(
    "typed",
    [
        "湖边的大楼",
        "最大的房子",
        "建筑和道路",
        "独角兽",
        "红色的",
        "的",
        "类",
        "区域",
        "",
        " ",
        "。",
        "building",
        "建物x",
    ],
)
def test_what_is_no_term_has_no_translation(typed: str) -> None:
    assert translate(typed) is None


def test_characters_that_are_chinese() -> None:
    assert all(is_chinese(word) for word in ("树", "tree 树", "〇", "𠮷", "豈"))
    assert not any(is_chinese(word) for word in ("tree", "arbre élevé", "", "дерево", "나무", "ツリー", "。，"))


def test_nearest_terms() -> None:
    assert nearest_chinese("高速铁路桥", 2) == ("高速铁路", "铁路桥")
    assert nearest_chinese("樱花树")[0] == "树", "a Chinese noun says at its end what it is"
    assert nearest_chinese("风电机塔")[0].startswith("风电")
    assert nearest_chinese("光伏发电板", 1) != ()
    assert nearest_chinese("飛機庫房", 1) == ("飞机库",)
    assert set(nearest_chinese("桦林")) & {"松林", "林", "雨林"}
    for word in ("高速铁路桥", "大型光伏基地", "沿海养殖"):
        near = nearest_chinese(word)
        assert 1 <= len(near) <= 3 and len({translate(term) for term in near}) == len(near), "one term a concept"
    assert nearest_chinese("独角兽") == nearest_chinese("轮胎") == nearest_chinese("zxqv") == nearest_chinese("") == ()
    assert len(nearest_chinese("林", 7)) == 7


def test_what_is_not_seen_from_above_is_not_offered() -> None:
    assert translate("叉子") == "fork"
    assert broader("fork") == ()
    assert "叉子" not in nearest_chinese("刀叉子", 10)


def test_terms_in_sentences() -> None:
    assert terms_in("湖边的大楼") == [("湖", "lake"), ("大楼", "building")]
    assert terms_in("機場跑道旁的白色飛機") == [("機場跑道", "runway"), ("飛機", "plane")]
    assert terms_in("操场旁边 停车场里的红色小汽车") == [
        ("操场", "playground"),
        ("停车场", "parking lot"),
        ("小汽车", "car"),
    ]
    assert terms_in("上海最大的体育馆") == [("体育馆", "gymnasium")], "no sea in Shanghai"
    assert terms_in("树和树") == [("树", "tree"), ("树", "tree")]
    assert terms_in("独角兽") == terms_in("") == terms_in("the house by the lake") == []


def test_english_lookups_fold_what_people_vary() -> None:
    assert broader("solar panel") == broader("Solar-Panels") == broader("solarpanel") == ("roof", "building")
    assert broader("flood")[0] == "water" and broader("palm trees") == ("trees",)
    assert broader("road") == ("street", "pavement")
    assert theme("houses") == "built" and theme("paddies") == "agriculture" and theme("beaches") == "water"
    assert theme("wall-brick") == theme("building-other") == "built"
    assert theme("zxqv") is None and broader("zxqv") == related("zxqv") == () and theme("") is None


def test_related_words_are_the_others_of_the_row() -> None:
    assert "airplane" in related("plane") and "plane" not in related("plane")
    assert related("Airplanes")[0] == "plane" and "airplane" not in related("airplanes")
    assert related("background")[0] == "clutter"


def test_nothing_is_read_before_the_first_look_up() -> None:
    code = (
        "import sys; from earthwords.text import glossary as g; assert g.entries.cache_info().currsize == 0;"
        "assert g.translate('树') == 'tree'; assert not {'torch', 'numpy', 'rasterio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_shows_what_happens() -> None:
    page = Path(__file__).parents[2] / "docs" / "words.md"
    shown = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    example = doctest.DocTestParser().get_doctest(shown, {}, "words.md", str(page), 0)
    assert len(example.examples) >= 6
    assert doctest.DocTestRunner().run(example).failed == 0
