"""Runs of the drill as tables: per event and target the median and the worst."""

from statistics import median

MEASURES = ("outage", "extra")
COUNTS = ("cut", "failed", "unknown", "stale", "lost")


def brief(run):
    """One run, a line a target and kind of session."""
    yield f"\n{run['kind']} {run['event']}"
    for row in rows(run):
        counts = " ".join(f"{name} {row[name]}" for name in COUNTS)
        yield (f"  {row['target']:14} {row['session']:10} acked {row['acked']:6} outage {ms(row['outage']):>6} "
               f"extra {ms(row['extra']):>6}  {counts}")


def rows(run):
    """The drill's summary of one run under our own names."""
    for row in run["drill"]["summary"]:
        yield {
            "target": row["target"], "session": row["sessions"], "acked": row["operations"],
            "outage": row["outage_median_ms"], "extra": row["extra_median_ms"],
            **{name: row[name] for name in COUNTS},
        }


def ms(value):
    return "–" if value is None else f"{value:.0f}"


def table(runs):
    """Markdown, one table an event: rows are targets with a kind of session."""
    events = list(dict.fromkeys((run["kind"], run["event"]) for run in runs))
    for kind, event in events:
        same = [run for run in runs if (run["kind"], run["event"]) == (kind, event)]
        yield f"\n### {kind}: {same[0]['title']} ({len(same)} runs)\n"
        yield "| | session | outage ms | extra ms | " + " | ".join(COUNTS) + " |"
        yield "|---" * (4 + len(COUNTS)) + "|"
        cells = {}
        for run in same:
            for row in rows(run):
                cells.setdefault((row["target"], row["session"]), []).append(row)
        for (target, session), found in cells.items():
            measured = [spread(found, name, ms) for name in MEASURES]
            counted = [spread(found, name, str) for name in COUNTS]
            yield f"| {target} | {session} | " + " | ".join(measured + counted) + " |"


def spread(found, name, show):
    """`median / worst`, or the one value if there is no other."""
    values = [row[name] for row in found if row[name] is not None]
    if not values:
        return "–"
    middle, worst = median(values), max(values)
    if show is str:
        middle, worst = int(middle), int(worst)
    return show(middle) if middle == worst else f"{show(middle)} / {show(worst)}"
