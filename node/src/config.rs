//! This file knows every setting of a node, in its Rust type and checked before the first thread starts.
//!
//! ```text
//!   default.toml ◀ config.toml ◀ ULTRAMARINE_<SECTION>_<KEY> ◀ flags      layers.rs: names, kinds, where from
//!                         └────────────── Layers ──────────────┘
//!                                           │                             settings.rs: Rust types, bounds
//!                                         Config
//! ```
//!
//! To add a setting: describe it in `default.toml`, add a field here, read it in the section's `read`.

pub mod environment;
pub mod layers;
pub mod origin;
pub mod peer;
pub mod problem;
mod settings;
#[cfg(test)]
mod tests;
pub mod value;
pub mod write;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use ultramarine_kzg_pipeline::BackEnd;
use ultramarine_net::FullNodes;
use ultramarine_runtime::ring::IoMode;
use ultramarine_runtime::rotating::LogShare;
use ultramarine_store::archive::SPAN_HEIGHTS_MAX;
use ultramarine_types::Address;
use ultramarine_types::chain::Limits;
use ultramarine_types::host::Host;
use ultramarine_types::url::HttpUrl;

pub use layers::{Layers, Override, Sources};
pub use origin::Origin;
pub use peer::PeerAddress;
pub use problem::{ConfigError, Problem};
use settings::Settings;

use crate::archive::address::{ArchiveAddress, BucketAccess, read_endpoint};
use crate::topology::{LANES, Shape};

/// Half of the second that a proposal's timeout leaves for the build
/// ([`ultramarine_types::chain::Limits::propose_timeout`]).
const BUILD_WAIT_MS_MAX: u64 = 500;

/// If the timeout were shorter, we would take a healthy client for one that is gone.
const ENGINE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// If the timeout were longer, nobody would learn that the client is gone.
const ENGINE_TIMEOUT_MS_MAX: u64 = 600_000;

/// If it were less, whoever has a slow line of their own would still wait for us.
const SERVING_MIB_S_MIN: u64 = 1;
/// More than any line takes, and few enough that bytes fit 64 bits.
const SERVING_MIB_S_MAX: u64 = 100_000;

/// More than any disk reads, and few enough that bytes fit 64 bits.
const SCRUB_MB_PER_SECOND_MAX: u64 = 100_000;

/// A megabyte of a log is a million bytes; more than this fits no disk.
const LOG_FILE_MB_MAX: u64 = 1_000_000;
/// Each rotation renames all of them.
const LOG_FILES_MAX: u64 = 1000;

const _: () = assert!(ENGINE_TIMEOUT_MIN.as_millis() < ENGINE_TIMEOUT_MS_MAX as u128);

#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeConfig,
    pub network: NetworkConfig,
    pub engine: EngineConfig,
    pub http: HttpConfig,
    pub retention: RetentionConfig,
    /// `None`: there is no archive.
    pub archive: Option<ArchiveConfig>,
    pub store: StoreConfig,
    pub log: LogConfig,
}

/// `[node]`: the process and the machine it is given.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The name in logs and `/status`.
    pub name: String,
    /// Absolute, or relative to the working directory if the home was given so.
    pub data_dir: PathBuf,
    /// How I/O is driven.
    pub io: IoMode,
    /// Verifier lanes, at least 1.
    pub lanes: usize,
    /// How blob proofs are verified.
    pub verifier: BackEnd,
    /// Whether tiles are pinned where there are cores enough.
    pub pin: bool,
}

/// `[network]`: QUIC between nodes.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Peers to stay connected to; empty: those of the genesis file.
    pub peers: Vec<PeerAddress>,
    /// Which full nodes may be connected.
    pub full_nodes: FullNodes,
    /// Bytes of packages, and of what full nodes are sent, in a second, over all peers.
    pub serving_bytes_per_second: u64,
}

/// How the Engine API is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EngineEndpoint {
    /// HTTP with a JWT, as a URL.
    Http(String),
    Ipc(PathBuf),
}

/// Addresses of the embedded development client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EmbeddedEngine {
    /// Public JSON-RPC: transactions and balances.
    pub http: SocketAddr,
    pub auth: SocketAddr,
}

/// `[engine]`: the execution client.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where the client is. If the embedded client runs, its Engine API.
    pub endpoint: EngineEndpoint,
    /// File of the shared secret.
    pub jwt_secret: PathBuf,
    pub fee_recipient: Address,
    /// Longest time one call may take; `None` follows the chain.
    pub timeout: Option<Duration>,
    /// How long a build may collect transactions before it is fetched.
    pub build_wait: Duration,
    /// The client to run inside this process, if any.
    pub embedded: Option<EmbeddedEngine>,
}

