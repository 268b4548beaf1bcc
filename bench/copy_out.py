#!/usr/bin/env python3
"""Clients that run one COPY TO STDOUT over and over, which pgbench can't: copy_out.py PORT CLIENTS SECONDS.

A process of its own, a thread a client; prints {"began", "ended", "times_ms"} as JSON.
"""

import json
import sys
import threading
import time

import wire
import workloads


def main():
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    clients = [wire.log_in(port) for _ in range(count)]
    times = []
    clock, began = time.time(), time.monotonic()
    threads = [threading.Thread(target=work, args=(client, began + seconds, times)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"began": clock, "ended": clock + time.monotonic() - began, "times_ms": times}))


def work(client, end, times):
    began = time.monotonic()
    while began < end:
        wire.ask(client, workloads.COPY)
        now = time.monotonic()
        times.append((now - began) * 1e3)
        began = now


if __name__ == "__main__":
    main()
