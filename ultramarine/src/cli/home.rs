//! This file knows the flags that choose a home and change its settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ultramarine_types::host::HostPort;

use ultramarine_node::config::value::SettingValue;
use ultramarine_node::config::{Config, Layers, LogFormat, Override, Sources, environment};
use ultramarine_node::home::Home;

/// Which home, and what to change in its configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct HomeArgs {
    /// The node's home directory
    #[arg(long, value_name = "DIR", env = "ULTRAMARINE_HOME")]
    pub home: PathBuf,
    /// Change a setting; see `ultramarine config default` for all of them
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// How disk and network are driven: auto, uring or fallback
    #[arg(long, value_name = "MODE")]
    pub io: Option<String>,
    /// Engine API of the execution client: an http:// URL, or the path of its IPC socket
    #[arg(long, value_name = "URL")]
    pub engine: Option<String>,
    /// File with the secret shared with the execution client
    #[arg(long, value_name = "FILE")]
    pub jwt_secret: Option<PathBuf>,
    /// What to log, such as info or "info,ultramarine_net=debug"
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines are written: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl HomeArgs {
    /// The home and its configuration, whole and checked.
    pub fn load(&self) -> anyhow::Result<(Home, Config, Layers)> {
        let home = Home::open(&self.home)?;
        let path = home.config();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let sources = Sources {
            file: Some((path, text)),
            environment: environment::of_this_process(),
            flags: self.overrides()?,
        };
        let (config, layers) = Config::load(home.root(), &sources)?;
        Ok((home, config, layers))
    }

    /// The log's format, as far as a configuration says one that may be wrong elsewhere: so the reason why a node does
    /// not start is in it too.
    pub fn log_format(&self) -> Option<LogFormat> {
        if let Some(format) = &self.log_format {
            return LogFormat::named(format.trim());
        }
        let path = self.home.join("config.toml");
        let text = std::fs::read_to_string(&path).ok();
        let sources = Sources {
            file: text.map(|text| (path, text)),
            environment: environment::of_this_process(),
            flags: self.overrides().unwrap_or_default(),
        };
        match &Layers::merge(&sources).0.get("log.format").value {
            SettingValue::Text(format) => LogFormat::named(format),
            _ => None,
        }
    }

    /// The settings that the flags change, in the order in which they apply.
    pub fn overrides(&self) -> anyhow::Result<Vec<Override>> {
        let mut overrides = Vec::new();
        let mut push = |flag: &str, name: &str, value: String| {
            overrides.push(Override {
                flag: flag.to_owned(),
                name: name.to_owned(),
                value,
            });
        };
        for assignment in &self.set {
            let (name, value) = assignment
                .split_once('=')
                .with_context(|| format!("--set {assignment}: expected SECTION.KEY=VALUE, such as node.name=alpha"))?;
            push("--set", name.trim(), value.trim().to_owned());
        }
        if let Some(io) = &self.io {
            push("--io", "node.io", io.clone());
        }
        if let Some(engine) = &self.engine {
            let engine = engine.trim();
            ensure!(
                !engine.is_empty(),
                "--engine is empty: give the http:// URL of an Engine API, or the path of its IPC socket"
            );
            push("--engine", "engine.embedded", false.to_string());
            // A socket of such a name would be waited for without end.
            ensure!(
                engine.contains('/') || engine.parse::<HostPort>().is_err() || Path::new(engine).exists(),
                "--engine {engine}: a URL begins with http://, and the path of a socket has a slash: give \
                 http://{engine} or ./{engine}"
            );
            if engine.contains("://") {
                push("--engine", "engine.ipc", String::new());
                push("--engine", "engine.url", engine.to_owned());
            } else {
                push("--engine", "engine.ipc", absolute(Path::new(engine))?);
            }
        }
        if let Some(path) = &self.jwt_secret {
            push("--jwt-secret", "engine.jwt_secret", absolute(path)?);
        }
        if let Some(filter) = &self.log {
            push("--log", "log.filter", filter.clone());
        }
        if let Some(format) = &self.log_format {
            push("--log-format", "log.format", format.clone());
        }
        Ok(overrides)
    }
}

/// Paths in flags start at the working directory, those in settings at the home.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("path {} is not UTF-8", path.display()))
}
