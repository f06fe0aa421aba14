"""From files to a file."""

from os import PathLike

from pyfast.compat.pymatting.alpha.estimate_alpha_cf import estimate_alpha_cf
from pyfast.compat.pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml
from pyfast.compat.pymatting.util.util import load_image, save_image, stack_images

__all__ = ["cutout"]


def cutout(
    image_path: str | PathLike[str],
    trimap_path: str | PathLike[str],
    cutout_path: str | PathLike[str],
) -> None:
    """Writes the subject of a picture, cut out by a trimap, as a file with an alpha channel.

    Raises:
        ValueError: picture and trimap differ in size.
    """
    image, trimap = load_image(image_path, "RGB"), load_image(trimap_path, "GRAY")
    if image.shape[:2] != trimap.shape[:2]:
        raise ValueError(
            f"cutout: expected a trimap of the size of the image, {image.shape[:2]}, got "
            f"{trimap.shape[:2]}"
        )
    alpha = estimate_alpha_cf(image, trimap)
    save_image(cutout_path, stack_images(estimate_foreground_ml(image, alpha), alpha))