/// `[http]`: what operators and rollups read.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// TCP address to listen on.
    pub listen: SocketAddr,
    /// Requests worked on at one time.
    pub requests_max: usize,
    /// Longest time to the beginning of an answer.
    pub timeout: Duration,
    /// Further names by which the node answers; `*` is every one.
    pub hosts: Vec<String>,
    /// Origins whose pages may read answers, as the `Origin` header names them; `*` is every one.
    pub cors_origins: Vec<HeaderValue>,
}

/// `[retention]`: how long blobs stay.
#[derive(Clone, Copy, Debug)]
pub struct RetentionConfig {
    /// Newest heights whose blobs stay; `None`: all.
    pub blobs_heights: Option<u64>,
}

/// `[archive]`: where decided heights go before their blobs are freed.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    pub address: ArchiveAddress,
    /// How its store is reached, if it is a bucket.
    pub access: BucketAccess,
    /// Most heights of one object.
    pub span_heights: u32,
}

/// `[store]`: how the node looks after what it has stored.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// How fast what is stored is read again; 0: never.
    pub scrub_bytes_per_second: u64,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A `tracing` filter that parses.
    pub filter: String,
    pub format: LogFormat,
    /// `None`: standard error alone.
    pub file: Option<LogToFile>,
    /// File to which every consensus message received is appended, as JSON lines; `None`: not kept.
    pub messages_file: Option<PathBuf>,
}

/// How a line of the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Reads its name.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Where the log goes besides standard error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogToFile {
    pub path: PathBuf,
    pub share: LogShare,
}

impl Config {
    /// Merges the sources and checks every value. Relative paths start at `home`.
    pub fn load(home: &Path, sources: &Sources) -> Result<(Self, Layers), ConfigError> {
        let (layers, mut problems) = Layers::merge(sources);
        match Self::read(home, &layers) {
            Ok(config) if problems.is_empty() => Ok((config, layers)),
            Ok(_) => Err(ConfigError(problems)),
            Err(ConfigError(values)) => {
                problems.extend(values);
                Err(ConfigError(problems))
            }
        }
    }

    /// What the tiles and links of its node depend on.
    pub fn shape(&self) -> Shape {
        Shape {
            lanes: self.node.lanes,
            embedded_el: self.engine.embedded.is_some(),
            archive: self.archive.is_some(),
        }
    }

    fn read(home: &Path, layers: &Layers) -> Result<Self, ConfigError> {
        let mut settings = Settings::new(layers, home);
        let node = NodeConfig::read(&mut settings);
        let network = NetworkConfig::read(&mut settings);
        let engine = EngineConfig::read(&mut settings);
        let http = HttpConfig::read(&mut settings);
        let retention = RetentionConfig::read(&mut settings);
        let archive = ArchiveConfig::read(&mut settings);
        let store = StoreConfig::read(&mut settings);
        let log = LogConfig::read(&mut settings);
        match (node, network, engine, http, retention, archive, store, log) {
            (
                Some(node),
                Some(network),
                Some(engine),
                Some(http),
                Some(retention),
                Some(archive),
                Some(store),
                Some(log),
            ) => Ok(Self {
                node,
                network,
                engine,
                http,
                retention,
                archive,
                store,
                log,
            }),
            _ => Err(ConfigError(settings.into_problems())),
        }
    }
}

impl NodeConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let name = settings.text_as("node.name", "1 to 64 printable characters", |text| {
            let fits = !text.is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        });
        let data_dir = settings.path("node.data_dir");
        let io = settings.text_as("node.io", "\"auto\", \"uring\" or \"fallback\"", |text| match text {
            "auto" => Some(IoMode::Auto),
            "uring" => Some(IoMode::Uring),
            "fallback" => Some(IoMode::Fallback),
            _ => None,
        });
        let lanes = settings.number("node.lanes", 0..=LANES.len() as u64);
        let verifiers = BackEnd::ALL
            .map(|back_end| format!("{:?}", back_end.name()))
            .join(" or ");
        let verifier = settings.parse("node.verifier", &verifiers);
        let pin = settings.boolean("node.pin");
        Some(Self {
            name: name?,
            data_dir: data_dir?,
            io: io?,
            lanes: lanes_or_default(lanes?),
            verifier: verifier?,
            pin,
        })
    }
}

