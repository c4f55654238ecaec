//! Stories of a real store, a real uploader and a real archive.

mod bucket;
mod healing;
mod kills;
mod liar;
mod rig;
mod story;
