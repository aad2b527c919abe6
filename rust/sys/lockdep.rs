// SPDX-License-Identifier: GPL-2.0

//! What lockdep is told of the zspage locks. In a kernel without lockdep all of this takes no
//! memory and no instructions.
//!
//! lockdep keeps the locks that are held by task, and a mapping may be ended by another task than
//! the one that made it. So a reader is reported as acquiring, with all that lockdep makes of that
//! (the order against each lock that the task holds, and against what writers take), and as
//! releasing at once. `down_read_non_owner()` does not even report the first. What lockdep could
//! find beyond that does not exist: nobody waits for a reader, because writers only try.

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
mod disabled;
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
mod enabled;

#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
pub(crate) use disabled::{LockMap, OwnedLockMap};
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
pub(crate) use enabled::{LockMap, OwnedLockMap};
