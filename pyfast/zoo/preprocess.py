"""From pictures to what the weights of others were trained on."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """Subtracts a mean and divides by a spread, in the order and range of the weights.

    Args:
        mean: for red, green and blue, of values in [0, 1].
        std: likewise.
        scale: what the result is multiplied by.
        bgr: whether the network takes blue first.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1.0
    bgr: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """What the network takes.

        Args:
            image: red, green, blue in [0, 1], (..., 3, H, W).
        """
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        result = (image - mean) / std * self.scale
        return result.flip(-3) if self.bgr else result

    def inverse(self, inputs: Tensor) -> Tensor:
        """The picture that gives these inputs, not clamped."""
        if self.bgr:
            inputs = inputs.flip(-3)
        mean, std = (inputs.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return inputs / self.scale * std + mean


def _caffe(blue: float, green: float, red: float) -> Preprocess:
    """Blue first, 0 to 255, less a mean."""
    return Preprocess(mean=(red / 255, green / 255, blue / 255), scale=255.0, bgr=True)


PREPROCESS = {
    "imagenet": Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "gatys": Preprocess(mean=(0.48501961, 0.45795686, 0.40760392), scale=255.0, bgr=True),
    "deeplab": _caffe(104.008, 116.669, 122.675),
    "sceneparsing": _caffe(109.5388, 118.6897, 124.6901),
    "dilation_voc": _caffe(102.93, 111.36, 116.52),
    "dilation_camvid": _caffe(110.70313206, 108.77808759, 105.41212523),
    "dilation_kitti": _caffe(96.19429688, 95.55136972, 91.34692262),
    "dilation_cityscapes": _caffe(72.39, 82.91, 73.16),
}
