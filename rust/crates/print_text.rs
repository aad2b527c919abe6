// SPDX-License-Identifier: GPL-2.0

/// A formatted message as a C string, for a `printk` that does not know `%pA`. What does not fit is
/// cut off.
struct Text([u8; 256]);

impl Text {
    fn of(args: fmt::Arguments<'_>) -> Self {
        use fmt::Write;
        let mut text = Self([0; 256]);
        let room = &mut text.0[..255];
        // SAFETY: The formatter writes into the array, and not over its last byte, the end of the
        // string.
        let mut formatter = unsafe { RawFormatter::from_buffer(room.as_mut_ptr(), room.len()) };
        let _ = formatter.write_fmt(args);
        text
    }

    fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
}
