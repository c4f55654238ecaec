//! Who our peers are, what each may spend, and what its faults cost it.

pub mod bans;
pub mod budgets;
pub mod charges;
pub mod doors;
pub mod identity;
pub mod known;
pub mod listed;
pub mod origin;
pub mod pace;
pub mod roster;
pub mod scores;
pub mod statuses;
