"""JSON as its standard has it."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any


def strict_json(values: Mapping[str, Any]) -> str:
    """One line; null in place of numbers that JSON does not know, NaN and the infinities.

    Example:
        >>> strict_json({"step": 1, "loss": float("nan")})
        '{"step": 1, "loss": null}'
    """
    known = {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(known)
