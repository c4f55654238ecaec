//! Stories and laws of the whole store, on real files. The codecs' own laws stand beside them in `tests/formats.rs`.

mod account;
mod archive;
mod birth;
mod check;
mod corruption;
mod crash;
mod decide;
mod device;
mod evidence;
mod faults;
mod folder;
mod formats;
mod full_disk;
mod fuzz;
mod guard;
mod images;
mod laws;
mod reading;
mod restore;
mod retention;
mod scanning;
mod scrub;
mod space;
mod steps;
pub(crate) mod support;
mod tile;
mod versions;
