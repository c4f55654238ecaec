//! What the fuzz targets share with the tests.

pub mod images;
pub mod laws;
#[allow(dead_code, reason = "the tests use all of it")]
mod support;
