//! I7 and fair scoring: an honest peer sends nothing unusable, is never charged for another's fault, and never banned.

use ultramarine_types::network::Fault;

use super::CheckOutcome;

/// A node bans a peer.
pub fn banned(peer: usize, peer_is_honest: bool) -> CheckOutcome {
    match peer_is_honest {
        true => Err(("blame", format!("honest node {peer} is banned"))),
        false => Ok(()),
    }
}

/// A node charges a peer. Slowness and silence are measured, and happen to honest peers too when the network is cut;
/// what an execution client says may be its own fault.
pub fn charged(peer: usize, peer_is_honest: bool, fault: Fault) -> CheckOutcome {
    let provable = !matches!(fault, Fault::Withheld | Fault::Execution);
    if peer_is_honest && provable {
        let invariant = if fault == Fault::Package { "I7" } else { "blame" };
        return Err((invariant, format!("honest node {peer} is charged for {}", fault.name())));
    }
    Ok(())
}
