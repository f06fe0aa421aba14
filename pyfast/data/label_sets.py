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
}
