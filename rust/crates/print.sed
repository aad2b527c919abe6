# SPDX-License-Identifier: GPL-2.0
#
# Changes the copy of the kernel's rust/kernel/print.rs so that messages are
# formatted before printk() is called, and printed by %s. print_text.rs has the
# rest. The format strings keep their length.

s/b"(.*)%pA(.*)"/b"\1%s\2\\0"/
s/(&args as \*const _ as \*const c_void|(core::)?ptr::from_ref\(&args\)\.cast(::<c_void>)?\(\))/Text::of(args).as_ptr()/

# printk() calls it only for %pA.
/^#\[no_mangle\]$/d
