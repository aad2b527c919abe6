#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/verdict.py, as KTAP: a log that must pass, and what must not.

Every bad log is the clean one with a single change, so that only the check
under test can be what notices it.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
sys.dont_write_bytecode = True
import verdict  # noqa: E402

CLEAN = (HERE / "clean.log").read_text()


def edit(old: str, new: str) -> str:
    assert CLEAN.count(old) == 1, f"{old!r} is not in the clean log exactly once"
    return CLEAN.replace(old, new)


def without(line_part: str) -> str:
    lines = CLEAN.splitlines(keepends=True)
    kept = [line for line in lines if line_part not in line]
    assert len(kept) == len(lines) - 1, f"{line_part!r} is not on exactly one line"
    return "".join(kept)


def kernel_says(*messages: str) -> str:
    """The kernel prints this in the middle of a test that passes."""
    marker = "[    5.512345]"
    return edit(marker, "".join(f"[    5.500000] {message}\n" for message in messages) + marker)


# What, the log, its exit status, and a part of what must be printed.
LOGS = [
    ("a clean run passes", CLEAN, 0, "3 passed, 0 failed, 1 skipped"),
    ("each program has its totals", CLEAN, 0, "zpool.sh: 2 passed, 0 failed, 1 skipped\nswap_roundtrip: 1 passed"),
    ("a warning belongs to the program that ran", kernel_says("WARNING: CPU: 0"), 1, "zpool.sh: 2 passed, 1 failed, 1 skipped"),
    ("the reason of a skip is shown", CLEAN, 0, "skipped: a mapping may sleep: zsmalloc cannot"),
    ("a test that fails",
     edit("# ok 3 wrong sizes", "# not ok 3 wrong sizes"), 1, "not ok 3 wrong sizes are refused"),
    ("a program that fails though its tests pass",
     edit("guest: ok 1 self", "guest: not ok 1 self"), 1, "not ok 1 selftests: rsmalloc: zpool.sh"),
    ("a failure that is marked as expected",
     edit("# ok 3 wrong sizes are refused", "# not ok 3 wrong sizes # TODO"), 1, "not ok 3 wrong sizes"),
    ("a failed test and its failed program count once",
     edit("# ok 3", "# not ok 3").replace("guest: ok 1 self", "guest: not ok 1 self"), 1, "2 passed, 1 failed, 1 skipped"),
    ("no plan", without("guest: 1..2"), 1, "results without a plan"),
    ("no plan within a program", without("# 1..3"), 1, "results without a plan"),
    ("fewer results than planned", edit("guest: 1..2", "guest: 1..3"), 1, "3 tests planned, 2 reported"),
    ("fewer results than planned within a program", without("# ok 3"), 1, "3 tests planned, 2 reported"),
    ("more results than planned", edit("guest: 1..2", "guest: 1..1"), 1, "1 tests planned, 2 reported"),
    ("two plans", edit("guest: 1..2", "guest: 1..2\n[    5.1] guest: 1..2"), 1, "a second plan"),
    ("a plan of nothing", edit("# TAP version 13", "#   1..0\n[    5.3] guest: # TAP version 13"), 1, "a plan of no tests"),
    ("results out of sequence", edit("# ok 3", "# ok 4"), 1, "test number 4 where 3 should follow"),
    ("a program that gives up", edit("# ok 3 wrong sizes are refused", "# ok 3 x\n[    5.6] guest: # Bail out! no memory"),
     1, "Bail out! no memory"),
    ("a log that breaks off", CLEAN[:CLEAN.index("[    5.612345]")], 1, "the log breaks off"),
    ("a log whose last line is missing", without("command finished"), 1, "the log breaks off"),
    ("a guest that was ended",
     CLEAN[:CLEAN.index("[    5.912345]")] + "vm.sh: the guest was ended: it ran for more than 9 seconds\n",
     1, "ran for more than 9 seconds"),
    ("a command that fails", edit("with status 0", "with status 1"), 1, "exited with status 1"),
    ("output after the end", CLEAN + "[    7.0] guest: ok 3 late\n", 1, "output after the command's end"),
    ("everything skipped",
     "".join(f"[ 1.{i}] guest: {text}\n" for i, text in enumerate(
         ("TAP version 13", "1..1", "ok 1 a # SKIP no", "command finished with status 0"))), 1, "no test passed"),
    ("an empty log", "", 1, "the log breaks off"),
    ("a log with a gap",
     edit("[    5.512345]", "** 214 printk messages dropped **\n[    5.512345]"), 1, "the log is incomplete"),
    ("a kernel warning though every test passed",
     kernel_says("------------[ cut here ]------------", "WARNING: CPU: 0 PID: 71 at mm/zpool.c:1 zpool_free+0x1/0x2",
                 "Call Trace:", " <TASK>"), 1, "3 passed, 1 failed, 1 skipped"),
    ("the same, where the kernel prints the caller",
     kernel_says("x").replace("[    5.500000] x", "[    5.500000][   T71] WARNING: CPU: 0 PID: 71 at mm/zpool.c:1"),
     1, "WARNING: CPU: 0"),
    ("two reports far apart are two failures",
     kernel_says("WARNING: CPU: 0", *["idle"] * verdict.REPORT_LINES, "WARNING: CPU: 1"), 1, "3 passed, 2 failed"),
    ("a test that only speaks of warnings",
     edit("# ok 3 wrong sizes", "# ok 3 no WARNING: or BUG: from"), 0, "3 passed, 0 failed"),
]

