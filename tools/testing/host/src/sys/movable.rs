// SPDX-License-Identifier: GPL-2.0

use super::{list::ObjRef, machine};

pub(crate) const SUPPORTED: bool = true;

#[derive(Debug)]
pub(crate) struct Busy;

pub(crate) trait PageOwner: Sized + 'static {
    fn move_page(owner: ObjRef<Self>, from: usize, to: usize) -> Result<(), Busy>;
}

pub(crate) struct LockedPage(usize);

impl LockedPage {
    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn try_lock(pfn: usize) -> Option<Self> {
        machine::lock_page(pfn).then(|| Self(pfn))
    }

    /// Has the machine finish what it does with the page, as a task that sleeps would let it.
    ///
    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn lock(pfn: usize) -> Self {
        while !machine::lock_page(pfn) {
            machine::finish_migration(pfn);
        }
        Self(pfn)
    }

    /// # Safety
    ///
    /// As for the kernel's.
    pub(crate) unsafe fn set_movable<T: PageOwner>(&self, owner: ObjRef<T>) {
        let move_page = move |from, to| T::move_page(owner, from, to);
        machine::set_movable(self.0, Some(std::rc::Rc::new(move_page)));
    }

    pub(crate) fn clear_movable(&self) {
        machine::set_movable(self.0, None);
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        machine::unlock_page(self.0);
    }
}
