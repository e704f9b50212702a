"""Turns rounds into one line per proxy: medians, and ratios paired round by round."""

from statistics import median


def per_cpu(cell):
    return cell["work"] / cell["cpu_seconds"] if cell["cpu_seconds"] else 0


def rate(cell):
    return cell["work"] / cell["seconds"]


def lines(name, cells, peers):
    """`cells[proxy]` is a list of rounds; ratios compare the same round of two proxies."""
    unit = next(iter(cells.values()))[0]["unit"]
    table = [
        f"\n### {name}\n",
        f"| | {unit} per CPU-second | " + " | ".join(f"÷ {p}" for p in peers)
        + f" | {unit} per second | p50 ms | p99 ms | "
        + " | ".join(f"p99 ÷ {p}" for p in peers) + " | failed |",
        "|---" * (6 + 2 * len(peers)) + "|",
    ]
    for proxy, rounds in cells.items():
        table.append("| " + " | ".join([
            proxy,
            number(median(map(per_cpu, rounds))),
            *(ratio(rounds, cells.get(peer), per_cpu) for peer in peers),
            number(median(map(rate, rounds))),
            number(middle(rounds, "p50_ms"), 2),
            number(middle(rounds, "p99_ms"), 2),
            *(ratio(rounds, cells.get(peer), lambda c: c["p99_ms"]) for peer in peers),
            str(sum(cell["failed"] for cell in rounds)),
        ]) + " |")
    return table


def middle(rounds, key):
    values = [cell[key] for cell in rounds if cell[key] is not None]
    return median(values) if values else None


def ratio(mine, theirs, value):
    pairs = [(value(a), value(b)) for a, b in zip(mine, theirs or [])]
    pairs = [a / b for a, b in pairs if a is not None and b]
    return f"{median(pairs):.2f}" if pairs else "–"


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def idle_lines(idle):
    table = ["\n### Memory of an idle keep-alive connection\n",
             "| | bytes per connection | RSS before, MiB | RSS after, MiB | connections |", "|---|---|---|---|---|"]
    for proxy, cell in idle.items():
        before, after = (f"{cell[key] / (1 << 20):.1f}" for key in ("rss_before", "rss_after"))
        table.append(f"| {proxy} | {number(cell['bytes_per_connection'])} | {before} | {after} "
                     f"| {cell['connections']} |")
    return table
