"""The ratios of CPU per transaction as an SVG: a group for each workload and mode, a bar for each number of clients."""

BAR, GAP, PLOT, TOP, LEFT, BELOW = 22, 26, 260, 50, 45, 62
# From few clients to many; seen on white and on black.
COLOURS = ["#8ab8e6", "#5b9bd5", "#3d7ab8", "#8e6bbf", "#b0559b", "#d0607a"]
STYLE = """text{font:11px sans-serif;fill:#333}.small{font-size:9px}.head{font-size:14px}
.grid{stroke:#888;stroke-opacity:.35}.one{stroke:#d33;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#ddd}}"""


def draw(rows):
    """SVG text; of pgsteward's rows those that have a ratio."""
    rows = [row for row in rows if row["through"] == "pgsteward" and row["cpu_vs_pgbouncer"]]
    groups = {}
    for row in rows:
        groups.setdefault((row["workload"], row["mode"]), []).append(row)
    clients = sorted({row["clients"] for row in rows})
    colours = {number: COLOURS[place % len(COLOURS)] for place, number in enumerate(clients)}
    top = scale_top(rows)
    parts, x = [], LEFT + GAP / 2
    for (workload, mode), members in groups.items():
        parts += group(x, workload, mode, members, colours, top)
        x += BAR * len(members) + GAP
    width = max(x, 640)
    parts = [*grid(width, top), *parts, line(width, 1, top, "one"), *legend(colours)]
    height = TOP + PLOT + BELOW
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}">\n'
            f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n")


def scale_top(rows):
    """End of the scale: beyond twice PgBouncer's cost a bar only says so."""
    return min(2.0, max([1.25, *(row["cpu_vs_pgbouncer"] * 1.1 for row in rows)]))


def height(value, top):
    return min(value, top) / top * PLOT


def group(x, workload, mode, members, colours, top):
    base = TOP + PLOT
    for place, row in enumerate(members):
        value, tall = row["cpu_vs_pgbouncer"], height(row["cpu_vs_pgbouncer"], top)
        left = x + place * BAR
        yield (f'<rect x="{left:.0f}" y="{base - tall:.1f}" width="{BAR - 2}" height="{tall:.1f}" '
               f'fill="{colours[row["clients"]]}"><title>{workload} {mode}, {row["clients"]} clients: {value:.2f}'
               "</title></rect>")
        yield text(left + BAR / 2 - 1, base - tall - 3, f"{value:.2f}", "small", "middle")
    middle = x + BAR * len(members) / 2
    yield text(middle, base + 16, workload, anchor="middle")
    star = "*" if members[0]["pgbouncer_mode"] != mode else ""
    yield text(middle, base + 29, mode + star, "small", "middle")


def grid(width, top):
    for quarter in range(int(top * 4) + 1):
        yield line(width, quarter / 4, top, "grid")
        yield text(LEFT - 6, TOP + PLOT - height(quarter / 4, top) + 4, f"{quarter / 4:.2f}", anchor="end")


def line(width, value, top, style):
    y = TOP + PLOT - height(value, top)
    return f'<line class="{style}" x1="{LEFT}" x2="{width:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def legend(colours):
    yield text(LEFT, 18, "CPU per transaction, pgsteward / PgBouncer (below the line: less)", "head")
    yield text(LEFT, 34, "* PgBouncer 1.18 can't do this: its plainest mode instead", "small")
    for place, (clients, colour) in enumerate(colours.items()):
        x, y = LEFT + place * 90, TOP + PLOT + 42
        yield f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colour}"/>'
        yield text(x + 16, y + 10, f"{clients} client{'s' if clients > 1 else ''}")


def text(x, y, words, style="", anchor="start"):
    return f'<text class="{style}" x="{x:.0f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
