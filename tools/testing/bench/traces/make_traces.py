#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Make the traces lzo.u16, zstd.u16 and uniform.u16.

A trace is a list of little-endian 16-bit sizes: what the pages of processes
come to when they are compressed one by one. The processes are of three
languages, each with the data structures that a service in it would hold, and
the compressors are used as the kernel uses them. Zero pages are left out, for
the kernel does not hand them to zswap; a page that does not get smaller counts
as a whole one.

Needs node, a JDK, and the libraries of the compressors (Debian: nodejs,
openjdk-17-jdk-headless, liblzo2-2, libzstd1).
"""

import argparse
import ctypes
import random
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "demo"))
from collect_images import PAGE_SIZE, Program, anonymous_bytes, anonymous_pages  # noqa: E402

Compressor = Callable[[bytes], int]

SEED = 20131212
MEGABYTES = 64
PAGES_PER_PROGRAM = 12_000
TIMEOUT_SECONDS = 120

PYTHON = """
import array, random
random.seed(1)
records = []
numbers = []
while True:
    records.append({
        "id": len(records), "name": f"user {random.randrange(10**6)}",
        "tags": random.sample(["red", "green", "blue", "new", "old"], 2),
        "position": {"x": random.random(), "y": random.random()}, "active": True})
    if len(records) % 1000 == 0:
        numbers.append(array.array("d", (random.gauss(0, 1) for _ in range(4000))))
"""

NODE = """
const map = new Map(), buffers = [];
for (let i = 0; ; i++) {
    map.set(`key-${i}`, {id: i, name: `user ${i * 7919 % 1000003}`, scores: [i, i / 3, i % 17]});
    if (i % 100 === 0)
        buffers.push(Buffer.from(JSON.stringify([...Array(50).keys()].map(
            k => ({k, value: Math.random(), text: `item ${i + k} of the list`})))));
}
"""

JAVA = """
import java.util.*;
class Heap {
    public static void main(String[] arguments) {
        Map<String, List<Integer>> map = new HashMap<>();
        Random random = new Random(1);
        for (int i = 0; ; i++) {
            List<Integer> list = new ArrayList<>();
            for (int j = 0; j < 20; j++)
                list.add(random.nextInt());
            map.put("key " + i, list);
        }
    }
}
"""


class TraceError(Exception):
    """A failure that the user is told about without a traceback."""


class ZstdParameters(ctypes.Structure):
    _fields_ = [("compression", ctypes.c_uint * 7), ("frame", ctypes.c_int * 3)]


def library(name: str, package: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise TraceError(f"{error}; install {package}") from error


def lzo() -> Compressor:
    lib = library("liblzo2.so.2", "liblzo2-2")
    work = ctypes.create_string_buffer(1 << 17)
    out = ctypes.create_string_buffer(2 * PAGE_SIZE)
    length = ctypes.c_size_t()

    def compress(page: bytes) -> int:
        if lib.lzo1x_1_compress(page, ctypes.c_size_t(len(page)), out, ctypes.byref(length), work):
            raise TraceError("lzo1x_1_compress failed")
        return length.value

    return compress


def zstd() -> Compressor:
    """With the parameters of the kernel's crypto/zstd.c: level 3, for data of unknown size."""
    lib = library("libzstd.so.1", "libzstd1")
    lib.ZSTD_getParams.restype = ZstdParameters
    lib.ZSTD_createCCtx.restype = ctypes.c_void_p
    lib.ZSTD_compress_advanced.restype = ctypes.c_size_t
    parameters = lib.ZSTD_getParams(3, ctypes.c_ulonglong(0), ctypes.c_size_t(0))
    context = ctypes.c_void_p(lib.ZSTD_createCCtx())
    out = ctypes.create_string_buffer(2 * PAGE_SIZE)

    def compress(page: bytes) -> int:
        size = lib.ZSTD_compress_advanced(
            context,
            out,
            ctypes.c_size_t(len(out)),
            page,
            ctypes.c_size_t(len(page)),
            None,
            ctypes.c_size_t(0),
            parameters,
        )
        if lib.ZSTD_isError(ctypes.c_size_t(size)):
            raise TraceError("ZSTD_compress_advanced failed")
        return size

    return compress


def pages_of(program: Program, generator: random.Random) -> list[bytes]:
    """A sample of the pages of a process that has grown to its size."""
    process = subprocess.Popen(program.command, cwd=program.directory, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while anonymous_bytes(process.pid) < program.megabytes << 20:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TraceError(f"{program.name} did not reach {program.megabytes} MB")
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        pages = list(anonymous_pages(process.pid))
    finally:
        process.kill()
        process.wait()
    return generator.sample(pages, PAGES_PER_PROGRAM)


def write(path: Path, sizes: list[int]) -> None:
    values = array("H", sizes)
    if sys.byteorder == "big":
        values.byteswap()
    path.write_bytes(values.tobytes())
    print(f"{path.name}: {len(sizes)} sizes, mean {sum(sizes) / len(sizes):.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make traces of compressed sizes.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parent, help="where to write them"
    )
    options = parser.parse_args()
    generator = random.Random(SEED)
    try:
        compressors = {"lzo": lzo(), "zstd": zstd()}
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            (scratch / "Heap.java").write_text(JAVA)
            subprocess.run(["javac", "Heap.java"], cwd=scratch, check=True)
            pages = [
                page
                for program in (
                    Program("python", MEGABYTES, [sys.executable, "-c", PYTHON], scratch),
                    Program("node", 2 * MEGABYTES, ["node", "-e", NODE], scratch),
                    Program("java", 2 * MEGABYTES, ["java", "-Xmx1g", "Heap"], scratch),
                )
                for page in pages_of(program, generator)
            ]
        generator.shuffle(pages)
        for name, compress in compressors.items():
            sizes = [min(compress(page), PAGE_SIZE) for page in pages]
            write(options.folder / f"{name}.u16", sizes)
        uniform = list(range(1, PAGE_SIZE + 1))
        generator.shuffle(uniform)
        write(options.folder / "uniform.u16", uniform)
    except (TraceError, OSError, subprocess.CalledProcessError) as error:
        print(f"make_traces.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
