//! The program as its users meet it: the command line, whole networks of real processes, and the engine's driver before
//! real execution clients. One binary, because each one links the embedded client.

mod archive;
mod blob;
mod cli;
mod crash;
mod cut_edge;
mod data_path;
mod devnet;
mod devnet_variants;
mod engine;
mod ethereumjs;
mod ethereumjs_validator;
mod flood;
mod harness;
mod healing;
mod hostile;
mod join;
mod log;
mod progress;
mod prometheus;
mod readers;
mod refusals;
mod relaunch;
mod retention;
mod rollup;
mod see;
mod store;
mod surroundings;
mod told;
