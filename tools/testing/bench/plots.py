#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draw what the benchmark's CSV file holds, as SVG files. Needs matplotlib."""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib import pyplot

TRACE = "lzo"
OBJECTS = (60_000, 400_000)
COSTS = {"store.mean": "store", "restore.mean": "store after a free", "load.mean": "load",
         "free.mean": "free"}  # fmt: skip
DENSITIES = {"fresh": "filled", "churned": "churned", "halved": "half freed", "idle": "idle 2 s",
             "shrunk": "shrinkers"}  # fmt: skip
TAILS = {"p50": "half", "p99": "99 %", "p999": "99.9 %", "max": "all"}
COLOURS = {"zsmalloc": "#4477aa", "zbud": "#bbbbbb", "z3fold": "#ccbb44", "rsmalloc": "#ee6677"}

# (mode, trace, objects, processors) to backend to figure to value
Figures = dict[tuple[str, str, int, int], dict[str, dict[str, float]]]


def read(path: Path) -> Figures:
    figures: Figures = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["mode"], row["trace"], int(row["objects"]), int(row["processors"]))
            figures[key][row["backend"]][row["figure"]] = float(row["value"])
    return figures


def bars(axes: pyplot.Axes, labels: list[str], series: dict[str, list[float]]) -> None:
    width = 0.8 / len(series)
    for index, (backend, values) in enumerate(series.items()):
        places = [place + index * width for place in range(len(labels))]
        axes.bar(places, values, width, label=backend, color=COLOURS[backend])
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(labels))], labels)


def finish(figure: pyplot.Figure, axes: pyplot.Axes, path: Path) -> None:
    axes.legend(frameon=False)
    figure.tight_layout()
    # The same figures give the same file.
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw_costs(figures: Figures, folder: Path) -> None:
    backends = figures[("cost", TRACE, OBJECTS[0], 1)]
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    series = {name: [values[cost] for cost in COSTS] for name, values in backends.items()}
    bars(axes, list(COSTS.values()), series)
    axes.set_ylabel("instructions, mean")
    finish(figure, axes, folder / "costs.svg")


def draw_densities(figures: Figures, folder: Path) -> None:
    figure, all_axes = pyplot.subplots(1, len(OBJECTS), figsize=(9, 3.5), sharey=True)
    for axes, objects in zip(all_axes, OBJECTS):
        for name, values in figures[("cost", TRACE, objects, 1)].items():
            densities = [values[f"{when}.density"] for when in DENSITIES]
            axes.plot(list(DENSITIES.values()), densities, "o-", label=name, color=COLOURS[name])
        axes.set_title(f"{objects:,} objects")
        axes.tick_params(axis="x", rotation=20)
    all_axes[0].set_ylabel("bytes stored / memory taken")
    finish(figure, all_axes[0], folder / "density.svg")


def draw_tails(figures: Figures, folder: Path) -> None:
    backends = figures[("cost", TRACE, OBJECTS[0], 1)]
    figure, all_axes = pyplot.subplots(1, 3, figsize=(10, 3.5), sharey=True)
    for axes, operation in zip(all_axes, ("malloc", "map", "free")):
        for name, values in backends.items():
            costs = [values[f"{operation}.{part}"] for part in TAILS]
            axes.plot(list(TAILS.values()), costs, "o-", label=name, color=COLOURS[name])
        axes.set_title(operation)
        axes.set_yscale("log")
        axes.set_xlabel("of the calls take at most")
    all_axes[0].set_ylabel("instructions")
    finish(figure, all_axes[0], folder / "tails.svg")


def draw_scaling(figures: Figures, mode: str, parts: dict[str, str], path: Path) -> None:
    figure, all_axes = pyplot.subplots(1, len(parts), figsize=(10, 3.5))
    for axes, (part, title) in zip(all_axes, parts.items()):
        lines: dict[str, dict[int, float]] = defaultdict(dict)
        for (key_mode, _, _, processors), backends in figures.items():
            if key_mode == mode:
                for name, values in backends.items():
                    lines[name][processors] = values[part]
        for name, line in lines.items():
            axes.plot(list(line), list(line.values()), "o-", label=name, color=COLOURS[name])
        axes.set_title(title)
        axes.set_xlabel(mode)
        axes.set_ylim(bottom=0)
    finish(figure, all_axes[0], path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the figures of the benchmark.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("folder", type=Path, help="where the SVG files go")
    options = parser.parse_args()
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rsmalloc"
    figures = read(options.csv)
    draw_costs(figures, options.folder)
    draw_densities(figures, options.folder)
    draw_tails(figures, options.folder)
    threads = {"loads_per_second": "loads/s", "replaces_per_second": "replaces/s"}
    draw_scaling(figures, "threads", threads, options.folder / "threads.svg")
    processes = {
        "out_per_second": "pages out/s",
        "in_per_second": "pages in/s",
        "unmap_per_second": "pages unmapped/s",
    }
    draw_scaling(figures, "processes", processes, options.folder / "processes.svg")


if __name__ == "__main__":
    main()
