#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Turn the log of the swap demonstration into a table and a verdict.

Reads what guest.sh printed. Exits with status 1 if a pass is missing, a page
came back different, or zswap failed to store a page that it should have taken.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

PREFIX = "demo: "
MEGABYTE = 1_000_000
WIDTH = 88

Pass = dict[str, int]
Figure = Callable[[Pass], float]

# Counters that must not move: none of these is the data's fault.
FAILURES = {
    "mismatches": "pages came back different",
    "mapped_pages": "pages could not be paged out",
    "reject_alloc_fail": "stores failed for want of memory",
    "reject_kmemcache_fail": "stores failed for want of a zswap entry",
    "reject_reclaim_fail": "attempts to write pages back to disk failed",
    "pool_limit_hit": "times the pool reached its limit",
    "written_back_pages": "pages were written back to disk",
}


class Row(NamedTuple):
    label: str
    figure: Figure
    decimals: int
    compared: bool


def incompressible(run: Pass) -> int:
    """Pages that do not fit a page when compressed; lzo calls that a failure."""
    return run["reject_compress_poor"] + run["reject_compress_fail"]


def memory(run: Pass) -> float:
    return run["pool_bytes"] + run["slab_bytes"]


def time_out(run: Pass) -> float:
    return run["out_ns"] / run["pages"]


def time_in(run: Pass) -> float:
    return run["in_ns"] / run["pages"]


def original(run: Pass) -> float:
    return run["stored_pages"] * run["page_size"]


ROWS = (
    Row("pages stored", lambda run: run["stored_pages"], 0, False),
    Row("original size, MB", lambda run: original(run) / MEGABYTE, 2, False),
    Row("compressed, MB", lambda run: run["compressed_bytes"] / MEGABYTE, 2, False),
    Row("pool size, MB", lambda run: run["pool_bytes"] / MEGABYTE, 2, True),
    Row(
        "density (compressed / pool size)",
        lambda run: run["compressed_bytes"] / run["pool_bytes"],
        4,
        True,
    ),
    Row("slab memory beside the pool, MB", lambda run: run["slab_bytes"] / MEGABYTE, 2, False),
    Row("pool and slab together, MB", lambda run: memory(run) / MEGABYTE, 2, True),
    Row(
        "memory saved, % of original", lambda run: 100 * (1 - memory(run) / original(run)), 2, False
    ),
    Row("time per page out, us", lambda run: time_out(run) / 1000, 2, True),
    Row("time per page in, us", lambda run: time_in(run) / 1000, 2, True),
    Row("incompressible, left to the disk", incompressible, 0, False),
    Row("pages that came back different", lambda run: run["mismatches"], 0, False),
    Row(
        "failed stores",
        lambda run: sum(run[key] for key in FAILURES if key.startswith("reject_")),
        0,
        False,
    ),
)


class ReportError(Exception):
    """The log does not hold what a complete run leaves."""


def read_log(path: Path) -> list[tuple[str, Pass]]:
    """The passes in the log, each with its backend's name."""
    passes: list[tuple[str, Pass]] = []
    ended = False
    for line in path.read_text(errors="replace").splitlines():
        _, found, result = line.strip().rpartition(PREFIX)
        key, assigned, value = result.partition("=")
        if not found or not assigned:
            continue
        if key == "failed":
            raise ReportError(value)
        if key == "backend":
            passes.append((value, {}))
        elif key == "end":
            ended = True
        elif passes:
            try:
                passes[-1][1][key] = int(value)
            except ValueError as error:
                raise ReportError(f"a result cannot be read: {line.strip()}") from error
    if not ended:
        raise ReportError("the virtual machine stopped before the last pass was complete")
    for backend, run in passes:
        if not run["stored_pages"]:
            raise ReportError(f"zswap stored no page at all with {backend}")
    return passes


def failures(backend: str, run: Pass) -> list[str]:
    """What went wrong in one pass, in words."""
    found = [f"{backend}: {run[key]} {text}" for key, text in FAILURES.items() if run[key]]
    if run["stored_pages"] + incompressible(run) != run["pages"]:
        found.append(
            f"{backend}: of {run['pages']} pages zswap holds {run['stored_pages']}"
            f" and refused {incompressible(run)}"
        )
    for counter in ("zswpout", "zswpin"):
        if run[counter] != run["stored_pages"]:
            found.append(
                f"{backend}: {counter} counted {run[counter]} pages, stored were {run['stored_pages']}"
            )
    return found


