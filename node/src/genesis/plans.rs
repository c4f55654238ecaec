//! This file knows how nodes compare what their operators plan: hashes of the upgrades and of the schedule of forks.
//!
//! Both may differ while operators change one node after another. So they are no part of the chain's identity.

use serde_json::Value;
use ultramarine_types::Hash;
use ultramarine_types::canonical::Canonical;

use crate::genesis::Upgrade;
use crate::genesis::execution::{FieldError, number};

/// Hash of a list of upgrades, in the order of the file.
pub fn upgrades_hash(upgrades: &[Upgrade]) -> Hash {
    let mut canonical = Canonical::new("ultramarine/upgrades/2").u32(count(upgrades.len()));
    for upgrade in upgrades {
        canonical = canonical.height(upgrade.height).bytes(upgrade.what.as_bytes());
    }
    canonical.sha256()
}

/// Hash of every fork's block or time, and of the blob limits, under `config` of an execution genesis. It does not
/// depend on the order of entries, nor on how numbers are written. Entries without a value count as absent.
pub fn fork_schedule_hash(config: &Value) -> Result<Hash, FieldError> {
    let is_fork = |name: &str| name.ends_with("Time") || name.ends_with("Block");
    let mut canonical = numbers(Canonical::new("ultramarine/fork-schedule/2"), "config", config, is_fork)?;
    let schedule = entries(&config["blobSchedule"], |_| true);
    canonical = canonical.u32(count(schedule.len()));
    for (fork, limits) in schedule {
        canonical = canonical.bytes(fork.as_bytes());
        canonical = numbers(canonical, &format!("config.blobSchedule.{fork}"), limits, |_| true)?;
    }
    Ok(canonical.sha256())
}

/// Appends the entries of an object that are asked for, all of which are numbers.
fn numbers(
    mut canonical: Canonical,
    path: &str,
    object: &Value,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Canonical, FieldError> {
    let entries = entries(object, is_wanted);
    canonical = canonical.u32(count(entries.len()));
    for (name, value) in entries {
        let value = number(value, &format!("{path}.{name}"))?;
        canonical = canonical.bytes(name.as_bytes()).u64(value);
    }
    Ok(canonical)
}

/// An object's entries that have a value, in order of name.
fn entries(object: &Value, is_wanted: impl Fn(&str) -> bool) -> Vec<(&String, &Value)> {
    let all = object.as_object().into_iter().flatten();
    let mut entries: Vec<_> = all
        .filter(|(name, value)| is_wanted(name) && !value.is_null())
        .collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).expect("entries of a file in memory")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ultramarine_types::Height;

    use super::*;

    #[test]
    fn each_fork_and_each_blob_limit_changes_the_schedule_and_nothing_else_does() {
        let config = json!({
            "chainId": 7, "londonBlock": 0, "cancunTime": 0, "pragueTime": 16,
            "blobSchedule": { "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 9 } },
        });
        let hash = |change: &dyn Fn(&mut Value)| {
            let mut config = config.clone();
            change(&mut config);
            fork_schedule_hash(&config).expect("numbers")
        };
        let original = hash(&|_| {});
        type Change = fn(&mut Value);
        let same: [Change; 4] = [
            |config| config["pragueTime"] = json!("0x10"),
            |config| config["osakaTime"] = json!(null),
            |config| config["chainId"] = json!(8),
            |config| config["depositContractAddress"] = json!("0x00"),
        ];
        for (at, change) in same.iter().enumerate() {
            assert_eq!(hash(change), original, "{at}");
        }
        let other: [Change; 6] = [
            |config| config["pragueTime"] = json!(17),
            |config| config["pragueTime"] = json!(null),
            |config| config["londonBlock"] = json!(1),
            |config| config["osakaTime"] = json!(20),
            |config| config["blobSchedule"]["cancun"]["target"] = json!(4),
            |config| config["blobSchedule"]["prague"] = json!({ "max": 9 }),
        ];
        for (at, change) in other.iter().enumerate() {
            assert_ne!(hash(change), original, "{at}");
        }
    }

    /// Nodes of one version compare these: they change only with the version of all formats.
    #[test]
    fn the_hashes_of_plans_are_these() {
        assert_eq!(
            upgrades_hash(&[]).to_string(),
            "0x9054a25f272c8c96cb3655370dc2a515ddef8a6808be8236cd05c2a23c96c28a"
        );
        let upgrade = Upgrade {
            height: Height(7),
            what: "columns".to_owned(),
        };
        assert_eq!(
            upgrades_hash(&[upgrade]).to_string(),
            "0x8f882abb699cca4c05bbcfb4c41d658473c67e3071bb3cfecafd2b04500217c9"
        );
        let config = json!({
            "chainId": 7, "londonBlock": 0, "cancunTime": 0, "pragueTime": "0x10",
            "blobSchedule": { "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 9 } },
        });
        assert_eq!(
            fork_schedule_hash(&config).expect("numbers").to_string(),
            "0xfd54beb0df16912b6cb36a215497fdbd57a82b13f9ac0419e375d1e97aea932d"
        );
    }

    #[test]
    fn what_is_no_number_is_named() {
        let error = fork_schedule_hash(&json!({ "blobSchedule": { "prague": { "max": "many" } } }));
        let error = error.expect_err("no number").to_string();
        assert!(
            error.starts_with("config.blobSchedule.prague.max is \"many\""),
            "{error}"
        );
    }

    #[test]
    fn an_upgrades_height_and_name_change_the_hash() {
        let hash = |height, what: &str| {
            upgrades_hash(&[Upgrade {
                height: Height(height),
                what: what.to_owned(),
            }])
        };
        assert_ne!(hash(7, "columns"), hash(8, "columns"));
        assert_ne!(hash(7, "columns"), hash(7, "rows"));
        assert_ne!(hash(7, "columns"), upgrades_hash(&[]));
    }
}
