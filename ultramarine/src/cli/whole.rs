//! This file knows how to read everything that a node starts with, and to say all that is wrong with it at once.
//!
//! `start` and `config check` say the same.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use ultramarine_node::config::{Config, Layers};
use ultramarine_node::embedded::EmbeddedClient;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::{Home, fit, outputs};
use ultramarine_node::keys::{self, Keys};

use crate::cli::home::HomeArgs;
use crate::embedded;

/// A home that a node starts with.
#[derive(Debug)]
pub struct Whole {
    pub home: Home,
    pub config: Config,
    /// Where they come from.
    pub layers: Layers,
    pub genesis: Genesis,
    pub keys: Keys,
}

impl Whole {
    /// Reads configuration, genesis and keys; an error says everything that is wrong with each, and with them together.
    pub fn load(args: &HomeArgs) -> anyhow::Result<Self> {
        let home = Home::open(&args.home)?;
        let mut wrong = Vec::new();
        let loaded = sound(args.load(), &mut wrong);
        let genesis = sound(Genesis::load(&home), &mut wrong);
        let keys = sound(home.keys(), &mut wrong);
        if let Some((_, config, layers)) = &loaded {
            sound(keys::read_secret(&config.engine.jwt_secret), &mut wrong);
            wrong.extend(outputs::misplaced(&home, config, layers));
            if let (Some(genesis), Some(keys)) = (&genesis, &keys) {
                wrong.extend(fit::misfits(config, layers, genesis, keys));
            }
            let misfit = EmbeddedClient::misfit(embedded::client(), config, layers, genesis.as_ref());
            wrong.extend(misfit);
        }
        let (true, Some((_, config, layers)), Some(genesis), Some(keys)) = (wrong.is_empty(), loaded, genesis, keys)
        else {
            bail!("{}", wrong.join("\n"));
        };
        Ok(Self {
            home,
            config,
            layers,
            genesis,
            keys,
        })
    }

    /// What the operator should know before the node runs.
    pub fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |now| now.as_secs());
        fit::warnings(&self.config, &self.layers, &self.genesis, &self.keys, now_s)
    }
}

/// What was read, or nothing and a line about it more.
fn sound<T>(read: Result<T, impl Into<anyhow::Error>>, wrong: &mut Vec<String>) -> Option<T> {
    read.map_err(|error| wrong.push(crate::program::causes(&error.into())))
        .ok()
}
