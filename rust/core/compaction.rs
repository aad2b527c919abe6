// SPDX-License-Identifier: GPL-2.0

//! What can be won by moving objects together.
//!
//! The free slots of a class that are worth whole zspages are won within the class: its sparsest
//! zspages are emptied into the free slots of its others. Less than a zspage is then free in each
//! class, which in a small pool is most of what is wasted. So what objects are left in a class's
//! sparsest zspage may also go to free slots of the next larger classes.

use super::size_class::{ClassTable, MAX_CLASSES};

/// How many classes above its own an object may be moved to.
///
/// More would hardly find more free slots, and waste more of each.
pub(crate) const REACH: usize = 16;

/// Pages that compaction can give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gain {
    /// By moving objects within their classes: exact, if nothing stands in the way.
    pub(crate) within: usize,
    /// After that, by moving objects to larger classes: an estimate.
    pub(crate) across: usize,
}

/// Whether a zspage with `objects` objects and `free` free slots can be emptied into the other
/// zspages of its class, which has `free_in_class` free slots.
///
/// If it is always the zspage with the fewest objects that is emptied, no more objects are moved
/// for each page won than must be.
#[inline]
pub(crate) fn can_be_emptied(objects: usize, free: usize, free_in_class: usize) -> bool {
    free_in_class - free >= objects
}

/// What can be won in classes with `free_slots` free slots each.
pub(crate) fn gain(table: &ClassTable, free_slots: impl Fn(u8) -> usize) -> Gain {
    let mut gain = Gain {
        within: 0,
        across: 0,
    };
    // The free slots that are left when each class has been compacted.
    let mut left = [0; MAX_CLASSES + REACH];
    for (index, left) in left.iter_mut().enumerate().take(table.len()) {
        let class = table.class(index as u8);
        let (slots, free) = (class.slots as usize, free_slots(index as u8));
        gain.within += free / slots * class.pages as usize;
        *left = free % slots;
    }
    for index in 0..table.len() {
        if left[index] == 0 {
            continue;
        }
        let class = table.class(index as u8);
        let mut objects = class.slots as usize - left[index];
        let larger = &mut left[index + 1..=index + REACH];
        if larger.iter().sum::<usize>() >= objects {
            gain.across += class.pages as usize;
            for free in larger {
                let taken = objects.min(*free);
                objects -= taken;
                *free -= taken;
            }
        }
    }
    gain
}
