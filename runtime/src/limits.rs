//! This file knows which kernel limits the node wants, and how to tell an operator what to raise.

use std::fmt;

use rustix::process::{Resource, getrlimit};

/// Locked memory: registered ring buffers of the network and the storage core (kernels before 5.12 count rings too).
pub const MEMLOCK_BYTES_WANTED: u64 = 64 * 1024 * 1024;
/// Open files: peers, HTTP clients, segments and maps.
pub const NOFILE_WANTED: u64 = 4096;
/// Socket buffer of the network, per direction: four round trips of 10 ms at 100 MB/s. The kernel cuts it silently at its
/// own ceilings.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A kernel limit below what the node wants. The node runs, more slowly or with fewer peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortfall {
    /// The setting, as its manual names it.
    pub setting: &'static str,
    /// Its value.
    pub found: u64,
    /// The value wanted.
    pub wanted: u64,
    /// What suffers.
    pub effect: &'static str,
    /// How to raise it.
    pub remedy: &'static str,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            found,
            wanted,
            effect,
            remedy,
        } = self;
        write!(
            f,
            "{setting} is {found} and should be at least {wanted}: {effect}. Raise it with {remedy}."
        )
    }
}

/// The limits of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelLimits {
    /// `RLIMIT_MEMLOCK`; `None` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// `RLIMIT_NOFILE`; `None` is unlimited.
    pub nofile: Option<u64>,
    /// `net.core.rmem_max`; `None` if it cannot be read.
    pub rmem_max_bytes: Option<u64>,
    /// `net.core.wmem_max`; `None` if it cannot be read.
    pub wmem_max_bytes: Option<u64>,
}

impl KernelLimits {
    /// The limits of this process.
    pub fn read() -> Self {
        Self {
            memlock_bytes: getrlimit(Resource::Memlock).current,
            nofile: getrlimit(Resource::Nofile).current,
            rmem_max_bytes: read_number("/proc/sys/net/core/rmem_max"),
            wmem_max_bytes: read_number("/proc/sys/net/core/wmem_max"),
        }
    }

    /// Every limit that is below what the node wants.
    pub fn shortfalls(&self) -> Vec<Shortfall> {
        let Self {
            memlock_bytes,
            nofile,
            rmem_max_bytes,
            wmem_max_bytes,
        } = *self;
        let checks = [
            (
                memlock_bytes,
                Shortfall {
                    setting: "memlock (RLIMIT_MEMLOCK, bytes)",
                    found: 0,
                    wanted: MEMLOCK_BYTES_WANTED,
                    effect: "io_uring buffers cannot be registered and storage writes cost more CPU",
                    remedy: "`ulimit -l`, LimitMEMLOCK= in the unit, or /etc/security/limits.conf",
                },
            ),
            (
                nofile,
                Shortfall {
                    setting: "nofile (RLIMIT_NOFILE, descriptors)",
                    found: 0,
                    wanted: NOFILE_WANTED,
                    effect: "connections or segments may be refused under load",
                    remedy: "`ulimit -n`, LimitNOFILE= in the unit, or /etc/security/limits.conf",
                },
            ),
            (
                rmem_max_bytes,
                Shortfall {
                    setting: "net.core.rmem_max (bytes)",
                    found: 0,
                    wanted: SOCKET_BUFFER_BYTES as u64,
                    effect: "bursts of blobs are dropped by the receiving socket and sent again",
                    remedy: "`sysctl -w net.core.rmem_max=4194304`",
                },
            ),
            (
                wmem_max_bytes,
                Shortfall {
                    setting: "net.core.wmem_max (bytes)",
                    found: 0,
                    wanted: SOCKET_BUFFER_BYTES as u64,
                    effect: "proposals leave in smaller bursts",
                    remedy: "`sysctl -w net.core.wmem_max=4194304`",
                },
            ),
        ];
        checks
            .into_iter()
            .filter_map(|(found, shortfall)| found.map(|found| Shortfall { found, ..shortfall }))
            .filter(|shortfall| shortfall.found < shortfall.wanted)
            .collect()
    }
}

/// Raises the soft limit on open files to the hard one, as any process may. The new soft limit; `None` is unlimited.
pub fn raise_nofile() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: KernelLimits = KernelLimits {
        memlock_bytes: None,
        nofile: Some(NOFILE_WANTED),
        rmem_max_bytes: Some(SOCKET_BUFFER_BYTES as u64),
        wmem_max_bytes: None,
    };

    #[test]
    fn ample_limits_give_no_warning() {
        assert_eq!(AMPLE.shortfalls(), []);
    }

    #[test]
    fn a_warning_names_the_setting_and_the_value_wanted() {
        let tight = KernelLimits {
            memlock_bytes: Some(8 << 20),
            rmem_max_bytes: Some(212_992),
            ..AMPLE
        };
        let warnings: Vec<_> = tight.shortfalls().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("memlock") && warnings[0].contains("8388608") && warnings[0].contains("67108864"));
        assert!(warnings[1].contains("net.core.rmem_max") && warnings[1].contains("4194304"));
    }

    #[test]
    fn raising_nofile_never_lowers_it() {
        let before = getrlimit(Resource::Nofile).current;
        let after = raise_nofile();
        assert!(after.is_none() || before.is_some_and(|before| after >= Some(before)));
    }

    #[test]
    fn this_machine_has_limits_to_read() {
        assert!(KernelLimits::read().nofile.is_none_or(|nofile| nofile > 0));
    }
}
