//! I10: once a height is decided, nothing in a node's memory remembers a value of it. Its index is the real store's own
//! matter, and tested there.

use ultramarine_types::Height;

use super::CheckOutcome;

/// A node's core has had its say, and its network tile has carried it out.
pub fn checked(head: Height, lowest_known: Option<Height>, lowest_in_assembly: Option<Height>) -> CheckOutcome {
    for (who, lowest) in [("core", lowest_known), ("join", lowest_in_assembly)] {
        if let Some(height) = lowest.filter(|height| *height <= head) {
            return Err((
                "I10",
                format!("the {who} knows a value of height {height} and the head is {head}"),
            ));
        }
    }
    Ok(())
}
