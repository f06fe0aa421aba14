"""From files to a file."""

from pyfast.compat.pymatting.cutout.cutout import cutout

__all__ = ["cutout"]
