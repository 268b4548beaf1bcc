"""A bar with the time left: drawn in place on a terminal, line by line elsewhere."""

import sys
import time

WIDTH = 30


class Progress:
    def __init__(self, total):
        self.total, self.done, self.began = total, 0, time.monotonic()

    def step(self, text):
        self.done += 1
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        if not sys.stderr.isatty():
            say(f"{self.done}/{self.total} {text}; {clock(left)} left")
            return
        filled = WIDTH * self.done // self.total
        bar = "#" * filled + "." * (WIDTH - filled)
        end = "\n" if self.done == self.total else ""
        print(f"\r[{bar}] {clock(left)} left  {text}\x1b[K", end=end, file=sys.stderr, flush=True)


def clock(seconds):
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


def say(text):
    print(text, file=sys.stderr, flush=True)
