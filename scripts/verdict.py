#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Verdict on the console log of a guest that scripts/vm.sh ran.

The run passed if

- the command's output is complete KTAP: a plan at every level, as many results
  as planned, numbered in sequence, none of them "not ok";
- the command reached its end and exited with status 0;
- the kernel complained of nothing, though every program may have exited with 0,
  but for one report that names what --expect says, which must be there;
- at least one test passed: silence is failure.

Prints an explanation of each failure, the totals of each test of the suite, and
a line of totals.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field

STAMP = re.compile(r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")
GUEST = "guest: "
FINISHED = re.compile(r"command finished with status (\d+)$")
# Printed without a time stamp, in front of the first message that was kept.
DROPPED = re.compile(r"\*\* \d+ printk messages dropped \*\*")
ENDED = re.compile(r"vm\.sh: the guest (was ended|died).*")

# What the kernel prints when something is wrong.
DENY = [
    re.compile(pattern)
    for pattern in (
        r"WARNING: ",
        r"\bBUG: ",
        r"kernel BUG at",
        r"Kernel panic",
        r"panicked at",
        r"Oops: ",
        r"general protection fault",
        r"[Uu]nable to handle",
        r"Call Trace:",
        r"\b(KASAN|KCSAN|KMSAN|KFENCE|UBSAN): ",
        r"possible (circular|recursive|irq) ",
        r"INFO: (task|lockdep|trying to register)",
        r"blocked for more than",
        r"(soft|hard) (lockup|LOCKUP)",
        r"detected (expedited )?stalls|self-detected stall",
        r"scheduling while atomic",
        r"sleeping function called",
        r"Voluntary context switch within RCU",
        r"preempt_count overflow|preempt_count [0-9a-f]+, expected",
        r"refcount_t: ",
        r"list_(add|del) (corruption|double)",
        r"[Bb]ad (page state|page map|rss-counter|swap (file|offset) entry)",
        r"[Ss]lab cache still has objects|Objects remaining",
        r"kmem_cache_destroy",
        r"overwritten|Object already free|Invalid object pointer",
        r"kmemleak: ",
        r"invoked oom-killer|Out of memory|page allocation failure",
        r"segfault at|traps: ",
        r"I/O error|(Read|Write)-error on swap-device",
        r"cannot create duplicate|already present",
    )
]

# What would be denied and is harmless, with the reason.
ALLOW = [
    # The leak detector announces itself at boot; a leak is another message.
    re.compile(r"kmemleak: (Kernel memory leak detector (initialized|disabled)|Automatic memory scanning)"),
    # A property of the host's processor, printed at boot on KVM.
    re.compile(r"(Spectre|RETBleed|MDS|TAA|MMIO|SRSO|SRBDS|ITS|VMSCAPE)[^:]*: WARNING: "),
    # virtme-ng's init writes to the kernel log. It does without a tool that a bare machine lacks.
    re.compile(r"virtme-ng-init: WARNING: failed to run: "),
]

# What a report begins with.
HEAD = re.compile(r"\b(WARNING|BUG): ")

# Lines between two complaints that still belong to one report: between the head of one of
# lockdep and its stack trace are those of every lock involved.
REPORT_LINES = 120
# The first reports are shown with so many lines that follow.
REPORTS_IN_FULL = 3
REPORT_CONTEXT = 12


@dataclass
class Level:
    """One stream of KTAP results; a nested one belongs to the next result above it."""

    depth: int
    line: int
    plan: int | None = None
    skip_all: str | None = None
    results: int = 0
    failed: int = 0


@dataclass
class Verdict:
    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    # How many passed, failed and were skipped in each test of a suite.
    tests: dict[str, list[int]] = field(default_factory=dict)

    def totals(self) -> list[int]:
        return [self.passed, len(self.failures), self.skipped]

    def fail(self, line: int, message: str) -> None:
        self.failures.append(f"line {line}: {message}" if line else message)


RESULT = re.compile(r"(not ok|ok) (\d+)(?: -)?(?: (.*))?$")
PLAN = re.compile(r"1\.\.(\d+)(?:\s*#\s*(SKIP.*))?$")
VERSION = re.compile(r"(?:K?TAP) version \d+$")
SKIP = re.compile(r"(.*?)\s*# SKIP\b\s*(.*)$")


def split_depth(text: str) -> tuple[int, str]:
    """Nested results are marked with "# " (kselftest) or two blanks (KTAP)."""
    depth = 0
    while text.startswith(("# ", "  ")):
        text = text[2:]
        depth += 1
    return depth, text.strip()


class Ktap:
    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.open: list[Level] = []
        self.before = verdict.totals()

    def close_deeper(self, depth: int) -> Level | None:
        """Closes the levels below depth, and returns the topmost of them."""
        closed = None
        while self.open and self.open[-1].depth > depth:
            closed = self.open.pop()
            self.check_complete(closed)
        return closed

    def check_complete(self, level: Level) -> None:
        if level.plan is None:
            self.fail_level(level, "results without a plan (1..N)")
        elif level.plan == 0 and level.skip_all is None:
            self.fail_level(level, "a plan of no tests")
        elif level.plan != level.results:
            self.fail_level(level, f"{level.plan} tests planned, {level.results} reported")

    def fail_level(self, level: Level, message: str) -> None:
        level.failed += 1
        self.verdict.fail(level.line, message)

    def level_at(self, depth: int, line: int) -> Level:
        if not self.open or self.open[-1].depth < depth:
            self.open.append(Level(depth, line))
        return self.open[-1]

    def feed(self, line: int, text: str) -> None:
        depth, text = split_depth(text)
        if VERSION.match(text):
            self.close_deeper(depth - 1)
            self.open.append(Level(depth, line))
        elif match := PLAN.match(text):
            self.close_deeper(depth)
            level = self.level_at(depth, line)
            if level.plan is not None:
                self.fail_level(level, "a second plan")
            level.plan = int(match[1])
            if match[2]:
                level.skip_all = match[2]
                self.verdict.skipped += 1
                self.verdict.skips.append(match[2])
        elif match := RESULT.match(text):
            nested = self.close_deeper(depth)
            self.result(self.level_at(depth, line), nested, line, match)
        elif text.startswith("Bail out!"):
            self.verdict.fail(line, text)

    def result(self, level: Level, nested: Level | None, line: int, match: re.Match[str]) -> None:
        outcome, number, description = match[1], int(match[2]), match[3] or ""
        level.results += 1
        if number != level.results:
            self.fail_level(level, f"test number {number} where {level.results} should follow: {description}")
        skip = SKIP.match(description)
        if outcome == "not ok":
            level.failed += 1
            # A failed test within is the explanation, and counted already.
            if nested is None or nested.failed == 0:
                self.verdict.fail(line, f"not ok {number} {description}")
        elif nested is not None:
            if nested.failed:
                level.failed += 1
        elif skip:
            self.verdict.skipped += 1
            self.verdict.skips.append(": ".join(filter(None, (skip[1], skip[2]))))
        else:
            self.verdict.passed += 1
        if level.depth == 0:
            self.end_test(SKIP.sub(r"\1", description).split(": ")[-1].strip())

    def end_test(self, name: str) -> None:
        """What came since the last one, complaints of the kernel included, belongs to this test."""
        now = self.verdict.totals()
        self.verdict.tests[name] = [after - before for before, after in zip(self.before, now)]
        self.before = now

    def end(self) -> None:
        self.close_deeper(-1)


def complains(text: str) -> bool:
    return any(deny.search(text) for deny in DENY) and not any(allow.search(text) for allow in ALLOW)


def names(expected: re.Pattern[str], report: list[str]) -> bool:
    """Whether the kernel says so, and not only the guest's command."""
    return any(expected.search(line) for line in report if GUEST not in line)


def judge(lines: list[str], expected: re.Pattern[str] | None = None) -> Verdict:
    verdict = Verdict()
    ktap = Ktap(verdict)
    status = None
    ended = ""
    report_end = 0
    reports = 0
    awaited = expected
    tolerated = False
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        stamp = STAMP.match(line)
        if not stamp:
            if match := ENDED.match(line):
                ended = match[0].removeprefix("vm.sh: ")
            elif DROPPED.match(line):
                verdict.fail(number, f"the log is incomplete: {line}")
            continue
        text = line[stamp.end():]
        if text.startswith(GUEST):
            text = text.removeprefix(GUEST)
            if status is not None:
                verdict.fail(number, f"output after the command's end: {text}")
            elif match := FINISHED.match(text):
                status = int(match[1])
            else:
                ktap.feed(number, text)
        elif complains(text):
            # What follows a report closely is taken as part of it, but not if that one was expected.
            new = number > report_end or (tolerated and HEAD.search(text))
            if new and awaited and names(awaited, lines[number - 1:number - 1 + REPORT_LINES]):
                awaited = None
                tolerated = True
            elif new:
                tolerated = False
                context = REPORT_CONTEXT if reports < REPORTS_IN_FULL else 0
                reports += 1
                report = [text] + [
                    following[STAMP.match(following).end():].rstrip()
                    for following in lines[number:number + context]
                    if STAMP.match(following) and GUEST not in following
                ]
                verdict.fail(number, "the kernel complains:\n    " + "\n    ".join(report))
            report_end = number + REPORT_LINES
    ktap.end()
    if awaited:
        verdict.fail(0, f"the kernel does not complain of {awaited.pattern}, as it should")
    if status is None:
        verdict.fail(0, ended or "the log breaks off before the command's end")
    elif status != 0:
        verdict.fail(0, f"the command exited with status {status}")
    if verdict.passed == 0 and not verdict.failures:
        verdict.fail(0, "no test passed")
    return verdict


def in_words(totals: list[int]) -> str:
    passed, failed, skipped = totals
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main() -> int:
    parser = argparse.ArgumentParser(description="Verdict on the console log of a guest.")
    parser.add_argument("--expect", metavar="REGEX", type=re.compile,
                        help="the kernel must complain once, and this must be in its report")
    parser.add_argument("log", metavar="LOG")
    arguments = parser.parse_args()
    try:
        with open(arguments.log, encoding="utf-8", errors="replace") as log:
            verdict = judge(log.readlines(), arguments.expect)
    except OSError as error:
        print(f"{sys.argv[0]}: cannot read the log: {error}", file=sys.stderr)
        return 2
    for skip in verdict.skips:
        print(f"skipped: {skip}")
    for failure in verdict.failures:
        print(f"FAILED: {failure}")
    for name, totals in verdict.tests.items():
        print(f"{name}: {in_words(totals)}")
    print(in_words(verdict.totals()))
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
