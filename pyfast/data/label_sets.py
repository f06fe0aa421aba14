"""Names and colours of the labels of known data sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LabelSet:
    """The labels of a data set, in their order.

    Attributes:
        names: of the labels.
        colours: red, green, blue of each, 0 to 255; none: those of Pascal VOC, which are made from
            the bits of the label.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()


def _set(text: str) -> LabelSet:
    """Of lines with a name and its colour in hexadecimal digits."""
    pairs = [line.rsplit(" ", 1) for line in text.strip().splitlines()]
    names = tuple(name.strip() for name, _ in pairs)
    red, green, blue = zip(*(bytes.fromhex(colour) for _, colour in pairs), strict=True)
    return LabelSet(names, tuple(zip(red, green, blue, strict=True)))


def _names(text: str) -> tuple[str, ...]:
    """Of names between commas."""
    return tuple(" ".join(name.split()) for name in text.split(","))


# Colours are CamVid's own, the order is that of DilatedNet's published models.
_ELEVEN_OF_THE_STREET = _set("""
    building 800000
    tree 808000
    sky 808080
    car 400080
    sign c08080
    road 804080
    pedestrian 404000
    fence 404080
    pole c0c080
    sidewalk 0000c0
    bicyclist 0080c0
""")

# Of the thing and stuff maps, whose values these are. Eleven things of the list never occur.
_COCO_STUFF = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
    hydrant, street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
    elephant, bear, zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie,
    suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
    skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon,
    bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
    chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator,
    blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
    banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet,
    ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain,
    desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile,
    floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other,
    hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net,
    paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad,
    river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow,
    solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel,
    tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile,
    wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""

# The first word of each synset. Masks as published count from 1; 0 is what is none of them.
_ADE20K = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet,
    sidewalk, person, earth, door, table, mountain, plant, curtain, chair, car, water,
    painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, rock,
    wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
    counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs,
    runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind,
    coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island,
    computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
    chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole,
    land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
    conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall,
    tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
    animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic
    light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower,
    radiator, glass, clock, flag
"""

LABEL_SETS = {
    "voc": LabelSet(
        (
            "background",
            *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
            *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
            *("sheep", "sofa", "train", "tvmonitor"),
        )
    ),
    "cityscapes": _set("""
        road 804080
        sidewalk f423e8
        building 464646
        wall 66669c
        fence be9999
        pole 999999
        traffic light faaa1e
        traffic sign dcdc00
        vegetation 6b8e23
        terrain 98fb98
        sky 4682b4
        person dc143c
        rider ff0000
        car 00008e
        truck 000046
        bus 003c64
        train 005064
        motorcycle 0000e6
        bicycle 770b20
    """),
    "camvid": _ELEVEN_OF_THE_STREET,
    "kitti": _ELEVEN_OF_THE_STREET,
    "coco_stuff": LabelSet(_names(_COCO_STUFF)),
    "ade20k": LabelSet(_names(_ADE20K)),
}
