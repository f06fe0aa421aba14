"""A stopwatch."""

import time

__all__ = ["Timer"]


class Timer:
    """Measures from its making, or from the last `stop`."""

    def __init__(self) -> None:
        self.t = time.perf_counter()

    def stop(self, message: str | None = None) -> float:
        """The seconds since then; with a `message` they are printed after it."""
        now = time.perf_counter()
        seconds, self.t = now - self.t, now
        if message is not None:
            print(f"{message} - {seconds:.6f} seconds")
        return seconds
