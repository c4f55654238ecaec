//! This part of the map knows what to do when a page of a map cannot be read after all: it shows zeros, and says so.
//!
//! A map's pages are read with errors before it is handed out. But the kernel may drop a page meanwhile and not get it
//! back from the disk, or somebody may shorten the file. Then whoever touches it gets SIGBUS, and a process without a
//! handler ends. Ours puts a page of zeros there, notes the place, and returns. The bytes are wrong, and their reader's
//! checksum or digest says so; the store marks the heights as damaged ([`Segments::take_faulted`]).
//!
//! A fault elsewhere is passed on to the handler before ours, or to the default, which ends the process.
//!
//! [`Segments::take_faulted`]: super::Segments::take_faulted
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};

use crate::format::PAGE_BYTES;

/// Maps that are watched at a time: the newest of each segment that is kept mapped, and older ones that are leased.
/// What is mapped beyond is not handed out: see [`Guard::new`].
const SLOTS_COUNT: usize = 4096;

/// The watched maps. A handler may touch nothing but atomics.
static SLOTS: [Slot; SLOTS_COUNT] = [const { Slot::new() }; SLOTS_COUNT];
/// Slots from this one on were never used.
static SLOTS_END: AtomicUsize = AtomicUsize::new(0);
/// Slots below [`SLOTS_END`] that are nobody's.
static SPARE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Pages of zeros put in so far.
static PAGES_MENDED: AtomicU64 = AtomicU64::new(0);
/// What was done about SIGBUS before; set before our handler is.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// One watched map.
struct Slot {
    /// Odd while the fields below change.
    version: AtomicU32,
    /// Its addresses; nobody's if the end is 0.
    start: AtomicUsize,
    end: AtomicUsize,
    faults: AtomicPtr<Faults>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicU32::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            faults: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn set(&self, start: usize, end: usize, faults: *mut Faults) {
        // Only the slot's one owner writes.
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.faults.store(faults, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Where in the map an address lies, and where to note it; `None` if it is of another map, or the slot changes.
    fn find(&self, address: usize) -> Option<(u64, *const Faults)> {
        let version = self.version.load(Ordering::Acquire);
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        let faults = self.faults.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_steady = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        let offset = address.checked_sub(start).filter(|_| is_steady && address < end)?;
        Some((offset as u64, faults.cast_const()))
    }
}

/// Which bytes of a segment could not be read when its map was touched.
#[derive(Debug)]
pub(super) struct Faults {
    from: AtomicU64,
    to: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            from: AtomicU64::new(u64::MAX),
            to: AtomicU64::new(0),
        }
    }
}

impl Faults {
    fn note(&self, page: u64) {
        self.from.fetch_min(page, Ordering::Relaxed);
        self.to.fetch_max(page + PAGE_BYTES, Ordering::Relaxed);
    }

    /// A range that has them all, and forgets them.
    pub fn take(&self) -> Option<Range<u64>> {
        let from = self.from.swap(u64::MAX, Ordering::Relaxed);
        let to = self.to.swap(0, Ordering::Relaxed);
        // One that is noted between the two lines is told of in two steps; the page before it is then told of twice.
        match (from, to) {
            (u64::MAX, 0) => None,
            (u64::MAX, to) => Some(to - PAGE_BYTES..to),
            (from, to) => Some(from..to.max(from + PAGE_BYTES)),
        }
    }
}

/// How many pages were replaced by zeros since the process began.
pub(super) fn pages_mended() -> u64 {
    PAGES_MENDED.load(Ordering::Acquire)
}

/// A map is watched while this lives. Drop it before the map.
#[derive(Debug)]
pub(super) struct Guard {
    slot: usize,
    /// The slot points to them.
    _faults: Arc<Faults>,
}

