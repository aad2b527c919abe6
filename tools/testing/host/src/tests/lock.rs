// SPDX-License-Identifier: GPL-2.0

//! The zspage lock among readers.

use crate::{lock::ZspageLock, sys::lockdep::LockMap};
use std::thread;

/// Catches a reader that shuts others out, and an unlock that must come from the thread that
/// locked.
#[test]
fn readers_share_and_any_thread_releases() {
    let lock = ZspageLock::new(LockMap);
    assert!(!lock.has_readers());
    lock.read_lock();
    lock.read_lock();
    thread::scope(|scope| {
        scope.spawn(|| lock.read_unlock());
    });
    assert!(lock.has_readers());
    lock.read_unlock();
    assert!(!lock.has_readers());
}
