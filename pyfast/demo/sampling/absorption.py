"""Which disturbances max pooling absorbs by itself, and which it leaves to be learned."""

from torch import nn

from pyfast.data import Digits
from pyfast.demo.page import Chart, Charts, Line, Text
from pyfast.demo.sampling.digits import alone, amount
from pyfast.demo.sampling.training import accuracy

UNITS = {"shift": "pixels at most", "scale": "factor at most", "rotation": "degrees at most"}
PARTS = [step / 5 for step in range(6)]  # of the full range
LOCAL, GLOBAL = "two 2 x 2 max poolings", "max pooling over the whole map"
ABSORBED = 0.1  # accuracy that may be lost


def absorption(local: nn.Module, everywhere: nn.Module, test: Digits) -> tuple[Text, Charts]:
    """Tests networks that were trained on upright digits under one disturbance alone.

    Args:
        local: pools over small windows.
        everywhere: its last pooling covers the whole map.
        test: the digits.
    """
    charts, ends = [], {}
    for what, unit in UNITS.items():
        sweep = [alone(what, part) for part in PARTS]
        amounts = [amount(what, part) for part in PARTS]
        lines = [
            Line(
                name, list(zip(amounts, [accuracy(network, test, it) for it in sweep], strict=True))
            )
            for name, network in {LOCAL: local, GLOBAL: everywhere}.items()
        ]
        ticks = [(amount, f"{amount:g}") for amount in (amounts[0], amounts[-1])]
        charts.append(Chart(what.capitalize(), unit, lines, ticks))
        ends[what] = [(line.points[0][1], line.points[-1][1]) for line in lines]

    absorbed = [what for what in UNITS if ends[what][1][0] - ends[what][1][1] < ABSORBED]
    left = [what for what in UNITS if what not in absorbed]
    falls = [
        f"under {what} from {a:.0%} to {b:.0%} and from {c:.0%} to {d:.0%}"
        for what, ((a, b), (c, d)) in ends.items()
    ]
    verdict = Text(
        "Which disturbance does max pooling absorb by itself? The networks below were trained on "
        f"upright digits only. Their accuracy goes, with {LOCAL} and with {GLOBAL}, "
        f"{'; '.join(falls)}. "
        f"Pooling over the whole map absorbs {_list(absorbed)}. What it does not absorb, "
        f"{_list(left)}, has to be learned from examples or undone before the CNN looks, which is "
        "what a spatial transformer does."
    )
    return verdict, Charts(charts, "Accuracy under one disturbance alone, after upright training.")


def _list(words: list[str]) -> str:
    return " and ".join(words) or "nothing"
