//! Drives an Ethereum execution client through the Engine API.
//!
//! ```text
//!            EngineCall                        JSON-RPC over HTTP with JWT, or over a Unix socket
//!   core ──────────────▶ driver ──▶ client ──▶ transport ─────────────────────────────────────▶ EL
//!        ◀──────────────   │  ▲                 (http, ipc)
//!            EngineReply   ▼  │ verdicts
//!                        lanes (every proof of our own bundle is checked like anyone else's)
//! ```
//!
//! - A *payload* is an execution block as the Engine API carries it; its *canonical bytes* ([`payload`]) are what the
//!   value id binds and what peers stream to each other.
//! - A *bundle* is what our client hands us beside a payload it built: blobs, commitments, proofs. What it lacks of the
//!   proofs is made here ([`proofs`]).
//! - A *turn* ([`turns`]) is a place in the order of forkchoice updates.
//!
//! Keeps: bytes are only executed after [`inspect`](inspect::inspect) found them to be what the metadata says; forkchoice
//! updates reach the client in the order they were asked for; every call has a deadline and a bound on its answer, and
//! one that takes long is named ([`waiting`]);
//! what the client says is told apart in full, and a missing answer is never taken for one.

pub mod build;
pub mod call;
pub mod client;
pub mod driver;
pub mod foreign;
pub mod header;
pub mod http;
pub mod inspect;
pub mod ipc;
pub mod jwt;
pub mod options;
pub mod own_bundles;
pub mod payload;
pub mod proofs;
pub mod startup;
pub mod transport;
pub mod turns;
pub mod value_end;
pub mod waiting;

pub use driver::{EngineError, LaneClient, run};
pub use jwt::Secret;
pub use options::EngineOptions;
pub use startup::StartError;
pub use transport::Endpoint;
pub use waiting::Waiting;