impl Guard {
    /// Watches a map before anybody touches it; `None` if too many are watched, or if the signal cannot be handled.
    pub fn new(map: &[u8], faults: &Arc<Faults>) -> Option<Self> {
        install()?;
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match spare.pop() {
            Some(slot) => slot,
            None => {
                let slot = SLOTS_END.load(Ordering::Relaxed);
                SLOTS.get(slot)?;
                SLOTS_END.store(slot + 1, Ordering::Release);
                slot
            }
        };
        drop(spare);
        let start = map.as_ptr().addr();
        SLOTS[slot].set(start, start + map.len(), Arc::as_ptr(faults).cast_mut());
        Some(Self {
            slot,
            _faults: Arc::clone(faults),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.slot].set(0, 0, ptr::null_mut());
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

/// Installs the handler, once in a process; `None` if the system refuses.
fn install() -> Option<()> {
    static IS_INSTALLED: OnceLock<bool> = OnceLock::new();
    let is_installed = IS_INSTALLED.get_or_init(|| {
        // SAFETY: both structures are plain data of the C library, for which zeros are valid; the calls read and write
        // only them. The handler is of the type that SA_SIGINFO promises, and keeps to what a handler may do: it
        // touches atomics, and calls mmap, sigaction and raise. With SA_ONSTACK it runs on the signal stack that the
        // standard library gives each of its threads.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                return false;
            }
            BEFORE.get_or_init(|| before);
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
            ours.sa_sigaction = handler as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) == 0
        }
    });
    is_installed.then_some(())
}

extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `siginfo_t`. One of a fault has an address. One that a
    // process sent has none, and its code says so.
    let address = unsafe {
        let of_a_fault = (*info).si_code > 0;
        of_a_fault.then(|| (*info).si_addr().addr())
    };
    if address.is_some_and(mend) {
        return;
    }
    pass_on(signal, info, context);
}

/// Puts a page of zeros at an address of a watched map; whether it did.
fn mend(address: usize) -> bool {
    let used = SLOTS_END.load(Ordering::Acquire).min(SLOTS_COUNT);
    let Some((offset, faults)) = SLOTS[..used].iter().find_map(|slot| slot.find(address)) else {
        return false;
    };
    let in_page = offset % PAGE_BYTES;
    // SAFETY: the address is in a map that this thread reads right now: whoever reads a map keeps it alive, and with it
    // its guard. So the range stays ours over the call, and nobody else can have been given it. A map begins on a page,
    // so the page around the address is all in it. Nobody writes to the map. A reader may have seen other bytes there
    // before the page was lost; readers copy or sum bytes, and no memory safety follows from what they are. errno is
    // put back because the interrupted code may be about to read it.
    let mapped = unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        let page = ptr::without_provenance_mut::<c_void>(address - in_page as usize);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let mapped = libc::mmap(page, PAGE_BYTES as usize, libc::PROT_READ, flags, -1, 0);
        *errno = kept;
        mapped
    };
    if mapped == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: the guard of the map that is read holds these, as above.
    unsafe { &*faults }.note(offset - in_page);
    PAGES_MENDED.fetch_add(1, Ordering::Release);
    true
}

/// Does what would have been done without us.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let before = BEFORE.get();
    match before {
        Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
            // SAFETY: the handler was installed by somebody for this signal with these flags, which say which of the
            // two types it is of; we call it as the kernel would have.
            unsafe {
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                        std::mem::transmute(before.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(c_int) = std::mem::transmute(before.sa_sigaction);
                    handler(signal);
                }
            }
        }
        _ => {
            // SAFETY: zeros are a valid structure, and mean the default, which ends the process when the signal that is
            // raised here is delivered: on return from this handler, during which it is blocked.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                libc::raise(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_one_range_and_then_forgotten() {
        let faults = Faults::default();
        assert_eq!(faults.take(), None);
        faults.note(8 * PAGE_BYTES);
        faults.note(3 * PAGE_BYTES);
        assert_eq!(faults.take(), Some(3 * PAGE_BYTES..9 * PAGE_BYTES));
        assert_eq!(faults.take(), None);
    }

    #[test]
    fn an_address_is_found_in_its_map_alone_and_only_while_it_is_watched() {
        let faults = Arc::new(Faults::default());
        let memory = vec![0u8; 8192];
        let slot = Slot::new();
        let start = memory.as_ptr().addr();
        assert!(slot.find(start).is_none());
        slot.set(start, start + memory.len(), Arc::as_ptr(&faults).cast_mut());
        assert_eq!(slot.find(start + 5000).map(|(offset, _)| offset), Some(5000));
        assert!(slot.find(start - 1).is_none() && slot.find(start + 8192).is_none());
        slot.version.fetch_add(1, Ordering::Relaxed);
        assert!(slot.find(start + 5000).is_none(), "it changes");
        slot.version.fetch_add(1, Ordering::Relaxed);
        slot.set(0, 0, ptr::null_mut());
        assert!(slot.find(start + 5000).is_none() && slot.find(0).is_none());
    }
}
