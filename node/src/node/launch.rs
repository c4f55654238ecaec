//! This file knows how each tile of the table is started: on which reactor it runs, and what it is given.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::oneshot;
use ultramarine_core::{Core, CoreConfig};
use ultramarine_engine::EngineOptions;
use ultramarine_kzg_pipeline::lane::{LaneClientEnd, LaneOptions, Lanes};
use ultramarine_kzg_pipeline::verifier;
use ultramarine_net::{NetLinks, NetOptions};
use ultramarine_runtime::{Io, block_on_net};
use ultramarine_types::storage::Recovered;

use crate::archive::uploader::Uploader;
use crate::config::NodeConfig;
use crate::embedded::{EmbeddedClient, EmbeddedOptions};
use crate::http::server::BeforeState;
use crate::http::{self, HttpState};
use crate::node::NodeError;
use crate::node::crew::{Crew, on_tokio};
use crate::node::links::{EngineLinks, StoreLinks};
use crate::tiles;
use crate::tiles::core::{Audience, CoreLinks};
use crate::topology;

pub fn embedded(crew: &mut Crew, client: EmbeddedClient, options: EmbeddedOptions) -> Result<(), NodeError> {
    crew.spawn(topology::EMBEDDED_EL, move |ctx| (client.run)(&ctx, options))
}

pub fn lanes(crew: &mut Crew, config: &NodeConfig, clients: Vec<LaneClientEnd>) -> Result<(), NodeError> {
    let lanes = Lanes::new(clients, verifier(config.verifier), LaneOptions::default());
    for name in &topology::LANES[..config.lanes] {
        let lanes = Arc::clone(&lanes);
        crew.spawn(name, move |ctx| lanes.run(&ctx).map_err(|error| error.to_string()))?;
    }
    Ok(())
}

pub fn store(crew: &mut Crew, io: Io, state: ultramarine_store::State, links: StoreLinks) -> Result<(), NodeError> {
    let StoreLinks { requests, replies } = links;
    crew.spawn(topology::STORE, move |ctx| {
        ultramarine_store::tile::run(ctx, state, io, requests, replies).map_err(|error| error.to_string())
    })
}

pub fn engine(crew: &mut Crew, io: Io, options: EngineOptions, links: EngineLinks) -> Result<(), NodeError> {
    let EngineLinks { calls, replies, lanes } = links;
    crew.spawn(topology::ENGINE, move |ctx| {
        block_on_net(io, |io| async move {
            let pulse = ctx.pulse.clone();
            let work = ultramarine_engine::run(EngineOptions { io, ..options }, calls, replies, lanes, ctx);
            pulse.beside(work).await.map_err(|error| error.to_string())
        })
    })
}

pub fn http(
    crew: &mut Crew,
    listener: TcpListener,
    before: BeforeState,
    limits: http::server::ServerLimits,
) -> Result<oneshot::Sender<HttpState>, NodeError> {
    let (give_state, state) = oneshot::channel();
    crew.spawn(topology::HTTP, move |ctx| {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
            let work = http::serve_from_the_start(listener, before, state, limits, ctx.halt.clone());
            ctx.pulse.beside(work).await;
            Ok(())
        })
    })?;
    Ok(give_state)
}

pub fn archive(crew: &mut Crew, uploader: Uploader) -> Result<(), NodeError> {
    crew.spawn(topology::ARCHIVE, move |ctx| {
        on_tokio(async move {
            ctx.pulse.beside(ctx.halt.unless_stopped(uploader.run())).await;
            Ok(())
        })
    })
}

pub fn net(crew: &mut Crew, io: Io, options: NetOptions, links: NetLinks) -> Result<(), NodeError> {
    crew.spawn(topology::NET, move |ctx| {
        block_on_net(io, |io| async move {
            let pulse = ctx.pulse.clone();
            let work = ultramarine_net::run(NetOptions { io, ..options }, links, ctx);
            pulse.beside(work).await.map_err(|error| error.to_string())
        })
    })
}

pub fn core(
    crew: &mut Crew,
    config: CoreConfig,
    recovered: Recovered,
    links: CoreLinks,
    audience: Audience,
) -> Result<(), NodeError> {
    let core = Core::new(config);
    crew.spawn(topology::CORE, move |ctx| {
        tiles::core::run(&ctx, core, recovered, links, audience).map_err(|error| error.to_string())
    })
}
