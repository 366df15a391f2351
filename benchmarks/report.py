"""What was measured -> the table, the bar chart, and their places in README.md and docs/performance.md.

The text between `<!-- bench:NAME -->` and `<!-- /bench -->` is ours; all around it is written by hand.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .contenders import RECIPE, SELF
from .workload import CAPTION, DETECT

Json = dict[str, Any]
OURS, OTHERS = "#0b6e4f", "#9aa5b1"
# Key of the ratios -> what it says, and what we are after.
RATIOS = {
    "caption_warm": ("caption, warm: times as fast", "at least 2, after 2.5"),
    "detect_warm": ("detection, warm: times as fast", "at least 2.5, after 3"),
    "together_over_apart": ("both about one picture, over one after the other", "at most 0.65"),
    "cold_start": ("start to first answer: times as fast", "at least 6"),
    "peak_memory": ("peak memory, share", "at most 0.2"),
    "disk": ("files and packages, share", ""),
    "bound_multiple": ("caption, warm, over the machine's bound", "at most 2.5"),
}


def write(results: Json, root: Path) -> None:
    """Writes `docs/performance.json` and `docs/performance.png`, and the tables into the pages that have a place."""
    docs = root / "docs"
    picture = docs / "performance.png"
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
    chart(results, picture)
    parts = {
        "table": table(results),
        "ratios": ratios(results),
        "bound": bound(results),
        "growth": growth(results),
        "machine": environment(results),
    }
    for page in (root / "README.md", docs / "performance.md"):
        if page.exists():
            parts["chart"] = f"![Warm captions, starts, peak memory]({picture.relative_to(page.parent)})"
            page.write_text(fill(page.read_text(), parts))


def fill(text: str, parts: Mapping[str, str]) -> str:
    """The page with each marked place filled anew."""

    def place(match: re.Match[str]) -> str:
        return f"<!-- bench:{match[1]} -->\n{parts[match[1]]}\n<!-- /bench -->"

    return re.sub(r"<!-- bench:(\w+) -->\n.*?<!-- /bench -->", place, text, flags=re.DOTALL)


def table(results: Json) -> str:
    """One line for each contender, ours last."""
    head = ("", "caption", "detection", "both", "start", "from disk", "peak", "steady", "files", "packages")
    lines = []
    for name, one in results["contenders"].items():
        cells = [
            f"**{one['label']}**" if name == SELF else one["label"],
            *(_spread(one.get(key)) for key in ("caption", "detect", "caption+detect", "start")),
            f"{one['start_from_disk']:.1f} s",
            *(_megabytes(one[key]) for key in ("peak_memory", "steady_memory", "files", "packages")),
        ]
        lines.append(cells)
    return _markdown(head, lines)


def ratios(results: Json) -> str:
    """Ours against the recipe, beside the goals."""
    rows = [(RATIOS[name][0], f"{value:.2f}", RATIOS[name][1]) for name, value in results["ratios"].items()]
    return _markdown((f"against {results['contenders'][RECIPE]['label']}", "measured", "goal"), rows)


def bound(results: Json) -> str:
    """The machine's rates, and the least time that they leave."""
    found, rows = results["bound"], []
    rates = found["rates"]
    for work in (CAPTION, DETECT):
        need, least = found["needs"][work.task], found["seconds"][work.task]
        ours = results["contenders"][SELF][work.task]["median"]
        rows.append(
            (
                f"{work.task}, {work.tokens} tokens",
                *(f"{need[kind] / rates[kind]:.3f} s" for kind in ("int8", "fp32", "memory")),
                f"{least:.3f} s",
                f"{ours:.3f} s",
                f"{ours / least:.2f}",
            )
        )
    head = (
        "",
        f"int8, {rates['int8'] / 1e9:.0f} GMAC/s",
        f"fp32, {rates['fp32'] / 1e9:.0f} GMAC/s",
        f"memory, {rates['memory'] / 1e9:.0f} GB/s",
        "bound",
        "ours",
        "multiple",
    )
    return _markdown(head, rows)


def growth(results: Json) -> str:
    """How time grows, one table for each cause."""
    names = {"pictures": "pictures a second, asked at once", "tokens": "tokens", "size": "pixels", "threads": "threads"}
    tables = []
    for cause, title in names.items():
        found = results["growth"][cause]
        steps = list(next(iter(found.values())))
        read: Callable[[int, float], str] = (
            (lambda count, seconds: f"{count / seconds:.2f}") if cause == "pictures" else lambda _, s: f"{s:.2f} s"
        )
        rows = [
            (results["contenders"][name]["label"], *(read(int(step), one[step]) for step in steps))
            for name, one in found.items()
        ]
        tables.append(_markdown((title, *map(str, steps)), rows))
    return "\n\n".join(tables)


def environment(results: Json) -> str:
    """Where it was measured."""
    one = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    return (
        f"{one['cpu']} ({', '.join(one['flags'])}), {one['cores']} cores, {one['memory'] / 2**30:.0f} GiB, "
        f"{one['threads']} threads; load at the end {one['load']:.1f}; {versions}."
    )


def chart(results: Json, path: Path) -> None:
    """Three panels of bars: warm caption, start, peak memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = list(reversed(results["contenders"].items()))
    panels: Sequence[tuple[str, Callable[[Json], float], Callable[[Json], tuple[float, float]] | None]] = (
        ("caption, warm (s)", lambda one: one["caption"]["median"], lambda one: _arms(one["caption"])),
        ("start to first answer (s)", lambda one: one["start"]["median"], lambda one: _arms(one["start"])),
        ("peak memory (GB)", lambda one: one["peak_memory"] / 1e9, None),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 0.42 * len(shown) + 1), sharey=True)
    for axis, (title, value, arms) in zip(axes, panels, strict=True):
        values = [value(one) for _, one in shown]
        error = [list(pair) for pair in zip(*(arms(one) for _, one in shown), strict=True)] if arms else None
        colours = [OURS if name == SELF else OTHERS for name, _ in shown]
        axis.barh([one["label"] for _, one in shown], values, color=colours, xerr=error, ecolor="#555555")
        limit = 1.2 * sorted(values)[-2] if values[-1] == max(values) else 1.2 * max(values)
        axis.set_xlim(0, limit)
        for i, one in enumerate(values):
            axis.text(min(one, 0.86 * limit) + 0.02 * limit, i + 0.28, f"{one:.2f}", va="center", fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.text(
        0.995, 0.005, f"{results['machine']['cpu']}, {results['machine']['threads']} threads", ha="right", size=7
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _arms(spread: Json) -> tuple[float, float]:
    return spread["median"] - spread["low"], spread["high"] - spread["median"]


def _spread(found: Json | None) -> str:
    if not found:
        return "–"
    return f"{found['median']:.2f} s ({found['low']:.2f}–{found['high']:.2f})"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
