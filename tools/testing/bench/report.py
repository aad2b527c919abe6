#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Turn the output of the benchmark's guests into tables, a CSV file and a verdict."""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PREFIX = "bench: "
END = "end"
REFERENCE = "zsmalloc"
SUBJECT = "rsmalloc"

# How far a figure may be beyond the recorded one: code that was laid out
# differently moves counts by an instruction or two.
TOLERANCE = 0.01

# The slowest call but twenty, of 20,000: one more or less of them moves it.
TOLERANCE_TAIL = 0.03

# The same for costs when another compiler made the module's code, or the kernel's
# functions that it calls are of another release.
TOLERANCE_ELSEWHERE = 0.15


class ReportError(Exception):
    """The output is not that of a complete run."""


class Key(NamedTuple):
    """What was measured, but for the backend."""

    mode: str
    trace: str
    objects: int
    processors: int


Figures = dict[str, float]
Runs = dict[Key, dict[str, Figures]]


def read_output(paths: Iterable[Path]) -> Runs:
    runs: Runs = {}
    for path in paths:
        figures: Figures | None = None
        ended = False
        for line in path.read_text(errors="replace").splitlines():
            _, found, text = line.partition(PREFIX)
            if not found:
                continue
            ended = text == END
            name, is_figure, value = text.partition("=")
            if is_figure and figures is not None:
                # The best of several runs: others had the host's processors, too.
                figures[name] = max(float(value), figures.get(name, float("-inf")))
            elif not ended:
                mode, backend, trace, objects, *processors = text.split()
                trace = Path(trace).name.removesuffix(".u16")
                key = Key(mode, trace, int(objects), int(processors[0]) if processors else 1)
                figures = runs.setdefault(key, {}).setdefault(backend, {})
        if not ended:
            raise ReportError(f"{path}: the guest stopped before the last figure")
    return runs


def derive(figures: Figures) -> Figures:
    """Figures as people read them, from those of the module."""
    derived = {}
    for name, value in figures.items():
        if name.endswith("_x100"):
            derived[name.removesuffix("_x100")] = value / 100
        elif name.endswith(".bytes"):
            when = name.removesuffix(".bytes")
            derived[f"{when}.density"] = value / figures[f"{when}.taken"]
        elif not name.endswith((".taken", ".pool")):
            derived[name] = value
    return derived


class Row(NamedTuple):
    label: str
    figure: str
    format: str


COST_ROWS = (
    Row("store, instructions", "store.mean", ",.1f"),
    Row("load", "load.mean", ",.1f"),
    Row("free", "free.mean", ",.1f"),
    Row("store after a free", "restore.mean", ",.1f"),
    Row("free of all objects in a row", "clear.mean", ",.1f"),
    Row("left to work items, per store", "store.background", "z,.1f"),
    Row("left to work items, per replacement", "replace.background", "z,.1f"),
    Row("left to work items, per free in a row", "clear.background", "z,.1f"),
    Row("malloc, 99.9 % within", "malloc.p999", ",.0f"),
    Row("malloc, longest", "malloc.max", ",.0f"),
    Row("map to read, 99.9 % within", "map.p999", ",.0f"),
    Row("map to read, longest", "map.max", ",.0f"),
    Row("free, 99.9 % within", "free.p999", ",.0f"),
    Row("free, longest", "free.max", ",.0f"),
    Row("density, filled", "fresh.density", ".4f"),
    Row("density, churned", "churned.density", ".4f"),
    Row("density, half of it freed", "halved.density", ".4f"),
    Row("density, two seconds later", "idle.density", ".4f"),
    Row("density, after the shrinkers", "shrunk.density", ".4f"),
    Row("time in the shrinkers, us", "shrink.us", ",.0f"),
    Row("objects refused", "refused", ",.0f"),
    Row("bytes left when all is freed", "left", ",.0f"),
)

NATIVE_ROWS = tuple(
    Row(f"{label}, {part}", f"{figure}.{suffix}", ",.0f")
    for label, figure in (
        ("store, cycles", "store"),
        ("load", "load"),
        ("free", "free"),
        ("store after a free", "restore"),
        ("free of all objects in a row", "clear"),
    )
    for part, suffix in (("mean", "mean"), ("half within", "p50"), ("99 % within", "p99"))
)

THREAD_ROWS = (
    Row("loads per second", "loads_per_second", ",.0f"),
    Row("replaces per second", "replaces_per_second", ",.0f"),
)

SIZE_ROWS = (
    Row("code, bytes", "text", ",.0f"),
    Row("constants, bytes", "rodata", ",.0f"),
)

PROCESS_ROWS = (
    Row("part of the pages that zswap took", "taken", ".3f"),
    Row("pages out per second", "out_per_second", ",.0f"),
    Row("pages in per second", "in_per_second", ",.0f"),
    Row("pages unmapped per second", "unmap_per_second", ",.0f"),
)

MANY_ROWS = {"threads": THREAD_ROWS, "processes": PROCESS_ROWS}


def print_rows(rows: Iterable[Row], backends: dict[str, Figures]) -> None:
    compared = REFERENCE in backends and SUBJECT in backends
    for row in rows:
        if not any(row.figure in figures for figures in backends.values()):
            continue
        cells = [
            format(figures[row.figure], row.format) if row.figure in figures else "-"
            for figures in backends.values()
        ]
        line = f"{row.label:36}" + "".join(f"{cell:>12}" for cell in cells)
        if compared and abs(backends[REFERENCE][row.figure]) >= 0.1:
            ratio = backends[SUBJECT][row.figure] / backends[REFERENCE][row.figure]
            line += f"{ratio:>12.3f}"
        print(line)
    print()


