//! This file knows which kernel limits the node wants, and how to tell an operator what to raise.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ring::Io;

/// Locked memory: registered ring buffers of the network and the storage core (kernels before 5.12 count rings too).
pub const MEMLOCK_BYTES_WANTED: u64 = 64 * 1024 * 1024;
/// Open files: peers, HTTP clients, segments and maps.
pub const NOFILE_WANTED: u64 = 4096;
/// Below this a node does not start: its tiles, links and rings take about 60, and some peers and segments are open.
pub const NOFILE_LEAST: u64 = 128;
/// Address space: segments are mapped whole, and every thread reserves its stack. Where none is left, an allocation
/// fails, and with it the process.
pub const ADDRESS_BYTES_WANTED: u64 = 64 * 1024 * 1024 * 1024;
/// Size of one file: the index grows with the chain.
pub const FILE_BYTES_WANTED: u64 = 64 * 1024 * 1024 * 1024;

/// A kernel limit below what the node wants. The node runs, more slowly or with fewer peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortfall {
    /// The setting, as its manual names it.
    pub setting: &'static str,
    pub found: u64,
    pub wanted: u64,
    pub effect: &'static str,
    /// How to raise it.
    pub remedy: String,
    /// Nothing worse than that: many systems have it so from the start, and no operator need be called for it.
    pub only_slower: bool,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            found,
            wanted,
            effect,
            remedy,
            only_slower: _,
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
    /// `RLIMIT_AS`; `None` is unlimited.
    pub address_bytes: Option<u64>,
    /// `RLIMIT_FSIZE`; `None` is unlimited.
    pub file_bytes: Option<u64>,
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
            address_bytes: getrlimit(Resource::As).current,
            file_bytes: getrlimit(Resource::Fsize).current,
            rmem_max_bytes: read_number("/proc/sys/net/core/rmem_max"),
            wmem_max_bytes: read_number("/proc/sys/net/core/wmem_max"),
        }
    }

    /// Why a node cannot even start.
    pub fn refusal(&self) -> Option<String> {
        let nofile = self.nofile.filter(|nofile| *nofile < NOFILE_LEAST)?;
        Some(format!(
            "nofile (RLIMIT_NOFILE, descriptors) is {nofile}, and a node needs at least {NOFILE_LEAST}; raise it with \
             `ulimit -n`, LimitNOFILE= in the unit, or /etc/security/limits.conf"
        ))
    }

    /// Every limit that is below what a node wants that runs on `io` and asks for socket buffers of
    /// `socket_buffer_bytes` in each direction. The kernel cuts those silently at its own ceilings.
    pub fn shortfalls(&self, io: Io, socket_buffer_bytes: usize) -> Vec<Shortfall> {
        let Self {
            memlock_bytes,
            nofile,
            address_bytes,
            file_bytes,
            rmem_max_bytes,
            wmem_max_bytes,
        } = *self;
        let checks = [
            (
                // Without a ring nothing is locked.
                memlock_bytes.filter(|_| io == Io::Uring),
                Shortfall {
                    setting: "memlock (RLIMIT_MEMLOCK, bytes)",
                    found: 0,
                    wanted: MEMLOCK_BYTES_WANTED,
                    effect: "io_uring buffers cannot be registered and storage writes cost more CPU",
                    remedy: "`ulimit -l`, LimitMEMLOCK= in the unit, or /etc/security/limits.conf".to_owned(),
                    only_slower: true,
                },
            ),
            (
                nofile,
                Shortfall {
                    setting: "nofile (RLIMIT_NOFILE, descriptors)",
                    found: 0,
                    wanted: NOFILE_WANTED,
                    effect: "connections or segments may be refused under load",
                    remedy: "`ulimit -n`, LimitNOFILE= in the unit, or /etc/security/limits.conf".to_owned(),
                    only_slower: false,
                },
            ),
            (
                address_bytes,
                Shortfall {
                    setting: "address space (RLIMIT_AS, bytes)",
                    found: 0,
                    wanted: ADDRESS_BYTES_WANTED,
                    effect: "the process ends without a reason when its maps and threads have used it up",
                    remedy: "`ulimit -v unlimited`, or LimitAS=infinity in the unit".to_owned(),
                    only_slower: false,
                },
            ),
            (
                file_bytes,
                Shortfall {
                    setting: "file size (RLIMIT_FSIZE, bytes)",
                    found: 0,
                    wanted: FILE_BYTES_WANTED,
                    effect: "the node stops when a segment or the index must grow beyond it",
                    remedy: "`ulimit -f unlimited`, or LimitFSIZE=infinity in the unit".to_owned(),
                    only_slower: false,
                },
            ),
            (
                rmem_max_bytes,
                Shortfall {
                    setting: "net.core.rmem_max (bytes)",
                    found: 0,
                    wanted: socket_buffer_bytes as u64,
                    effect: "bursts of blobs are dropped by the receiving socket and sent again",
                    remedy: format!("`sysctl -w net.core.rmem_max={socket_buffer_bytes}`"),
                    only_slower: true,
                },
            ),
            (
                wmem_max_bytes,
                Shortfall {
                    setting: "net.core.wmem_max (bytes)",
                    found: 0,
                    wanted: socket_buffer_bytes as u64,
                    effect: "proposals leave in smaller bursts",
                    remedy: format!("`sysctl -w net.core.wmem_max={socket_buffer_bytes}`"),
                    only_slower: true,
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

/// Raises the soft limits on open files and locked memory to the hard ones, as any process may.
pub fn raise_soft_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let limit = getrlimit(resource);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Where even that is refused, the limit stays, and the warning about it says what to do.
        let _ = setrlimit(resource, raised);
    }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER_BYTES: usize = 4 << 20;
    const AMPLE: KernelLimits = KernelLimits {
        memlock_bytes: None,
        nofile: Some(NOFILE_WANTED),
        address_bytes: None,
        file_bytes: None,
        rmem_max_bytes: Some(BUFFER_BYTES as u64),
        wmem_max_bytes: None,
    };

    #[test]
    fn ample_limits_give_no_warning() {
        assert_eq!(AMPLE.shortfalls(Io::Uring, BUFFER_BYTES), []);
    }

    #[test]
    fn a_warning_names_the_setting_and_the_value_wanted() {
        let tight = KernelLimits {
            memlock_bytes: Some(8 << 20),
            rmem_max_bytes: Some(212_992),
            ..AMPLE
        };
        let warnings: Vec<_> = tight
            .shortfalls(Io::Uring, BUFFER_BYTES)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("memlock") && warnings[0].contains("8388608") && warnings[0].contains("67108864"));
        assert!(warnings[1].contains("net.core.rmem_max") && warnings[1].contains("4194304"));
        assert!(
            tight
                .shortfalls(Io::Uring, BUFFER_BYTES)
                .iter()
                .all(|shortfall| shortfall.only_slower)
        );
        let without_ring = tight.shortfalls(Io::Fallback, BUFFER_BYTES);
        assert_eq!(
            without_ring.len(),
            1,
            "nothing is locked without a ring: {without_ring:?}"
        );
    }

    #[test]
    fn the_sockets_ceilings_are_compared_with_what_the_node_asks_for() {
        let limits = KernelLimits {
            rmem_max_bytes: Some(212_992),
            wmem_max_bytes: Some(1 << 20),
            ..AMPLE
        };
        let settings = |asked: usize| -> Vec<&str> {
            let shortfalls = limits.shortfalls(Io::Fallback, asked);
            shortfalls.iter().map(|shortfall| shortfall.setting).collect()
        };
        assert!(settings(212_992).is_empty());
        assert_eq!(settings(1 << 20), ["net.core.rmem_max (bytes)"]);
        assert_eq!(settings(8 << 20).len(), 2);
        for shortfall in limits.shortfalls(Io::Fallback, 8 << 20) {
            assert_eq!(shortfall.wanted, 8 << 20);
            assert!(shortfall.remedy.contains("mem_max=8388608"), "{shortfall}");
        }
    }

    #[test]
    fn too_few_descriptors_are_told_before_anything_panics_for_want_of_one() {
        assert_eq!(AMPLE.refusal(), None);
        let least = KernelLimits {
            nofile: Some(NOFILE_LEAST),
            ..AMPLE
        };
        assert_eq!(least.refusal(), None);
        let tight = KernelLimits {
            nofile: Some(64),
            ..AMPLE
        };
        let refusal = tight.refusal().expect("too few");
        assert!(refusal.contains("is 64") && refusal.contains("ulimit -n"), "{refusal}");
    }

    #[test]
    fn a_bound_on_files_and_on_address_space_is_warned_of() {
        let tight = KernelLimits {
            address_bytes: Some(1 << 30),
            file_bytes: Some(1 << 30),
            ..AMPLE
        };
        let warnings: Vec<_> = tight
            .shortfalls(Io::Fallback, BUFFER_BYTES)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("ulimit -v") && warnings[1].contains("ulimit -f"));
        assert!(
            !tight
                .shortfalls(Io::Fallback, BUFFER_BYTES)
                .iter()
                .any(|shortfall| shortfall.only_slower)
        );
    }

    #[test]
    fn every_limit_has_its_warning_and_those_that_cost_only_speed_say_so() {
        let tight = KernelLimits {
            memlock_bytes: Some(1),
            nofile: Some(1),
            address_bytes: Some(1),
            file_bytes: Some(1),
            rmem_max_bytes: Some(1),
            wmem_max_bytes: Some(1),
        };
        let shortfalls = tight.shortfalls(Io::Uring, BUFFER_BYTES);
        let only_slower = |shortfall: &Shortfall| (shortfall.setting.split(' ').next(), shortfall.only_slower);
        let told: Vec<_> = shortfalls.iter().map(only_slower).collect();
        let expected = [
            ("memlock", true),
            ("nofile", false),
            ("address", false),
            ("file", false),
            ("net.core.rmem_max", true),
            ("net.core.wmem_max", true),
        ];
        assert_eq!(told, expected.map(|(word, only_slower)| (Some(word), only_slower)));
    }

    #[test]
    fn a_soft_limit_is_raised_to_the_hard_one_and_none_is_lowered() {
        let nofile = getrlimit(Resource::Nofile);
        // One below, so that there is something to raise.
        let lowered = Rlimit {
            current: nofile.maximum.map(|maximum| maximum - 1),
            maximum: nofile.maximum,
        };
        setrlimit(Resource::Nofile, lowered).expect("a soft limit may be lowered");
        let before = [Resource::Nofile, Resource::Memlock].map(|resource| getrlimit(resource).current);
        raise_soft_limits();
        let after = [Resource::Nofile, Resource::Memlock].map(|resource| getrlimit(resource).current);
        for (before, after) in before.into_iter().zip(after) {
            assert!(after.is_none() || before.is_some_and(|before| after >= Some(before)));
        }
        assert_eq!(getrlimit(Resource::Nofile).current, nofile.maximum);
    }

    #[test]
    fn this_machine_has_limits_to_read() {
        assert!(KernelLimits::read().nofile.is_none_or(|nofile| nofile > 0));
    }
}