/// One lane per four cores, at least one, unless the operator says how many.
fn lanes_or_default(lanes: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match usize::try_from(lanes) {
        Ok(0) | Err(_) => (cores / 4).clamp(1, LANES.len()),
        Ok(lanes) => lanes,
    }
}

impl NetworkConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let listen = settings.address("network.listen");
        let peers = settings.list(
            "network.peers",
            "items such as PEER_ID@host:port (64 hex digits before the @) or host:port",
            PeerAddress::read,
        );
        let full_nodes = settings.text_as(
            "network.full_nodes",
            "\"any\", \"listed\" or \"none\"",
            |text| match text {
                "any" => Some(FullNodes::Any),
                "listed" => Some(FullNodes::Listed),
                "none" => Some(FullNodes::None),
                _ => None,
            },
        );
        let serving = settings.number("network.serving_mib_s", SERVING_MIB_S_MIN..=SERVING_MIB_S_MAX);
        Some(Self {
            listen: listen?,
            peers: peer::distinct(peers?),
            full_nodes: full_nodes?,
            serving_bytes_per_second: serving? * 1024 * 1024,
        })
    }
}

impl EngineConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let ipc = settings.path_if_any("engine.ipc");
        let jwt_secret = settings.path("engine.jwt_secret");
        let fee_recipient = settings.parse("engine.fee_recipient", "20 bytes as 40 hex digits after 0x");
        let timeout = Self::read_timeout(settings);
        let build_wait = settings.milliseconds("engine.build_wait_ms", 0..=BUILD_WAIT_MS_MAX);
        let embedded = Self::read_embedded(settings);
        let endpoint = match (&embedded, ipc) {
            (Some(Some(embedded)), _) => Some(EngineEndpoint::Http(format!("http://{}", embedded.auth))),
            (_, Some(path)) => Some(EngineEndpoint::Ipc(path)),
            (_, None) => settings
                .trimmed(
                    "engine.url",
                    "an http:// URL with host and port, or `ipc` or `embedded` in its place",
                    |text| match HttpUrl::read(text)?.port {
                        Some(_) => Ok(text.to_owned()),
                        None => Err("has no port"),
                    },
                )
                .map(EngineEndpoint::Http),
        };
        Some(Self {
            endpoint: endpoint?,
            jwt_secret: jwt_secret?,
            fee_recipient: fee_recipient?,
            timeout: timeout?,
            build_wait: build_wait?,
            embedded: embedded?,
        })
    }

    /// Longest time one call may take on a chain of these ceilings.
    pub fn timeout_on(&self, limits: &Limits) -> Duration {
        self.timeout.unwrap_or_else(|| limits.engine_timeout().as_duration())
    }

    fn read_timeout(settings: &mut Settings<'_>) -> Option<Option<Duration>> {
        match settings.milliseconds("engine.timeout_ms", 0..=ENGINE_TIMEOUT_MS_MAX)? {
            Duration::ZERO => Some(None),
            timeout if timeout >= ENGINE_TIMEOUT_MIN => Some(Some(timeout)),
            _ => {
                let expected = format!("0, or a whole number from 100 to {ENGINE_TIMEOUT_MS_MAX}");
                settings.refuse("engine.timeout_ms", &expected);
                None
            }
        }
    }

    fn read_embedded(settings: &mut Settings<'_>) -> Option<Option<EmbeddedEngine>> {
        let http = settings.address("engine.embedded_http");
        let auth = settings.address("engine.embedded_auth");
        if !settings.boolean("engine.embedded") {
            return Some(None);
        }
        Some(Some(EmbeddedEngine {
            http: http?,
            auth: auth?,
        }))
    }
}

impl HttpConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let listen = settings.address("http.listen");
        let requests_max = settings.number("http.requests_max", 1..=4096);
        let timeout = settings.milliseconds("http.timeout_ms", 100..=600_000);
        let hosts = settings.list(
            "http.hosts",
            "items such as \"node.example\", without a port, or \"*\" for every name",
            read_host_name,
        );
        let cors_origins = settings.list(
            "http.cors_origins",
            "items such as \"https://explorer.example\" or \"http://localhost:3000\", or \"*\" for every page",
            read_origin,
        );
        let requests_max = usize::try_from(requests_max?).ok();
        Some(Self {
            listen: listen?,
            requests_max: requests_max?,
            timeout: timeout?,
            hosts: hosts?,
            cors_origins: cors_origins?,
        })
    }
}

