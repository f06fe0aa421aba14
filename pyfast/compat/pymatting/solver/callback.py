"""What `cg` may call after each step."""

from __future__ import annotations

from typing import Any

__all__ = ["CounterCallback", "ProgressCallback"]


class CounterCallback:
    """Counts the steps, in `n`."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, A: Any, x: Any, b: Any, norm_b: float, r: Any, norm_r: float) -> None:
        self.n += 1


class ProgressCallback(CounterCallback):
    """Counts the steps, and prints the residual."""

    def __call__(self, A: Any, x: Any, b: Any, norm_b: float, r: Any, norm_r: float) -> None:
        super().__call__(A, x, b, norm_b, r, norm_r)
        print(f"step {self.n}: residual {norm_r:e}")
