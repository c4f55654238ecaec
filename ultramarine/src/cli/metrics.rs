//! This file knows `ultramarine metrics-reference`: print the page of all metrics and conditions.

use ultramarine_node::metrics::reference;
use ultramarine_runtime::print;

pub fn run() -> anyhow::Result<()> {
    Ok(print::text(reference::page())?)
}
