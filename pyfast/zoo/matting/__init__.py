"""How opaque the subject of a picture is."""

from pyfast.zoo.matting import claims
from pyfast.zoo.matting.closed_form import Matting, MattingConfig

__all__ = ["Matting", "MattingConfig", "claims"]