/// Reads a name by which the node may be asked.
fn read_host_name(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    match Host::read(text)? {
        Host::Name(_) => Ok(text.to_owned()),
        Host::Address(_) => Err("is an address, by which a node answers in any case"),
    }
}

/// Reads an origin (RFC 6454): a scheme, a host, and a port unless it is the scheme's own.
fn read_origin(text: &str) -> Result<HeaderValue, &'static str> {
    let read = HeaderValue::from_str(text).map_err(|_| "has other characters than a URL")?;
    if text == "*" {
        return Ok(read);
    }
    let url: Uri = text.parse().map_err(|_| "is no URL")?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("does not begin with http:// or https://");
    }
    // A browser names a page's origin in this form alone; another would never match.
    let is_bare = url.path_and_query().is_some_and(|path| path == "/") && !text.ends_with('/') && !text.contains('#');
    if !is_bare {
        return Err("has a path; an origin ends with its host or port");
    }
    if text.contains('@') {
        return Err("has a user name");
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("has capital letters; browsers write origins without");
    }
    Ok(read)
}

impl RetentionConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let heights = settings.number("retention.blobs_heights", 0..=u64::MAX)?;
        Some(Self {
            blobs_heights: (heights > 0).then_some(heights),
        })
    }
}

impl ArchiveConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Option<Self>> {
        for name in ["archive.url", "archive.endpoint"] {
            // Not by `trimmed`, which repeats the text: there may be a key in it.
            if settings.text(name).contains('@') {
                let expected = "an address alone: keys belong into the credentials file or the environment";
                settings.note(name, "has a name or a key before an @", expected);
                return None;
            }
        }
        let address = settings.trimmed("archive.url", ArchiveAddress::EXPECTED, |text| match text {
            "" => Ok(None),
            text => ArchiveAddress::read(text).map(Some),
        });
        let endpoint = settings.trimmed(
            "archive.endpoint",
            "an http:// or https:// URL, or nothing",
            |text| match text {
                "" => Ok(None),
                text => read_endpoint(text).map(Some),
            },
        );
        let region = settings.text_as("archive.region", "letters, digits and hyphens, or nothing", |text| {
            let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            fits.then(|| text.to_owned())
        });
        let credentials_file = settings.path_if_any("archive.credentials_file");
        let span_heights = settings.number("archive.span_heights", 1..=u64::from(SPAN_HEIGHTS_MAX));
        let (address, endpoint, region, span_heights) = (address?, endpoint?, region?, span_heights?);
        let Some(address) = address else {
            if endpoint.is_some() || credentials_file.is_some() {
                settings.refuse(
                    "archive.url",
                    "the archive's URL, as its endpoint or its credentials are set",
                );
                return None;
            }
            return Some(None);
        };
        let is_bucket = matches!(address, ArchiveAddress::Bucket { .. });
        if !is_bucket && (endpoint.is_some() || !region.is_empty() || credentials_file.is_some()) {
            let expected =
                "s3://bucket/folder, as an endpoint, a region or credentials are set, which a folder has not";
            settings.refuse("archive.url", expected);
            return None;
        }
        Some(Some(Self {
            address,
            access: BucketAccess {
                endpoint,
                region: (!region.is_empty()).then_some(region),
                credentials_file,
            },
            span_heights: u32::try_from(span_heights).ok()?,
        }))
    }
}

impl StoreConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let megabytes = settings.number("store.scrub_mb_per_second", 0..=SCRUB_MB_PER_SECOND_MAX)?;
        Some(Self {
            scrub_bytes_per_second: megabytes * 1_000_000,
        })
    }
}

impl LogConfig {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let filter = settings.text_as(
            "log.filter",
            "a tracing filter, such as \"info,ultramarine_net=debug\"",
            |text| {
                tracing_subscriber::EnvFilter::builder()
                    .parse(text)
                    .ok()
                    .map(|_| text.to_owned())
            },
        );
        let format = settings.text_as("log.format", "\"text\" or \"json\"", LogFormat::named);
        let path = settings.path_if_any("log.file");
        let megabytes = settings.number("log.file_mb", 1..=LOG_FILE_MB_MAX);
        let files_max = settings.number("log.files", 1..=LOG_FILES_MAX);
        let share = LogShare {
            file_bytes_max: megabytes? * 1_000_000,
            files_max: files_max?,
        };
        Some(Self {
            filter: filter?,
            format: format?,
            file: path.map(|path| LogToFile { path, share }),
            messages_file: settings.path_if_any("log.messages_file"),
        })
    }
}
