// SPDX-License-Identifier: GPL-2.0

mod bounce;
mod compaction;
mod fullness;
mod handle;
mod list;
mod lock;
mod pool;
mod size_class;
mod slots;
