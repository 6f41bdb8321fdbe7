"""From figures to the table in README.md, between its two marks."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import budget, day
from benchmarks.peers import PEERS

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
RACES = ("fast", "igdb", "hundred", "faults")
HEAD = (
    "| | wall s | CPU s | rows per CPU s | peak MB | requests | share of limit | 429s | exact |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def table(found: dict[str, Any]) -> str:
    """All that was found, as Markdown."""
    parts = [_race(found[name]) for name in RACES if name in found]
    makers = {
        "memory": _memory,
        "counts": _counts,
        "runs": _runs,
        "budget": _budget,
        "startup": _startup,
        "year": _year,
        "day": day.table,
    }
    parts += [make(found[name]) for name, make in makers.items() if name in found]
    return "\n\n".join(parts)


def write_readme() -> None:
    """Put the table of all saved results into README.md."""
    found: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for file in sorted((HERE / "results").glob("*.json")):
        saved = json.loads(file.read_text())
        about = saved
        found[file.stem] = saved.get(file.stem)
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    figures = f"{_about(about)}\n\n{table(found)}"
    readme.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")


def _about(saved: dict[str, Any]) -> str:
    it = saved["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in it["packages"].items())
    peers = {n: v for n, v in saved["versions"].items() if PEERS[n].packages}
    others = "; ".join(
        f"{name}: " + ", ".join(f"{package} {version}" for package, version in known.items())
        for name, known in peers.items()
    )
    return (
        f"Measured {it['measured_at']} on {it['cores']} cores of {it['cpu']}, "
        f"{it['memory_gb']} GB, Python {it['python']}; load before: {it['load_before']}. "
        f"{packages}. {others}."
    )


def _race(found: dict[str, Any]) -> str:
    title = f"**{found['rows']:,} rows, {found['title']}**"
    lines = [_peer(name, figures) for name, figures in found["peers"].items()]
    ratio = _ratios(found["peers"])
    return "\n".join([f"{title}\n\n{HEAD}", *lines]) + (f"\n\n{ratio}" if ratio else "")


def _peer(name: str, figures: dict[str, Any]) -> str:
    title = PEERS[name].title
    if said := figures.get("skipped") or figures.get("failed"):
        return f"| {title} | {str(said).replace('|', '/')} | | | | | | | no |"
    share = figures.get("share_of_limit")
    cells = [
        f"{figures['wall_s']:.1f}",
        f"{figures['cpu_s']:.1f}",
        f"{figures['rows_per_cpu_s']:,}",
        f"{figures['peak_mb']:.0f}",
        f"{figures['server_requests']:,}",
        f"{100 * share:.1f} %" if share is not None else "",
        f"{figures['throttled']}",
        "yes"
        if figures["exact"]
        else f"{figures['missing']} missing, {figures['doubled']} doubled",
    ]
    return f"| {title} | {' | '.join(cells)} |"


def _ratios(peers: dict[str, Any]) -> str:
    rates = {
        name: each["rows_per_cpu_s"] for name, each in peers.items() if "rows_per_cpu_s" in each
    }
    ours = [name for name in ("headrace-single", "headrace") if name in rates]
    if not ours:
        return ""
    said = [
        f"{PEERS[name].title}: rows per CPU second "
        + ", ".join(
            f"{rates[name] / rate:.1f} × {PEERS[other].title}"
            for other, rate in rates.items()
            if not other.startswith("headrace")
        )
        + "."
        for name in ours
        if len(rates) > len(ours)
    ]
    lag = peers[ours[0]]
    if "loop_busy_max_ms" in lag:
        said.append(
            f"The loop's longest block: {lag['loop_busy_max_ms']} ms of its thread's CPU; "
            f"{lag['loop_late_max_ms']} ms by the clock (99.9 %: {lag['loop_late_p999_ms']} ms)."
        )
    return " ".join(said)


def _memory(found: dict[str, Any]) -> str:
    names = {"headrace": "packed", "headrace-single": "a page a request"}
    first = next(iter(found.values()))
    columns = [f"{names[name]}, {part}" for part, peers in first.items() for name in peers]
    lines = [
        "**Peak memory of Headrace's process, MB**, the mean of its runs",
        "",
        f"| rows | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for rows, parts in found.items():
        known = [each for peers in parts.values() for each in peers.values() if "peak_mb" in each]
        cells = [f"{mean(each.get('peak_mb_of_all', [each['peak_mb']])):.0f}" for each in known]
        lines.append(f"| {int(rows):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _counts(found: dict[str, Any]) -> str:
    sweep, daily = found["sweep"], found["daily"]
    thirty, window = found["thirty_days"], found["one_window"]
    return "\n".join(
        [
            "**Requests**",
            "",
            "| work | requests | |",
            "|---|---|---|",
            f"| sweep of {sweep['rows']:,} keys at 4 a second | {sweep['requests']} | "
            f"{sweep['between_first_and_last_s']:.1f} s from the first to the last; "
            f"{sweep['single_pages_s']:.0f} s if a page were a request |",
            f"| a daily run of {daily['partitions']} endpoints | {daily['requests']} | "
            f"{daily['queries']} queries, {daily['rows']:,} rows |",
            f"| `games`, 30 days in one run | {thirty['requests']} | "
            f"{thirty['queries']} queries, {thirty['rows']:,} rows |",
            f"| `games`, one window of 30 days | {window['requests']} | "
            f"{window['queries']} queries, {window['rows']:,} rows |",
        ]
    )


def _runs(found: dict[str, Any]) -> str:
    return (
        f"**Four runs of Dagster at once**, {found['rows']:,} rows each, a page a request, against "
        f"IGDB's limits: {found['requests']} requests, {found['throttled']} answered 429, at most "
        f"{found['most_in_flight']} in flight, {found['share_of_limit']:.1%} of the limit used "
        f"between the first and the last."
    )


def _budget(found: dict[str, Any]) -> str:
    said = (
        "**One budget for many processes**, in a folder, against a strict sliding window of one "
        "second that is 20 ms away, give or take the jitter; measured once the margin is learned"
    )
    return "\n".join([said, "", budget.HEAD, *map(budget.line, found["cells"])])


def _startup(found: dict[str, Any]) -> str:
    imports = "; ".join(f"`import {name}` {s}" for name, s in found["import_cpu_s"].items())
    return "\n".join(
        [
            "**Start-up**, `dagster asset materialize`, the least of three",
            "",
            "| | wall s | CPU s |",
            "|---|---|---|",
            f"| an asset that does nothing | {found['empty_wall_s']} | {found['empty_cpu_s']} |",
            f"| `igdb/genres`, one partition | {found['partition_wall_s']} | "
            f"{found['partition_cpu_s']} |",
            f"| more | {found['overhead_wall_s']} | {found['overhead_cpu_s']} |",
            "",
            f"CPU seconds of imports: {imports}.",
        ]
    )


def _year(found: dict[str, Any]) -> str:
    days = [key for key in next(iter(found.values())) if key != "ratio"]
    head = "".join(f" {each} days: s | requests |" for each in days)
    lines = ["**A year in the lake**", "", f"| |{head} ratio |", "|---" * (2 * len(days) + 2) + "|"]
    for name, by_days in found.items():
        cells = "".join(f" {by_days[d]['s']:.2f} | {by_days[d]['requests']} |" for d in days)
        lines.append(f"| {name} |{cells} {by_days['ratio']:.1f} |")
    return "\n".join(lines)
