// SPDX-License-Identifier: GPL-2.0

//! The zpool interface: how zswap finds a backend and calls it.
//!
//! C header: `include/linux/zpool.h`. The contexts of the calls are those of `mm/zswap.c`.

use super::{
    bindings::{self, ffi},
    gfp::Gfp,
    init::{pin_data, pin_init, pinned_drop, PinInit},
};
use crate::{
    backend::{Backend, MapMode},
    core::handle::Handle,
    error::Error,
};
use core::{marker::PhantomData, pin::Pin, ptr};
use kernel::{
    alloc::{flags::GFP_KERNEL, AllocError, KVBox},
    error::code::{EINVAL, ENOMEM, ENOSPC},
    init::InPlaceInit,
    str::CStr,
    types::{ForeignOwnable, Opaque},
    ThisModule,
};

impl MapMode {
    fn from_raw(mode: bindings::zpool_mapmode) -> Self {
        match mode {
            bindings::zpool_mapmode_ZPOOL_MM_RO => Self::ReadOnly,
            bindings::zpool_mapmode_ZPOOL_MM_WO => Self::WriteOnly,
            _ => Self::ReadWrite,
        }
    }
}

impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::EmptyObject => EINVAL,
            Error::ObjectTooLarge => ENOSPC,
            Error::NoMemory => ENOMEM,
        }
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

/// Makes a backend known to the kernel while it lives.
///
/// # Invariants
///
/// `driver` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: Backend> {
    #[pin]
    driver: Opaque<bindings::zpool_driver>,
    _backend: PhantomData<T>,
}

// SAFETY: The driver may be unregistered by any task.
unsafe impl<T: Backend> Send for Registration<T> {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Backend> Sync for Registration<T> {}

impl<T: Backend> Registration<T> {
    /// Registers backend `T`, whose code is in `module`: it stays loaded while there is a pool.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self> {
        // INVARIANT: The initialiser of `driver` registers it.
        pin_init!(Self {
            // SAFETY: The slot is valid for writing and pinned. The driver is complete before it is
            // registered, and its functions are what the C interface asks for.
            driver <- Opaque::ffi_init(|slot: *mut bindings::zpool_driver| unsafe {
                slot.write(Self::driver(module));
                bindings::zpool_register_driver(slot);
            }),
            _backend: PhantomData,
        })
    }

    fn driver(module: &'static ThisModule) -> bindings::zpool_driver {
        bindings::zpool_driver {
            // The kernel only reads it.
            type_: T::TYPE.as_char_ptr().cast_mut(),
            owner: module.as_ptr(),
            create: Some(Self::create),
            destroy: Some(Self::destroy),
            malloc_support_movable: T::SUPPORTS_MOVABLE,
            malloc: Some(Self::malloc),
            free: Some(Self::free),
            sleep_mapped: T::SLEEP_MAPPED,
            map: Some(Self::map),
            unmap: Some(Self::unmap),
            total_pages: Some(Self::total_pages),
            ..Default::default()
        }
    }

    /// # Safety
    ///
    /// `name` is a C string.
    unsafe extern "C" fn create(
        name: *const ffi::c_char,
        _gfp: bindings::gfp_t,
    ) -> *mut ffi::c_void {
        // SAFETY: The caller passes a C string.
        let name = unsafe { CStr::from_char_ptr(name) };
        // zswap's own flags leave reclaim out, but it makes a pool where it may sleep, and does so
        // itself.
        match KVBox::try_pin_init(T::new(name), GFP_KERNEL) {
            Ok(pool) => pool.into_foreign().cast_mut(),
            Err(_) => ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// `pool` came from `create`, and is not used any more.
    unsafe extern "C" fn destroy(pool: *mut ffi::c_void) {
        // SAFETY: `create` made it, and the caller gives it up.
        if unsafe { Self::borrow(pool) }.close() {
            // SAFETY: `create` made it with `into_foreign`, and nothing leads to it any more.
            drop(unsafe { Pin::<KVBox<T>>::from_foreign(pool) });
        } else {
            // SAFETY: The module is loaded, for it runs this.
            unsafe { bindings::rsmalloc_keep_module() };
        }
    }

    /// # Safety
    ///
    /// `pool` came from `create` and is not destroyed meanwhile.
    #[inline]
    unsafe fn borrow<'a>(pool: *mut ffi::c_void) -> &'a T {
        // SAFETY: It is a pinned box that `create` turned into a pointer: it points to a `T`.
        unsafe { &*pool.cast::<T>() }
    }

    /// # Safety
    ///
    /// As for [`Self::borrow`], and `handle` is valid for writing.
    unsafe extern "C" fn malloc(
        pool: *mut ffi::c_void,
        size: usize,
        gfp: bindings::gfp_t,
        handle: *mut usize,
    ) -> ffi::c_int {
        // SAFETY: The caller promises it.
        match unsafe { Self::borrow(pool) }.malloc(size, Gfp::from_raw(gfp)) {
            Ok(allocated) => {
                // SAFETY: The caller gives a place for the handle.
                unsafe { handle.write(allocated.into_raw()) };
                0
            }
            Err(error) => kernel::error::Error::from(error).to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::borrow`] and [`Backend::free`].
    unsafe extern "C" fn free(pool: *mut ffi::c_void, handle: usize) {
        // SAFETY: The caller promises it.
        unsafe { Self::borrow(pool).free(Handle::from_raw(handle)) };
    }

    /// # Safety
    ///
    /// As for [`Self::borrow`] and [`Backend::map`].
    unsafe extern "C" fn map(
        pool: *mut ffi::c_void,
        handle: usize,
        mode: bindings::zpool_mapmode,
    ) -> *mut ffi::c_void {
        let mode = MapMode::from_raw(mode);
        // SAFETY: The caller promises it.
        unsafe { Self::borrow(pool).map(Handle::from_raw(handle), mode) }.cast()
    }

    /// # Safety
    ///
    /// As for [`Self::borrow`] and [`Backend::unmap`].
    unsafe extern "C" fn unmap(pool: *mut ffi::c_void, handle: usize) {
        // SAFETY: The caller promises it.
        unsafe { Self::borrow(pool).unmap(Handle::from_raw(handle)) };
    }

    /// # Safety
    ///
    /// As for [`Self::borrow`].
    unsafe extern "C" fn total_pages(pool: *mut ffi::c_void) -> u64 {
        // SAFETY: The caller promises it.
        unsafe { Self::borrow(pool) }.total_pages()
    }
}

#[pinned_drop]
impl<T: Backend> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The driver is registered by the type's invariants. This cannot fail: every pool
        // holds a reference to the module, so there is none when the module goes.
        let _ = unsafe { bindings::zpool_unregister_driver(self.driver.get()) };
    }
}
