//! This file knows SHA-256 by blst, and how to make blst do without the SHA extension. Both serve measurements of a
//! processor that lacks it: `c-kzg` hashes by the same code.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bit of [`capabilities`] that stands for the SHA extension (blst, `src/cpuid.c`).
const EXTENSION: c_int = 2;

unsafe extern "C" {
    /// What blst found the processor to have, before `main`. Its assembly reads it at each call.
    static __blst_platform_cap: AtomicI32;
}

fn capabilities() -> &'static AtomicI32 {
    // SAFETY: blst defines it as a C `int`, which has an `AtomicI32`'s size and alignment, and writes it only before
    // `main`.
    unsafe { &__blst_platform_cap }
}

/// Whether blst hashes by the SHA extension.
#[cfg(test)]
pub fn has_extension() -> bool {
    capabilities().load(Ordering::Relaxed) & EXTENSION != 0
}

/// The hash of a message in one piece.
pub fn hash(message: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    // SAFETY: reads the message within its length and writes 32 bytes, and keeps neither pointer.
    unsafe { blst::blst_sha256(hash.as_mut_ptr(), message.as_ptr(), message.len()) };
    hash
}

/// While one lives, blst hashes without the SHA extension in the whole process. The hashes are the same.
pub struct WithoutExtension {
    had: c_int,
    _alone: MutexGuard<'static, ()>,
}

impl WithoutExtension {
    /// Begins; waits for another one to end.
    pub fn begin() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let had = capabilities().fetch_and(!EXTENSION, Ordering::Relaxed) & EXTENSION;
        Self { had, _alone: alone }
    }
}

impl Drop for WithoutExtension {
    fn drop(&mut self) {
        capabilities().fetch_or(self.had, Ordering::Relaxed);
    }
}
