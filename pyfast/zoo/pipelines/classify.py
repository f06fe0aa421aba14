"""From a picture of any kind to what a trained model says of it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyfast.data.image_files import squared
from pyfast.ops._pictures import opened, read_picture

if TYPE_CHECKING:
    from pyfast.zoo.system import System


@dataclass(frozen=True)
class Classification:
    """What a classifier says of one picture.

    Attributes:
        label: the likeliest class; for several places, such as those of a house number, the
            likeliest of each, joined.
        probability: of that, in [0, 1]; of several places the product.
        probabilities: of all classes, (classes,) or (places, classes).
    """

    label: str
    probability: float
    probabilities: Tensor


def classify(picture: Any, model: str | PathLike[str] | System = "stn_cnn.tiny") -> Any:
    """Says what is in a picture.

    The picture is padded to a square by its own edge, resized to what the model takes, and made
    grey for a model of grey pictures. Models of digits see bright ink on a dark ground.

    Args:
        picture: path, picture of Pillow, array (H, W), (H, W, C) or (B, H, W, C), tensor (H, W),
            (C, H, W) or (B, C, H, W); floats in [0, 1], or uint8, uint16 or bool. What is
            transparent counts as black.
        model: a classifier: a system with a method `classify` whose config has `channels` (1 or 3)
            and `size`, and which may have `labels`; or what `from_pretrained` takes: a folder, a
            file, or the name of weights that ship with pyfast.

    Returns:
        A `Classification`; of a batch a list of them.

    Raises:
        FileNotFoundError: no such picture or model.
        TypeError: this is no picture, or the model is no classifier.
        ValueError: a shape or a value does not fit.

    Example:
        >>> from pyfast import data, zoo
        >>> image, label = data.DistortedDigits("rotation", "test", size=32)[1]
        >>> zoo.classify(image).label == str(int(label))
        True
    """
    classifier: Any = model
    if isinstance(model, str | PathLike):
        from pyfast.zoo.hub import from_pretrained

        classifier = from_pretrained(model)
    config: Any = getattr(classifier, "config", None)
    if not hasattr(classifier, "classify") or not {"channels", "size"} <= set(dir(config)):
        raise TypeError(
            f"classify: expected a classifier, got {type(classifier).__name__}; one has a method "
            "classify and a config with channels and size"
        )
    pixels, form = read_picture("classify", "picture", opened(picture))
    inputs = squared(pixels.float(), config.channels, config.size)
    every = classifier.classify(inputs.to(classifier.device)).cpu()
    labels = getattr(classifier, "labels", ()) or tuple(map(str, range(every.shape[-1])))
    results = [_named(one, labels) for one in every]
    return results if form.batched else results[0]


def _named(probabilities: Tensor, labels: tuple[str, ...]) -> Classification:
    best, which = probabilities.view(-1, len(labels)).max(1)
    label = "".join(labels[index] for index in which.tolist())
    return Classification(label, best.prod().item(), probabilities)
