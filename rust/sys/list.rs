// SPDX-License-Identifier: GPL-2.0

//! References to objects of a slab cache, and lists threaded through such objects.

use core::{cell::Cell, ops::Deref, ptr::NonNull, slice};

/// A reference to an object in slab memory.
///
/// It can be copied freely; who frees the object answers for no copy being used any more.
///
/// # Invariants
///
/// The pointer is valid for shared access to a `T` until the object is freed.
pub(crate) struct ObjRef<T>(NonNull<T>);

impl<T> ObjRef<T> {
    /// Makes a reference from a pointer.
    ///
    /// # Safety
    ///
    /// `ptr` points to a valid `T`, to which only shared access is made until the object is freed,
    /// and no copy of this reference is used after that.
    #[inline]
    pub(crate) unsafe fn from_ptr(ptr: NonNull<T>) -> Self {
        // INVARIANT: The caller promised it.
        Self(ptr)
    }

    /// The address of the object.
    #[inline]
    pub(crate) fn as_ptr(self) -> NonNull<T> {
        self.0
    }
}

impl<T> Clone for ObjRef<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ObjRef<T> {}

impl<T> PartialEq for ObjRef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Deref for ObjRef<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The pointer is valid by the type's invariants.
        unsafe { self.0.as_ref() }
    }
}

/// An object that is followed, in the same allocation, by an array.
///
/// # Safety
///
/// Every [`ObjRef`] to such an object points into an allocation with at least [`tail_len`]
/// initialised items right after the object, aligned; and that number does not change while the
/// object lives.
///
/// [`tail_len`]: WithTail::tail_len
pub(crate) unsafe trait WithTail {
    /// What the array holds.
    type Item: Copy;

    /// The number of items.
    fn tail_len(&self) -> usize;
}

impl<T: WithTail> ObjRef<T> {
    /// The array that follows the object.
    #[inline]
    pub(crate) fn tail(&self) -> &[Cell<T::Item>] {
        // SAFETY: `WithTail` guarantees the items, and the pointer's provenance is the whole
        // allocation's.
        unsafe { slice::from_raw_parts(self.0.as_ptr().add(1).cast(), self.tail_len()) }
    }

    /// Item `index` of the array that follows the object.
    ///
    /// # Safety
    ///
    /// There are more items than `index`.
    #[inline]
    pub(crate) unsafe fn tail_item(&self, index: usize) -> &Cell<T::Item> {
        // SAFETY: The caller promises that the item is there. For the rest, see `tail`.
        unsafe { &*self.0.as_ptr().add(1).cast::<Cell<T::Item>>().add(index) }
    }
}

// SAFETY: It is a shared reference to a `T`, by which the `T` may also be freed elsewhere.
unsafe impl<T: Send + Sync> Send for ObjRef<T> {}

/// The part of an object that puts it on a list.
///
/// It belongs to the lock that covers the list.
pub(crate) struct Links<T> {
    prev: Cell<Option<ObjRef<T>>>,
    next: Cell<Option<ObjRef<T>>>,
}

impl<T> Links<T> {
    /// Links of an object that is on no list.
    pub(crate) fn new() -> Self {
        Self {
            prev: Cell::new(None),
            next: Cell::new(None),
        }
    }
}

/// An object with [`Links`].
pub(crate) trait Linked: Sized {
    /// The links of this object.
    fn links(&self) -> &Links<Self>;
}

/// A list of objects that it does not own.
pub(crate) struct List<T: Linked> {
    first: Option<ObjRef<T>>,
}

impl<T: Linked> List<T> {
    /// A list of nothing.
    pub(crate) const fn new() -> Self {
        Self { first: None }
    }

    /// The first object.
    #[inline]
    pub(crate) fn first(&self) -> Option<ObjRef<T>> {
        self.first
    }

    /// The objects, from the first on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ObjRef<T>> + '_ {
        core::iter::successors(self.first, |object| object.links().next.get())
    }

    /// Puts `object`, which is on no list, in front.
    #[inline]
    pub(crate) fn push_front(&mut self, object: ObjRef<T>) {
        let links = object.links();
        links.prev.set(None);
        links.next.set(self.first);
        if let Some(first) = self.first {
            first.links().prev.set(Some(object));
        }
        self.first = Some(object);
    }

    /// Takes `object`, which is on this list, off it.
    #[inline]
    pub(crate) fn remove(&mut self, object: ObjRef<T>) {
        let links = object.links();
        let (prev, next) = (links.prev.get(), links.next.get());
        match prev {
            Some(prev) => prev.links().next.set(next),
            None => self.first = next,
        }
        if let Some(next) = next {
            next.links().prev.set(prev);
        }
    }
}
