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
//! - A *bundle* is what our client hands us with a payload it built: blobs, commitments, proofs. We make the proofs
//!   that it lacks ([`proofs`]).
//! - A *turn* ([`turns`]) is a position in the order of forkchoice updates.
//!
//! Where to look:
//! - whether this is the right client: [`startup`];
//! - whether a block that our client built may be proposed: [`build`];
//! - whether bytes from peers may be executed: [`inspect`](inspect::inspect);
//! - how a call ended: [`call`].
//!
//! What holds of the whole, and where it is held:
//! - The client executes bytes only after [`inspect`](inspect::inspect) found them to be what the metadata says: the
//!   driver has no payload otherwise.
//! - Forkchoice updates reach the client in the order in which the core asked for them ([`turns`]).
//! - Every call has a deadline and a bound on its answer ([`call`]). A call that takes long is named ([`waiting`]).
//! - What the client says is told apart in full, and a missing answer is never taken for one ([`client`]).

pub mod build;
pub mod call;
pub mod client;
pub mod client_time;
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

pub use client::register_metrics;
pub use driver::{EngineError, LaneClient, run};
pub use jwt::Secret;
pub use options::EngineOptions;
pub use startup::StartError;
pub use transport::Endpoint;
pub use waiting::Waiting;
