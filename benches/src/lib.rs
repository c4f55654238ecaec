//! Benches, one target per crate, each beside its peers: see `benches/BUDGET.md`. There is nothing to import.
