//! This file knows what the kernel says of this process: memory, open files, and since when it runs.

use ultramarine_runtime::{Clock, Registry};

/// Shows it from now on, read at each scrape.
pub fn show(registry: &Registry) {
    registry.probe_gauge(
        "ultramarine_process_resident_bytes",
        "Memory of this process that is in RAM, its maps of the store included.",
        &[],
        resident_bytes,
    );
    registry.probe_gauge(
        "ultramarine_process_open_files",
        "Descriptors that this process has open.",
        &[],
        || {
            let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
            // One is that of the look itself.
            Some(open.saturating_sub(1) as f64)
        },
    );
    let started = (Clock::unix_ns() / 1_000_000_000) as f64;
    registry.probe_gauge(
        "ultramarine_process_start_timestamp_seconds",
        "When this process started, in unix seconds.",
        &[],
        move || Some(started),
    );
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_open_files() {
        let registry = Registry::new();
        show(&registry);
        let text = registry.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse().ok()).expect(name)
        };
        assert!(value("ultramarine_process_resident_bytes") > 1e6, "{text}");
        assert!(value("ultramarine_process_open_files") >= 3.0, "{text}");
        assert!(value("ultramarine_process_start_timestamp_seconds") > 1.7e9, "{text}");
    }
}
