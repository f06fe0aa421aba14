"""Small real data that ships inside Python packages, and image files."""

from pyfast.data.digits import Digits, digits
from pyfast.data.image_files import to_picture, write_image
from pyfast.data.photographs import PHOTOGRAPHS, photograph

__all__ = ["PHOTOGRAPHS", "Digits", "digits", "photograph", "to_picture", "write_image"]
