"""CPU time that a server spends between two moments of a run, which are known only after it.

pgbench counts its logins as a part of the run: with 500 clients they are a twentieth of a proxy's work.
"""

import bisect
import threading
import time

STEP_SECONDS = 0.01


class Watch:
    """Notes a server's CPU time every few milliseconds while it is entered."""

    def __init__(self, server):
        self.server, self.times, self.spent = server, [], []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.note()

    def work(self):
        self.note()
        while not self.ended.wait(STEP_SECONDS):
            self.note()

    def note(self):
        self.times.append(time.time())
        self.spent.append(self.server.cpu_seconds())

    def between(self, began, ended):
        return self.at(ended) - self.at(began)

    def at(self, moment):
        """On the line between the two notes around the moment."""
        after = min(max(bisect.bisect(self.times, moment), 1), len(self.times) - 1)
        before = after - 1
        share = (moment - self.times[before]) / (self.times[after] - self.times[before])
        return self.spent[before] + min(max(share, 0), 1) * (self.spent[after] - self.spent[before])