# At least one message for each entry of the deny list.
COMPLAINTS = [
    "WARNING: CPU: 1 PID: 99 at kernel/sched/core.c:5870 preempt_count_add+0x5d/0x70",
    "BUG: unable to handle page fault for address: ffff888004000000",
    "kernel BUG at mm/slub.c:553!",
    "Kernel panic - not syncing: Fatal exception",
    "rust_kernel: panicked at rust/pool.rs:10:5:",
    "Oops: Oops: 0002 [#1] PREEMPT SMP",
    "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1]",
    "Call Trace:",
    "BUG: KASAN: slab-use-after-free in zpool_test_store+0x10/0x20 [zpool_test]",
    "BUG: KCSAN: data-race in a / b",
    "UBSAN: shift-out-of-bounds in mm/zsmalloc.c:10:4",
    "WARNING: possible circular locking dependency detected",
    "INFO: lockdep is turned off.",
    "INFO: task kswapd0:37 blocked for more than 120 seconds.",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:71]",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "BUG: scheduling while atomic: insmod/71/0x00000002",
    "BUG: sleeping function called from invalid context at mm/vmalloc.c:3400",
    "Voluntary context switch within RCU read-side critical section!",
    "initcall zpool_test_init returned with preempt_count 00000001, expected 00000000",
    "refcount_t: underflow; use-after-free.",
    "list_del corruption. prev->next should be ffff888003, but was dead000000000100",
    "BUG: Bad page state in process rmmod  pfn:03f00",
    "BUG rsmalloc_zspage (Tainted: G O): Objects remaining in rsmalloc_zspage on __kmem_cache_shutdown()",
    "kmem_cache_destroy rsmalloc_zspage: Slab cache still has objects when called from exit+0x10/0x20",
    "[Poison overwritten] 0xffff888003f00000-0xffff888003f00003 @offset=0. First byte 0x0 instead of 0x6b",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "stress-ng-vm invoked oom-killer: gfp_mask=0x140dca",
    "swap_roundtrip[90]: segfault at 0 ip 00007f0 sp 00007ff error 4",
    "Read-error on swap-device (8:0:1234)",
    "debugfs: File 'classes' in directory 'zswap1' already present!",
]

# At least one message for each entry of the allow list.
HARMLESS = [
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
    "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
    'virtme-ng-init: WARNING: failed to run: "ip" link set dev lo up (error: No such file or directory (os error 2))',
]

# What, the log, the exit status with --expect, and a part of what must be printed.
REPORT = ("WARNING: possible circular locking dependency detected", "rsmalloc_zspage, at: x", "Call Trace:")
EXPECTED = [
    ("a report that is expected", kernel_says(*REPORT), 0, "3 passed, 0 failed"),
    ("no report where one is expected", CLEAN, 1, "does not complain of rsmalloc_zspage"),
    ("another report than the expected one",
     kernel_says("WARNING: CPU: 0", "Call Trace:"), 1, "the kernel complains"),
    ("a report that only the command speaks of",
     kernel_says("WARNING: CPU: 0", "guest: rsmalloc_zspage"), 1, "does not complain of rsmalloc_zspage"),
    ("a second report after the expected one", kernel_says(*REPORT, *REPORT), 1, "3 passed, 1 failed"),
    ("another report right after the expected one",
     kernel_says(*REPORT, "BUG: scheduling while atomic: insmod/71", "Call Trace:"), 1, "3 passed, 1 failed"),
]

Check = tuple[str, Callable[[], str]]


def verdict_of(log: str, *options: str) -> tuple[int, str]:
    """Runs the program as scripts/vm.sh does, for its exit status counts."""
    with tempfile.NamedTemporaryFile("w", suffix=".log") as file:
        file.write(log)
        file.flush()
        run = subprocess.run([SCRIPTS / "verdict.py", *options, file.name],
                             capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout + run.stderr


def check_log(log: str, status: int, part: str, *options: str) -> str:
    got, output = verdict_of(log, *options)
    if got != status:
        return f"exit status {got} instead of {status}; it printed:\n{output}"
    return "" if part in output else f"no {part!r} in:\n{output}"


def check_entries(entries: list[re.Pattern[str]], messages: list[str]) -> str:
    unused = [entry.pattern for entry in entries if not any(entry.search(message) for message in messages)]
    return f"no sample matches {unused}" if unused else ""


def checks() -> list[Check]:
    def log(entry: tuple[str, str, int, str], *options: str) -> Check:
        return entry[0], lambda: check_log(*entry[1:], *options)

    return [
        *(log(entry) for entry in LOGS),
        *(log(entry, "--expect", "rsmalloc_zspage") for entry in EXPECTED),
        *(log((f"denied: {message}", kernel_says(message), 1, message)) for message in COMPLAINTS),
        *(log((f"allowed: {message}", kernel_says(message), 0, "3 passed, 0 failed")) for message in HARMLESS),
        ("each entry of the deny list has a sample", lambda: check_entries(verdict.DENY, COMPLAINTS)),
        ("each entry of the allow list has a sample", lambda: check_entries(verdict.ALLOW, HARMLESS)),
        ("a log that is not there", lambda: check_missing()),
    ]


def check_missing() -> str:
    run = subprocess.run([SCRIPTS / "verdict.py", HERE / "no-such.log"], capture_output=True, text=True, timeout=60)
    return "" if run.returncode == 2 and "cannot read the log" in run.stderr else f"status {run.returncode}: {run.stderr}"


def main() -> int:
    failed = 0
    table = checks()
    print("TAP version 13")
    print(f"1..{len(table)}")
    for number, (description, check) in enumerate(table, start=1):
        problem = check()
        if problem:
            failed += 1
            print("\n".join(f"# {line}" for line in problem.splitlines()))
        print(f"{'not ok' if problem else 'ok'} {number} {description.replace('#', '')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
