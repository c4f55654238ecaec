//! This file knows whether this process may use io_uring, why not if not, and how to run the network core either way.

mod ops;

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit};

use crate::medium;

pub use ops::RingOps;

/// Submission entries of the network core's ring: cold reads for one value's blobs and the socket to the execution
/// client.
pub const NET_RING_ENTRIES: u32 = 256;

/// The least locked memory with which glommio starts.
pub const MEMLOCK_BYTES_LEAST: u64 = 512 * 1024;

/// Which I/O the operator asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoMode {
    /// io_uring where the kernel allows it, else the fallback with one warning.
    #[default]
    Auto,
    /// io_uring; the node stops if it is refused.
    Uring,
    /// epoll, `pwrite` and `fdatasync`.
    Fallback,
}

impl IoMode {
    /// Settles what to run on, by asking the kernel. An error only if io_uring was demanded and is refused.
    pub fn resolve(self) -> Result<Io, RingRefusal> {
        match self {
            Self::Fallback => Ok(Io::Fallback),
            Self::Uring => probe().map(|()| Io::Uring),
            Self::Auto => match probe() {
                Ok(()) => Ok(Io::Uring),
                Err(refusal) => {
                    tracing::warn!("{refusal}; running on epoll and pwrite instead");
                    Ok(Io::Fallback)
                }
            },
        }
    }

    /// The word in configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Fallback => "fallback",
        }
    }
}

/// A word that names no choice of I/O.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is none of auto, uring, fallback")]
pub struct UnknownIo(String);

impl FromStr for IoMode {
    type Err = UnknownIo;

    fn from_str(text: &str) -> Result<Self, UnknownIo> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "fallback" => Ok(Self::Fallback),
            other => Err(UnknownIo(other.to_owned())),
        }
    }
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the tiles run on, once settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Io {
    /// glommio for storage, tokio-uring for the network.
    Uring,
    /// `pwrite` and `fdatasync` for storage, plain tokio for the network.
    Fallback,
}

impl Io {
    /// The word in logs, metrics and `ultramarine topology`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Fallback => "epoll and pwrite",
        }
    }
}

/// Why this process may not use io_uring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RingRefusal {
    /// The kernel says so, by this error number.
    Kernel(i32),
    /// Less memory may be locked than the storage ring insists on.
    Memlock {
        /// The soft limit `RLIMIT_MEMLOCK`, in bytes.
        found: u64,
    },
    /// The storage ring does not start, for this reason.
    Storage(String),
}

impl RingRefusal {
    /// The refusal behind an error of `io_uring_setup`, `io_uring_enter` or `io_uring_register`.
    pub fn of(error: &io::Error) -> Self {
        Self::Kernel(error.raw_os_error().unwrap_or(0))
    }
}

impl std::error::Error for RingRefusal {}

