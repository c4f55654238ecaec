//! Stories and laws of the whole store, on real files. The codecs' own laws stand beside them in `tests/formats.rs`.

mod account;
mod birth;
mod corruption;
mod crash;
mod damage;
mod decide;
mod device;
mod evidence;
mod faults;
mod folder;
mod formats;
mod full_disk;
mod guard;
mod reading;
mod retention;
mod scanning;
mod support;
mod tile;
mod versions;
