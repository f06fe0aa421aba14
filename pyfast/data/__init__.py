"""Small real data that ships inside Python packages, and image files."""

from pyfast.data.augmentation import Augmented, SampleIndex, generator
from pyfast.data.digits import Digits, digits
from pyfast.data.distorted_digits import DISTORTIONS, DistortedDigits, Distortion
from pyfast.data.folders import (
    AlignedPairs,
    ClassificationFolder,
    ImageFolder,
    UnalignedPairs,
    class_names,
)
from pyfast.data.house_numbers import HouseNumbers
from pyfast.data.image_files import read_image, to_picture, write_image, write_png
from pyfast.data.label_pictures import (
    colour_labels,
    label_colours,
    overlay_labels,
    to_label_picture,
    write_labels,
)
from pyfast.data.label_sets import LABEL_SETS, LabelSet
from pyfast.data.matte_errors import matte_errors
from pyfast.data.mattes import MatteScene, matte_scene
from pyfast.data.photographs import PHOTOGRAPHS, photograph
from pyfast.data.scale_crop_flip import ScaleCropFlip, mirrored
from pyfast.data.scenes import Scenes
from pyfast.data.segmentation import LabelledPictures, segmentation_folder
from pyfast.data.two_digits import TwoDigits
from pyfast.data.two_parts import TwoParts

__all__ = [
    "DISTORTIONS",
    "LABEL_SETS",
    "PHOTOGRAPHS",
    "AlignedPairs",
    "Augmented",
    "ClassificationFolder",
    "Digits",
    "DistortedDigits",
    "Distortion",
    "HouseNumbers",
    "ImageFolder",
    "LabelSet",
    "LabelledPictures",
    "MatteScene",
    "SampleIndex",
    "ScaleCropFlip",
    "Scenes",
    "TwoDigits",
    "TwoParts",
    "UnalignedPairs",
    "class_names",
    "colour_labels",
    "digits",
    "generator",
    "label_colours",
    "matte_errors",
    "matte_scene",
    "mirrored",
    "overlay_labels",
    "photograph",
    "read_image",
    "segmentation_folder",
    "to_label_picture",
    "to_picture",
    "write_image",
    "write_labels",
    "write_png",
]
