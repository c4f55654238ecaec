//! This file knows which waits and ceilings of the core bound how soon a connected quorum decides. Whoever computes
//! such a bound, as the simulator's liveness mode does, takes them from here.

pub use super::catchup::GRACE as SYNC_GRACE;
pub use super::gather::{FOR_CLIENTS, FOR_THE_REST, LONGEST as GATHER_LONGEST};
pub use super::judge::{RETRY as VERDICT_RETRY, RETRY_MAX as VERDICT_RETRY_MAX};
pub use super::propose::RETRY as BUILD_RETRY;
pub use super::search::{GRACE as SEARCH_GRACE, TURN as SEARCH_TURN};
pub use super::tell::STUCK;
pub use crate::execution::RETRY as CLIENT_RETRY;
pub use crate::hearing::{CALL_AFTER, CALL_AGAIN};
pub use crate::pace::LEAST as PROPOSE_LEAST;
pub use crate::reputation::{PATIENCE_MAX, PATIENCE_MIN};
pub use crate::sync::heights_at_once;
pub use crate::timers::Durations;
