"""What idle clients cost a proxy in memory."""

import proxies
import wire


def per_idle_client(name, postgres, count):
    """Resident KiB that one more idle client costs a fresh proxy; each has logged in and run one statement."""
    with proxies.start(name, postgres) as server:
        clients = [open_client(server.port)]
        before = server.rss_kib()
        clients += [open_client(server.port) for _ in range(count)]
        grown = server.rss_kib() - before
        for client in clients:
            client.close()
    return grown / count


def open_client(port):
    client = wire.log_in(port)
    wire.ask(client, "select 1")
    return client
