// SPDX-License-Identifier: GPL-2.0

//! Files for administrators and tests: `/sys/kernel/debug/rsmalloc/<pool>/`.
//!
//! C header: `include/linux/debugfs.h`. As its documentation demands, nothing depends on whether
//! debugfs is there.

use super::{
    atomic::{AtomicPtr, Ordering},
    bindings::{self, ffi},
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{c_str, str::CStr};

/// The directory of the module.
static DIRECTORY: AtomicPtr<bindings::dentry> = AtomicPtr::new(ptr::null_mut());

/// Keeps the directory of the module there while it lives.
pub(crate) struct Directory(());

impl Directory {
    /// Makes the directory. There is one module, and so one of these.
    pub(crate) fn new() -> Self {
        // SAFETY: The name is a C string.
        let directory = unsafe {
            bindings::rsmalloc_debugfs_create_dir(c_str!("rsmalloc").as_char_ptr(), ptr::null_mut())
        };
        DIRECTORY.store(directory, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let directory = DIRECTORY.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: `new` made it, and every pool has removed what it had in it.
        unsafe { bindings::rsmalloc_debugfs_remove(directory) };
    }
}

/// What does something when an administrator writes to a file of it.
pub(crate) trait Written: Sync {
    /// Does it. May sleep. What was written does not matter.
    fn written(&self);
}

/// A file of a `T`, in a directory of its own, that can only be written to.
///
/// # Invariants
///
/// The pointer is what debugfs gave for the directory, or null.
pub(crate) struct WriteOnlyFile<T> {
    directory: AtomicPtr<bindings::dentry>,
    _owner: PhantomData<fn(&T)>,
}

impl<T: Written> WriteOnlyFile<T> {
    const OPERATIONS: &'static bindings::file_operations = &bindings::file_operations {
        // An open file keeps the module loaded: closing it comes back here even when the pool is
        // gone.
        owner: (&raw const bindings::__this_module).cast_mut(),
        open: Some(bindings::simple_open),
        write: Some(Self::write),
        llseek: Some(bindings::noop_llseek),
        // SAFETY: All of its members may be 0.
        ..unsafe { core::mem::zeroed() }
    };

    /// Makes file `name` of `owner`, in directory `directory`. May sleep.
    ///
    /// # Safety
    ///
    /// `owner` may be used until [`WriteOnlyFile::remove`].
    pub(crate) unsafe fn new(directory: &CStr, name: &CStr, owner: NonNull<T>) -> Self {
        // SAFETY: The names are C strings, and the operations are static and as the C interface
        // wants them.
        let directory = unsafe {
            let directory = bindings::rsmalloc_debugfs_create_dir(
                directory.as_char_ptr(),
                DIRECTORY.load(Ordering::Relaxed),
            );
            bindings::rsmalloc_debugfs_create_file(
                name.as_char_ptr(),
                0o200,
                directory,
                owner.as_ptr().cast(),
                Self::OPERATIONS,
            );
            directory
        };
        Self {
            directory: AtomicPtr::new(directory),
            _owner: PhantomData,
        }
    }

    /// Removes the file, and waits until nobody uses it any more. Sleeps.
    pub(crate) fn remove(&self) {
        let directory = self.directory.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: debugfs gave it, or it is null, by the type's invariants.
        unsafe { bindings::rsmalloc_debugfs_remove(directory) };
    }

    /// # Safety
    ///
    /// `file` is an open file of this kind, and `offset` is valid.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        _data: *const ffi::c_char,
        len: usize,
        _offset: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: `simple_open` put it there, and debugfs keeps the file from being removed
        // meanwhile.
        unsafe { &*(*file).private_data.cast::<T>() }.written();
        len as isize
    }
}

impl<T> Drop for WriteOnlyFile<T> {
    fn drop(&mut self) {
        // SAFETY: debugfs gave it, or it is null, by the type's invariants.
        unsafe { bindings::rsmalloc_debugfs_remove(*self.directory.get_mut()) };
    }
}
