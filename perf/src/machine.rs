//! This file knows what a reader must know of the machine to judge a figure.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    /// CPU model as the kernel names it.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    pub kernel: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl MachineFacts {
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            memory_bytes: kibibytes(&meminfo, "MemTotal"),
        }
    }
}

/// The value after `name:` in a text of such lines.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A field given in kB, as bytes; zero if it is not there.
pub fn kibibytes(text: &str, name: &str) -> u64 {
    let number = field(text, name).and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "MemTotal:  16 kB\nMem:  3 kB\n";
        assert_eq!(field(text, "Mem"), Some("3 kB"));
        assert_eq!(kibibytes(text, "MemTotal"), 16 * 1024);
        assert_eq!(kibibytes(text, "None"), 0);
    }

    #[test]
    fn this_machine_is_known() {
        let machine = MachineFacts::read();
        assert!(machine.cores > 0 && machine.memory_bytes > 0 && machine.kernel != "unknown");
    }
}