def mean(runs: list[Pass], figure: Figure) -> float:
    return fmean(figure(run) for run in runs)


def spread(runs: list[Pass], figure: Figure) -> float:
    """How far apart the passes of one backend are, relative to their mean."""
    values = [figure(run) for run in runs]
    return (max(values) - min(values)) / fmean(values)


def relation(first: list[Pass], other: list[Pass], figure: Figure) -> float | None:
    """The relative difference, or None if the passes vary by as much."""
    noise = max(spread(first, figure), spread(other, figure))
    difference = mean(other, figure) / mean(first, figure) - 1
    return difference if abs(difference) > noise else None


def in_words(difference: float | None, what: str) -> str:
    if difference is None:
        return f"as much {what}"
    return f"{100 * abs(difference):.1f} % {'less' if difference < 0 else 'more'} {what}"


def print_table(backends: dict[str, list[Pass]]) -> None:
    names = list(backends)
    first = backends[names[0]]
    compared = len(names) == 2
    heading = f"{'':34}" + "".join(f"{name:>12}" for name in names)
    print(heading + (f"{'difference':>13}" if compared else ""))
    for row in ROWS:
        cells = [f"{mean(runs, row.figure):,.{row.decimals}f}" for runs in backends.values()]
        line = f"{row.label:34}" + "".join(f"{cell:>12}" for cell in cells)
        if compared and row.compared:
            difference = relation(first, backends[names[1]], row.figure)
            line += f"{'none' if difference is None else f'{100 * difference:+.1f} %':>13}"
        print(line)
    print()


def conclusion(backends: dict[str, list[Pass]], compressor: str) -> str:
    (first_name, first), *others = backends.items()
    pages = first[0]["stored_pages"]
    text = (
        f"Shown: {pages:,} pages of real program memory went out into zswap ({compressor}) and"
        f" came back identical, byte for byte, with {' and '.join(backends)}."
    )
    for name, runs in others:
        if runs[0]["stored_pages"] != pages:
            text += f" {name} stored {runs[0]['stored_pages']:,} of them, so the figures do not compare."
            continue
        text += (
            f" Against {first_name}, {name} took {in_words(relation(first, runs, memory), 'memory')},"
            f" {in_words(relation(first, runs, time_out), 'time per page out')} and"
            f" {in_words(relation(first, runs, time_in), 'time per page in')}."
        )
    return text


def complain(problems: list[str], log: Path) -> None:
    # The table above it may still wait in the buffer.
    sys.stdout.flush()
    print("Failed:", file=sys.stderr)
    for problem in dict.fromkeys(problems):
        print(f"  {problem}", file=sys.stderr)
    print(f"The whole log is {log}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Report on a run of the swap demonstration.")
    parser.add_argument("--compressor", required=True)
    parser.add_argument("log", type=Path)
    options = parser.parse_args()

    try:
        passes = read_log(options.log)
        problems = [text for backend, run in passes for text in failures(backend, run)]
        backends: dict[str, list[Pass]] = {}
        for backend, run in passes:
            if not run["warm_up"]:
                backends.setdefault(backend, []).append(run)
        print_table(backends)
    except (ReportError, OSError) as error:
        complain([str(error)], options.log)
        return 1
    except KeyError as error:
        complain([f"a pass has no result {error}"], options.log)
        return 1
    passes = ", ".join(f"{len(runs)} {'pass' if len(runs) == 1 else 'passes'} of {name}" for name, runs in backends.items())
    notes = (
        f'Means of {passes}; "none": the difference is no larger than between passes.'
        " A MB is 1,000,000 bytes. The machine is emulated, and its clock advances by 1 ns per"
        " instruction executed: such times compare backends, and are not those of a real machine."
    )
    print(textwrap.fill(notes, WIDTH), end="\n\n")
    if problems:
        complain(problems, options.log)
        return 1
    print(textwrap.fill(conclusion(backends, options.compressor), WIDTH))
    return 0


if __name__ == "__main__":
    sys.exit(main())
