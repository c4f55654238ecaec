//! What the network promises, tried: the join's laws, frames under garbage, sync packages, and nodes on loopback.

mod blame;
mod dialing;
mod fixture;
mod flood;
mod frames;
mod golden;
mod inits;
mod join;
mod laws;
mod loopback;
mod node;
mod places;
mod pullers;
mod reading;
mod restored;
mod rig;
mod rogue;
mod room;
mod serving;
mod sync;
mod updates;
