#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints a rust-project.json for rust-analyzer.

The kernel's own generator describes the kernel's crates. It takes a module for
a crate root only if a Kbuild in the same folder names it, so rsmalloc is added
here, with the path of its generated bindings.
"""

import json
import re
import subprocess
import sys
from pathlib import Path


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(kdir: str, rustc: str) -> None:
    objtree = Path(kdir).resolve()
    source = objtree / "source"
    srctree = source.resolve() if source.exists() else objtree
    sysroot = output(rustc, "--print", "sysroot").strip()
    minor = int(re.match(r"rustc 1\.(\d+)", output(rustc, "--version")).group(1))

    project = json.loads(
        output(
            str(srctree / "scripts/generate_rust_analyzer.py"),
            "--cfgs=core=--cfg no_fp_fmt_parse",
            "2024" if minor >= 87 else "2021",  # the edition of the core library
            str(srctree),
            str(objtree),
            sysroot,
            f"{sysroot}/lib/rustlib/src/rust/library",
        )
    )
    crates = project["crates"]
    kernel = next(crate for crate in crates if crate["display_name"] == "kernel")
    rust = Path(__file__).resolve().parent.parent / "rust"
    crates.append(
        kernel
        | {
            "display_name": "rsmalloc",
            "root_module": str(rust / "rsmalloc.rs"),
            "deps": [
                {"crate": number, "name": crate["display_name"]}
                for number, crate in enumerate(crates)
                if crate["display_name"] in ("core", "ffi", "kernel")
            ],
            "env": kernel["env"] | {"RSMALLOC_BINDINGS": str(rust / "bindings_generated.rs")},
            "source": {"include_dirs": [str(rust)], "exclude_dirs": []},
        }
    )
    json.dump(project, sys.stdout, indent=4)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: scripts/rust_analyzer.py KDIR RUSTC")
    main(*sys.argv[1:])