def heading(title: str, backends: dict[str, Figures]) -> None:
    line = f"{title:36}" + "".join(f"{backend:>12}" for backend in backends)
    if REFERENCE in backends and SUBJECT in backends:
        line += f"{'ratio':>12}"
    print(line)


def print_tables(runs: Runs) -> None:
    single: dict[tuple[str, str, int], dict[str, Figures]] = {}
    for key, backends in runs.items():
        derived = {backend: derive(figures) for backend, figures in backends.items()}
        if key.mode == "cost":
            heading(f"{key.trace}, {key.objects:,} objects", derived)
            print_rows(COST_ROWS, derived)
            continue
        if key.mode == "native":
            heading(f"{key.trace}, {key.objects:,} objects, native", derived)
            print_rows(NATIVE_ROWS, derived)
            continue
        if key.mode == "sizes":
            heading("size", derived)
            print_rows(SIZE_ROWS, derived)
            continue
        if key.mode == "slabs":
            for backend, figures in derived.items():
                for name, value in figures.items():
                    print(f"{backend:12}{name.removeprefix('slab.'):24}{value:12,.0f} bytes an object")
            print()
            continue
        base = single.setdefault((key.mode, key.trace, key.objects), derived)
        heading(f"{key.trace}, {key.mode}: {key.processors}", derived)
        rows = MANY_ROWS[key.mode]
        print_rows(rows, derived)
        if base is not derived:
            rates = [row for row in rows if row.figure.endswith("_per_second")]
            scaling = {
                backend: {row.figure: figures[row.figure] / base[backend][row.figure] for row in rates}
                for backend, figures in derived.items()
            }
            print_rows([Row(f"{row.label}, times one", row.figure, ".2f") for row in rates], scaling)


def write_csv(path: Path, runs: Runs) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["mode", "trace", "objects", "processors", "backend", "figure", "value"])
        for key, backends in runs.items():
            for backend, figures in backends.items():
                for name, value in derive(figures).items():
                    writer.writerow([*key, backend, name, f"{value:.6g}"])


# The recorded figures: those that must not rise, and those that must not fall.
COSTS = (
    "store.mean",
    "load.mean",
    "free.mean",
    "restore.mean",
    "malloc.p999",
    "map.max",
    "free.p999",
)
CEILINGS = (*COSTS, "left")
FLOORS = ("fresh.density", "churned.density", "idle.density", "shrunk.density")


def subject_figures(runs: Runs) -> Figures:
    backends = next(iter(runs.values()), {})
    if len(runs) != 1 or SUBJECT not in backends:
        raise ReportError(f"this is not the output of one run of {SUBJECT}")
    return derive(backends[SUBJECT])


def record(path: Path, runs: Runs, built_with: str) -> None:
    figures = subject_figures(runs)
    with path.open("w") as file:
        file.write("# SPDX-License-Identifier: GPL-2.0\n#\n")
        file.write("# What rsmalloc costs, as scripts/bench.sh --record wrote it.\n")
        file.write(f"# {built_with}\n")
        for name in CEILINGS + FLOORS:
            file.write(f"{name} {figures[name]:.6g}\n")


def check(path: Path, runs: Runs, built_with: str) -> bool:
    """Compare with the recorded figures, and say in KTAP how each fares."""
    figures = subject_figures(runs)
    lines = path.read_text().splitlines()
    recorded = dict(line.split() for line in lines if line and line[0] != "#")
    elsewhere = f"# {built_with}" not in lines
    if sorted(recorded) != sorted(CEILINGS + FLOORS):
        raise ReportError(f"{path} has other figures than are checked: record it anew")
    good = True
    print(f"KTAP version 1\n1..{len(recorded)}")
    if elsewhere:
        print(f"# recorded elsewhere, so costs may be {TOLERANCE_ELSEWHERE:.0%} higher; here: {built_with}")
    for number, (name, text) in enumerate(recorded.items(), 1):
        tolerance = TOLERANCE_TAIL if name.endswith(".p999") else TOLERANCE
        if elsewhere and name in COSTS:
            tolerance = TOLERANCE_ELSEWHERE
        limit = float(text) * (1 + tolerance if name in CEILINGS else 1 - tolerance)
        passed = figures[name] <= limit if name in CEILINGS else figures[name] >= limit
        if not passed:
            print(
                f"# {name} is {figures[name]:.6g}, recorded was {text}. If that is meant:"
                " scripts/bench.sh --record"
            )
        print(f"{'ok' if passed else 'not ok'} {number} {name}")
        good = good and passed
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="Report on a run of the benchmark.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--csv", type=Path, help="write all figures there, too")
    action.add_argument("--record", type=Path, help="write the figures to check later ones by")
    action.add_argument("--check", type=Path, help="compare with recorded figures")
    parser.add_argument("--built-with", default="", help="compiler of the module, release and compiler of the kernel")
    parser.add_argument("output", type=Path, nargs="+", help="what the guests printed")
    options = parser.parse_args()
    try:
        runs = read_output(options.output)
        if options.check:
            return 0 if check(options.check, runs, options.built_with) else 1
        print_tables(runs)
        if options.record:
            record(options.record, runs, options.built_with)
        if options.csv:
            write_csv(options.csv, runs)
    except (ReportError, OSError, ValueError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1
    except KeyError as error:
        print(f"report.py: the output lacks the figure {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
