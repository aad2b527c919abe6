#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Collect memory images of ordinary programs for the swap demonstration.

Each program below works on real input (the kernel's headers, Python's own
library, Rust's). It runs until it holds the wanted amount of anonymous memory,
is stopped there, and its private anonymous writable memory is appended to one
image file, page by page. Pages that are all zero are left out, because the
kernel never hands them to zswap.

A second file, next to the image, says how many pages each program gave.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
ZERO_PAGE = bytes(PAGE_SIZE)
CHUNK = 256 * PAGE_SIZE
MIB = 1 << 20
# Far more than any of the programs needs, also on a busy machine.
PROGRAM_TIMEOUT_SECONDS = 120
# The image, and the text that the programs read.
SPACE_NEEDED = 200 * MIB
# No text comes out much longer than the programs read before they are stopped.
TEXT_SIZE = 40 * MIB

PYTHON_SYNTAX_TREES = """
import ast, pathlib, sysconfig
library = pathlib.Path(sysconfig.get_path("stdlib"))
trees = [ast.parse(path.read_bytes()) for path in sorted(library.glob("*.py"))]
"""

PYTHON_WORD_INDEX = """
import sys
index = {}
for number, line in enumerate(open(sys.argv[1], errors="replace")):
    for word in line.split():
        index.setdefault(word, []).append(number)
"""

PYTHON_DATABASE = """
import sqlite3, sys
database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, words INTEGER, text TEXT)")
database.execute("CREATE INDEX by_text ON line (text)")
for number, line in enumerate(open(sys.argv[1], errors="replace")):
    database.execute("INSERT INTO line VALUES (?, ?, ?)", (number, len(line.split()), line))
"""

BASH_WORD_COUNT = """
declare -A count
while read -ra words; do
    for word in "${words[@]}"; do count["x$word"]=$((${count["x$word"]:-0} + 1)); done
done < "$1"
"""


class CollectError(Exception):
    """A failure that the user is told about without a traceback."""


class Program(NamedTuple):
    name: str
    megabytes: int
    command: list[str]
    directory: Path


def write_text(headers: Path, text: Path) -> None:
    """Join the kernel's headers into one text of tens of megabytes."""
    with text.open("wb") as joined:
        for path in sorted(headers.rglob("*.h")):
            joined.write(path.read_bytes())
            if joined.tell() >= TEXT_SIZE:
                return
    raise CollectError(f"{headers}: too few headers; --headers must be a kernel's header folder")


def c_compiler(record: Path, kdir: Path) -> list[str]:
    """The program that did the work in the call of gcc that this .cmd file of the kernel's build has."""
    try:
        line = record.read_text().splitlines()[0]
    except OSError as error:
        raise CollectError(f"{record}: {error.strerror}; build the module first") from error
    words = shlex.split(line.partition(":=")[2].partition(" ;")[0])
    words = [word for word in words if not word.startswith("-Wp,-MMD")]
    words[words.index("-o") + 1] = "/dev/null"
    told = subprocess.run([*words, "-###"], cwd=kdir, capture_output=True, text=True, check=True)
    for line in told.stderr.splitlines():
        if "cc1 " in line:
            return shlex.split(line)
    raise CollectError(f"{words[0]} -### does not say how it calls cc1")


def rust_compiler(rustc: str) -> list[str]:
    """The call that compiles Rust's core library."""
    version = subprocess.check_output([rustc, "--version"], text=True)
    sysroot = subprocess.check_output([rustc, "--print=sysroot"], text=True).strip()
    minor = int(re.match(r"rustc \d+\.(\d+)", version)[1])
    source = Path(sysroot) / "lib/rustlib/src/rust/library/core/src/lib.rs"
    # core is in the newer edition since that release.
    edition = 2024 if minor >= 87 else 2021
    return [
        *("/usr/bin/env", "RUSTC_BOOTSTRAP=1", rustc, f"--edition={edition}", "--crate-type=lib"),
        *("--crate-name=core", "--cap-lints=allow", "--emit=metadata=/dev/null", str(source)),
    ]


def programs(options: argparse.Namespace, text: Path, scratch: Path) -> list[Program]:
    python = sys.executable
    return [
        Program("python3, syntax trees", 14, [python, "-c", PYTHON_SYNTAX_TREES], scratch),
        Program("python3, word index", 10, [python, "-c", PYTHON_WORD_INDEX, str(text)], scratch),
        Program(
            "python3, sqlite database", 10, [python, "-c", PYTHON_DATABASE, str(text)], scratch
        ),
        Program(
            "perl, word count", 10, ["perl", "-ne", "$count{$_}++ for split", str(text)], scratch
        ),
        Program("bash, word count", 6, ["bash", "-c", BASH_WORD_COUNT, "bash", str(text)], scratch),
        Program("awk, lines of a text", 6, ["awk", "{ line[NR] = $0 }", str(text)], scratch),
        Program("sort, lines of a text", 8, ["sort", "--buffer-size=64M", str(text)], scratch),
        Program("gcc, C code", 16, c_compiler(options.record, options.kdir), options.kdir),
        Program("rustc, core library", 18, rust_compiler(options.rustc), scratch),
    ]


def anonymous_bytes(pid: int) -> int:
    """How much anonymous memory a process holds; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    match = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def anonymous_pages(pid: int) -> Iterator[bytes]:
    """The non-zero pages of a stopped process's private anonymous memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            addresses, permissions, _offset, _device, inode = line.split()[:5]
            if permissions[:2] != "rw" or permissions[3] != "p" or inode != "0":
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            memory.seek(start)
            for position in range(start, end, CHUNK):
                chunk = memory.read(min(CHUNK, end - position))
                for offset in range(0, len(chunk), PAGE_SIZE):
                    page = chunk[offset : offset + PAGE_SIZE]
                    if page != ZERO_PAGE:
                        yield page


def wait_until_grown(process: subprocess.Popen[bytes], program: Program, errors: BinaryIO) -> None:
    """Wait for the wanted size and leave the program stopped there."""
    deadline = time.monotonic() + PROGRAM_TIMEOUT_SECONDS
    while anonymous_bytes(process.pid) < program.megabytes * MIB:
        if process.poll() is not None:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()
            raise CollectError(
                f"{program.name}: ended (status {process.returncode}) before it held"
                f" {program.megabytes} MB\n{message}"
            )
        if time.monotonic() > deadline:
            raise CollectError(
                f"{program.name}: did not reach {program.megabytes} MB in {PROGRAM_TIMEOUT_SECONDS} s"
            )
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def collect(program: Program, image: BinaryIO) -> int:
    """Append the program's pages to the image and say how many they are."""
    pages = 0
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                # A stopped program would stay if this one were killed.
                ["setpriv", "--pdeathsig", "KILL", *program.command],
                cwd=program.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        except OSError as error:
            raise CollectError(f"{program.name}: {error}") from error
        try:
            wait_until_grown(process, program, errors)
            for page in anonymous_pages(process.pid):
                image.write(page)
                pages += 1
        finally:
            process.kill()
            process.wait()
    if not pages:
        raise CollectError(f"{program.name}: ended before its memory could be read")
    return pages


def main() -> int:
    parser = argparse.ArgumentParser(description="Collect memory images of ordinary programs.")
    parser.add_argument("--kdir", type=Path, required=True, help="folder of the kernel's headers")
    parser.add_argument("--record", type=Path, required=True, help=".cmd file of a compiled C file")
    parser.add_argument("--rustc", required=True, help="compiler with the library's source")
    parser.add_argument("image", type=Path, help="file to write; IMAGE.txt gets the page counts")
    options = parser.parse_args()

    image: Path = options.image
    summary = image.with_name(image.name + ".txt")
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(image.parent).free
        if free < SPACE_NEEDED:
            raise CollectError(
                f"{image.parent} has {free // MIB} MiB left, and the images need {SPACE_NEEDED // MIB}:"
                " make room, or point XDG_CACHE_HOME to a larger disk"
            )
        with tempfile.TemporaryDirectory(dir=image.parent, prefix="collect.") as folder:
            scratch = Path(folder)
            text = scratch / "text"
            write_text(options.kdir.parent, text)
            counts = []
            with (scratch / "image").open("wb") as pages:
                for program in programs(options, text, scratch):
                    count = collect(program, pages)
                    counts.append(f"{count:6} pages  {program.name}\n")
                    print(counts[-1], end="", flush=True)
            # The image comes last: whoever finds it finds a complete pair.
            (scratch / "summary").write_text("".join(counts))
            (scratch / "summary").rename(summary)
            (scratch / "image").rename(image)
    except (CollectError, OSError, subprocess.CalledProcessError) as error:
        print(f"collect_images.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
