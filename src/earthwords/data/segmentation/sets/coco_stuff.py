"""COCO-Stuff 164k (https://github.com/nightrome/cocostuff): photographs, 171 classes of things and stuff."""

from earthwords.data.segmentation.spec import IGNORED, DatasetSpec, Encoding, Layout, indexed

NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
    skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple,
    sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining
    table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
    refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch,
    bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes,
    clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-
    stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other,
    hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement,
    pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug,
    salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other,
    table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-
    stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
"""In the order of mmsegmentation's COCOStuffDataset."""

CLASSES = tuple(" ".join(name.split()).replace("- ", "-") for name in NAMES.split(","))

UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Numbers up to 181 that no class has; the others are the classes in turn."""

LABELS = Encoding(
    values={
        IGNORED: IGNORED,
        **{value: index for index, value in enumerate(value for value in range(182) if value not in UNUSED)},
    }
)

SPEC = DatasetSpec(
    name="coco-stuff",
    title="COCO-Stuff 164k",
    rank=20,
    group="natural",
    classes=CLASSES,
    licence="CC BY 4.0 for the labels, images as on Flickr",
    source="https://github.com/nightrome/cocostuff",
    download="val2017.zip in images/ and stuffthingmaps_trainval2017.zip in annotations/",
    count=5000,
    original=Layout(images=("images/val2017/{key}.jpg",), labels=("annotations/val2017/{key}.png",), encoding=LABELS),
    prepared=Layout(
        images=("images/val2017/{key}.jpg",),
        labels=("annotations/val2017/{key}_labelTrainIds.png",),
        encoding=indexed(171),
    ),
    notes="Not seen from above: to compare methods with the papers they come from.",
    unverified=("licence", "count"),
)