impl fmt::Display for RingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("io_uring is refused: ")?;
        let errno = match self {
            Self::Kernel(errno) => *errno,
            Self::Memlock { found } => {
                return write!(
                    f,
                    "memlock (RLIMIT_MEMLOCK) is {found} bytes and the storage ring wants at least \
                     {MEMLOCK_BYTES_LEAST}: raise it with `ulimit -l`, LimitMEMLOCK= in the unit, or \
                     /etc/security/limits.conf"
                );
            }
            Self::Storage(why) => return write!(f, "the storage ring does not start: {why}"),
        };
        match errno {
            libc::ENOSYS => f.write_str(
                "the kernel does not know it, or a seccomp profile hides it (ENOSYS): use Linux 5.11 or newer, or a \
                 profile that allows io_uring_setup, io_uring_enter and io_uring_register",
            ),
            libc::EPERM | libc::EACCES => f.write_str(
                "not permitted (EPERM): kernel.io_uring_disabled is not 0 (see `sysctl kernel.io_uring_disabled`), or \
                 a container's seccomp profile or security module forbids it",
            ),
            libc::ENOMEM => {
                f.write_str("no memory may be locked for it (ENOMEM): raise memlock with `ulimit -l` or LimitMEMLOCK=")
            }
            libc::EMFILE | libc::ENFILE => {
                f.write_str("no descriptor is left for it (EMFILE): raise nofile with `ulimit -n` or LimitNOFILE=")
            }
            errno => write!(f, "{}", io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Whether io_uring works here, by trying it:
/// 1. ask the kernel for a ring of the size that the network core uses;
/// 2. ask that ring what it can do;
/// 3. send one empty operation through it;
/// 4. start a storage ring for a moment.
///
/// All steps are needed: a seccomp profile may allow one system call and forbid the next, and the storage ring has
/// wishes of its own. Where io_uring fails, glommio and tokio-uring panic, so no ring is started before this.
pub fn probe() -> Result<(), RingRefusal> {
    let refused = |error: io::Error| RingRefusal::of(&error);
    let ring = io_uring::IoUring::new(NET_RING_ENTRIES).map_err(refused)?;
    ring.submitter()
        .register_probe(&mut io_uring::Probe::new())
        .map_err(refused)?;
    submit_nop(ring).map_err(refused)?;
    enough_memlock(getrlimit(Resource::Memlock).current)?;
    medium::try_ring().map_err(RingRefusal::Storage)
}

/// glommio compares the limit itself, whatever the kernel would allow.
fn enough_memlock(limit: Option<u64>) -> Result<(), RingRefusal> {
    match limit {
        Some(found) if found < MEMLOCK_BYTES_LEAST => Err(RingRefusal::Memlock { found }),
        Some(_) | None => Ok(()),
    }
}

fn submit_nop(mut ring: io_uring::IoUring) -> io::Result<()> {
    let nop = io_uring::opcode::Nop::new().build().user_data(1);
    push(&mut ring, &nop)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(entry) if entry.user_data() == 1 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

#[allow(unsafe_code)]
fn push(ring: &mut io_uring::IoUring, entry: &io_uring::squeue::Entry) -> io::Result<()> {
    // SAFETY: the only caller passes a no-op, which refers to no memory and no descriptor, so nothing has to outlive
    // it.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))
}

/// Runs the network core's future on this thread: inside tokio-uring, or on a plain current-thread tokio.
///
/// Either way `tokio::task::spawn_local` works inside, and so do tokio's sockets and timers. `future` is made for the
/// back end that it is given. If the kernel refuses the ring after all, although its probe passed, that is the
/// fallback: the plain runtime is used, and a warning says so.
///
/// # Panics
///
/// If not even a plain runtime can be made: no descriptor is left at start.
pub fn block_on_net<F: Future>(io: Io, future: impl FnOnce(Io) -> F) -> F::Output {
    if io == Io::Uring {
        let mut builder = tokio_uring::builder();
        builder.entries(NET_RING_ENTRIES);
        match tokio_uring::Runtime::new(&builder) {
            Ok(runtime) => return runtime.block_on(async { future(Io::Uring).await }),
            Err(error) => tracing::warn!("{}; the network runs on epoll instead", RingRefusal::of(&error)),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs three descriptors, and the limits were checked at start");
    tokio::task::LocalSet::new().block_on(&runtime, async { future(Io::Fallback).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn a_mode_reads_back_as_it_is_written() {
        for mode in [IoMode::Auto, IoMode::Uring, IoMode::Fallback] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!(
            "epoll"
                .parse::<IoMode>()
                .is_err_and(|error| error.to_string().contains("auto, uring, fallback"))
        );
    }

    #[test]
    fn a_refusal_names_what_an_operator_can_change() {
        let text = |errno| RingRefusal::Kernel(errno).to_string();
        assert!(text(libc::ENOSYS).contains("seccomp"));
        assert!(text(libc::EPERM).contains("kernel.io_uring_disabled") && text(libc::EPERM).contains("seccomp"));
        assert!(text(libc::ENOMEM).contains("memlock"));
        assert!(text(libc::EMFILE).contains("nofile"));
        assert!(text(libc::EIO).contains("Input/output"));
    }

    #[test]
    fn too_little_locked_memory_is_a_refusal_that_says_how_to_raise_it() {
        for enough in [None, Some(MEMLOCK_BYTES_LEAST), Some(u64::MAX)] {
            assert_eq!(enough_memlock(enough), Ok(()));
        }
        let refusal = enough_memlock(Some(65_536)).expect_err("the usual limit of a container");
        let text = refusal.to_string();
        for part in ["65536", "524288", "ulimit -l", "LimitMEMLOCK="] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    /// Forbids a system call to the calling thread and those it starts, as a container's seccomp profile does.
    #[allow(unsafe_code, clippy::cast_possible_truncation)]
    fn forbid(call: libc::c_long) {
        let step = |code: u32, k: u32, jf: u8| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf,
            k,
        };
        let mut filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
            step(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
                0,
            ),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: both calls only read their arguments; the program and its steps outlive them, and its length is
        // theirs.
        let outcome = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn auto_falls_back_whichever_system_call_is_forbidden() {
        if crate::skip::without_ring("a ring of which a part is forbidden") {
            return;
        }
        for call in [
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ] {
            let resolved = std::thread::spawn(move || {
                forbid(call);
                (IoMode::Auto.resolve(), IoMode::Uring.resolve())
            });
            let (auto, uring) = resolved.join().expect("nothing panics");
            assert_eq!(auto, Ok(Io::Fallback), "system call {call}");
            assert_eq!(uring, Err(RingRefusal::Kernel(libc::EPERM)), "system call {call}");
        }
    }

    #[test]
    fn the_fallback_never_asks_the_kernel() {
        let resolved = std::thread::spawn(|| {
            forbid(libc::SYS_io_uring_setup);
            IoMode::Fallback.resolve()
        });
        assert_eq!(resolved.join().expect("nothing panics"), Ok(Io::Fallback));
    }

    #[test]
    fn a_storage_ring_that_does_not_start_is_a_refusal_of_its_own() {
        if crate::skip::without_ring("a storage ring that does not start") {
            return;
        }
        let probed = std::thread::spawn(|| {
            // The other rings live without.
            forbid(libc::SYS_eventfd2);
            probe()
        });
        let probed = probed.join().expect("nothing panics");
        assert!(matches!(probed, Err(RingRefusal::Storage(_))), "{probed:?}");
    }

    #[test]
    fn the_network_core_falls_back_where_the_ring_is_refused_after_all() {
        let ran_on = std::thread::spawn(|| {
            forbid(libc::SYS_io_uring_setup);
            block_on_net(Io::Uring, std::future::ready)
        });
        assert_eq!(ran_on.join().expect("nothing panics"), Io::Fallback);
    }

    #[test]
    fn auto_follows_the_probe() {
        let expected = if probe().is_ok() { Io::Uring } else { Io::Fallback };
        assert_eq!(IoMode::Auto.resolve(), Ok(expected));
    }

    #[test]
    fn the_network_core_runs_local_tasks_sockets_and_timers_on_either_io() {
        for io in [Io::Fallback, IoMode::Auto.resolve().expect("auto never fails")] {
            let answer = block_on_net(io, |given| async move {
                assert_eq!(given, io, "nothing is refused here");
                let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
                let address = socket.local_addr().expect("an address");
                let local = std::rc::Rc::new(7);
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    socket.send_to(&[*local], address).await.expect("sent");
                    let mut byte = [0];
                    socket.recv_from(&mut byte).await.expect("received");
                    byte[0]
                });
                task.await.expect("the task does not panic")
            });
            assert_eq!(answer, 7);
        }
    }

    #[test]
    fn operations_are_counted_per_ring() {
        let registry = Registry::new();
        let ring = RingOps::new(&registry, "net");
        ring.inc();
        ring.add(2);
        assert_eq!(RingOps::new(&registry, "net").get(), 3);
        assert_eq!(RingOps::new(&registry, "store").get(), 0);
    }
}
