//! This file knows `ultramarine archive`: fill an archive from a stopped node, look it over, and bring heights back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use ultramarine_engine::http::HttpClient;
use ultramarine_node::archive::address::{ArchiveAddress, BucketAccess};
use ultramarine_node::archive::audit;
use ultramarine_node::archive::remote::{ArchiveError, ListedObject, Remote};
use ultramarine_node::archive::spans;
use ultramarine_node::config::Config;
use ultramarine_node::genesis::Genesis;
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_runtime::progress::Unit;
use ultramarine_runtime::{Registry, print};
use ultramarine_store::archive::{HeightSpan, SPAN_HEIGHTS_MAX};
use ultramarine_store::{OpenStore, StoreOptions, TellRead, Writer};
use ultramarine_types::storage::{Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, ChainIdentity, Height, ValueKey};

use crate::cli::home::HomeArgs;
use crate::progress::ShownProgress;

/// A running node says within this time how far it archived.
const STATUS_WAIT: Duration = Duration::from_secs(2);
const STATUS_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Write the heights of a stopped node into an archive; what is there already is left alone
    Export(Transfer),
    /// Read every byte of an archive and check every checksum and every hash; exit code 1 if any is wrong
    Verify(Look),
    /// Bring heights of an archive back into a stopped node, which serves them again
    Import(Transfer),
    /// Name every height that an archive lacks; exit code 1 if there are any
    Gaps(Look),
}

#[derive(Debug, clap::Args)]
pub struct Transfer {
    #[command(flatten)]
    home: HomeArgs,
    /// First height [default: 1]
    #[arg(long, value_name = "H")]
    from: Option<u64>,
    /// Last height [default: the newest]
    #[arg(long, value_name = "H")]
    to: Option<u64>,
    /// The archive, file:///folder or s3://bucket/folder [default: the home's archive.url]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Look {
    /// The archive, file:///folder or s3://bucket/folder [default: the home's archive.url]
    #[arg(long, value_name = "URL", required_unless_present = "home")]
    url: Option<String>,
    /// A node's home: whose archive it is, how it is reached, and how far it must go
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

pub fn run(action: &Action) -> anyhow::Result<()> {
    let runtime = super::client_runtime()?;
    match action {
        Action::Export(args) => runtime.block_on(export(args)),
        Action::Verify(args) => runtime.block_on(verify(args)),
        Action::Import(args) => runtime.block_on(import(args)),
        Action::Gaps(args) => runtime.block_on(gaps(args)),
    }
}

/// A home, as far as an archive is concerned.
struct Owner {
    config: Config,
    genesis: Genesis,
}

impl Owner {
    fn load(args: &HomeArgs) -> anyhow::Result<Self> {
        let (home, config, _) = args.load()?;
        let genesis = Genesis::load(&home)?;
        Ok(Self { config, genesis })
    }

    fn of(home: &Path) -> anyhow::Result<Self> {
        Self::load(&HomeArgs {
            home: home.to_owned(),
            set: Vec::new(),
            io: None,
            engine: None,
            jwt_secret: None,
            log: None,
            log_format: None,
        })
    }

    fn chain(&self) -> ChainIdentity {
        self.genesis.chain.identity
    }

    /// Opens the store of a node that does not run.
    fn store(&self) -> anyhow::Result<OpenStore> {
        let limits = self.genesis.chain.params.limits();
        let options = StoreOptions {
            archives: true,
            tell_read: show_read(),
            ..StoreOptions::new(limits, self.chain(), Registry::new())
        };
        let folder = &self.config.node.data_dir;
        ensure!(
            folder.join("index.redb").exists(),
            "{} holds no blocks: the node never ran",
            folder.display()
        );
        ultramarine_store::open(folder, &options).context("opening the data directory; stop the node first")
    }

    /// How far the node archived, asked of itself or read from its directory.
    async fn archived_through(&self) -> anyhow::Result<Height> {
        if let Some(through) = self.ask_running().await {
            return Ok(through);
        }
        if !self.config.node.data_dir.join("index.redb").exists() {
            return Ok(Height::GENESIS);
        }
        Ok(self.store()?.view.archived_through())
    }

    async fn ask_running(&self) -> Option<Height> {
        let client = HttpClient::new(&format!("http://{}", self.config.http.listen), STATUS_BYTES_MAX).ok()?;
        let answer = tokio::time::timeout(STATUS_WAIT, client.get("/status"))
            .await
            .ok()?
            .ok()?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        let is_ours = status.get("genesis_hash")?.as_str()? == self.chain().to_string();
        let through = status.get("archive")?.get("through")?.as_u64()?;
        is_ours.then_some(Height(through))
    }
}

/// Shows how far the store has read, if its opening takes long.
fn show_read() -> TellRead {
    let shown = Mutex::new(ShownProgress::new("opening", Unit::Bytes));
    TellRead::new(move |bytes, all_bytes| {
        shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .at(bytes, Some(all_bytes));
    })
}

/// The archive of a URL or of a home's settings.
fn place(url: Option<&str>, owner: Option<&Owner>) -> anyhow::Result<(ArchiveAddress, BucketAccess)> {
    let configured = owner.and_then(|owner| owner.config.archive.as_ref());
    let access = configured.map(|archive| archive.access.clone()).unwrap_or_default();
    let address = match url {
        Some(url) => {
            let read = ArchiveAddress::read(url.trim());
            read.map_err(|why| anyhow::anyhow!("--url {url:?} {why}; give {}", ArchiveAddress::EXPECTED))?
        }
        None => {
            let archive = configured.context("the home has no archive: set archive.url, or give --url")?;
            archive.address.clone()
        }
    };
    Ok((address, access))
}

/// The archives to look at: the home's chain's, or those of every chain that is there.
async fn opened(args: &Look) -> anyhow::Result<(Vec<Remote>, Option<Owner>)> {
    let owner = args.home.as_deref().map(Owner::of).transpose()?;
    let (address, access) = place(args.url.as_deref(), owner.as_ref())?;
    let chains = match &owner {
        Some(owner) => vec![owner.chain()],
        None => Remote::chains(&address, &access).await?,
    };
    ensure!(!chains.is_empty(), "{address} holds no archive");
    let open = |chain| Remote::open(&address, &access, chain, false);
    let remotes = chains.into_iter().map(open).collect::<Result<_, _>>()?;
    Ok((remotes, owner))
}

async fn verify(args: &Look) -> anyhow::Result<()> {
    let (remotes, _) = opened(args).await?;
    let mut wrong_count = 0;
    for remote in &remotes {
        let objects = remote.list().await?;
        let (mut heights_count, mut bytes, mut without_blobs) = (0_u64, 0_u64, 0_u64);
        let all_bytes = objects.iter().map(|object| object.bytes).sum();
        let mut shown = ShownProgress::new("verifying", Unit::Bytes);
        for object in &objects {
            shown.at(bytes, Some(all_bytes));
            let looked = audit::verify(remote, *object, |height| {
                heights_count += 1;
                without_blobs += u64::from(!height.is_whole());
                Ok(())
            });
            bytes += object.bytes;
            match looked.await {
                Ok(()) => {}
                Err(error @ (ArchiveError::Flawed { .. } | ArchiveError::Missing { .. })) => {
                    wrong_count += 1;
                    shown.clear();
                    print::line(&error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        drop(shown);
        print::line(format_args!(
            "{remote}, chain {}: {} objects, {heights_count} heights ({without_blobs} without their blobs), {:.1} MB",
            remote.chain(),
            objects.len(),
            bytes as f64 / 1e6
        ))?;
    }
    ensure!(wrong_count == 0, "{wrong_count} objects are not whole");
    Ok(())
}

async fn gaps(args: &Look) -> anyhow::Result<()> {
    let (remotes, owner) = opened(args).await?;
    let through = match &owner {
        Some(owner) => owner.archived_through().await?,
        None => Height::GENESIS,
    };
    let mut named_count = 0;
    for remote in &remotes {
        let mut shown = ShownProgress::new("looking", Unit::Objects);
        let found = audit::coverage(remote, through, |done, total| shown.at(done, Some(total))).await?;
        drop(shown);
        for broken in &found.broken {
            print::line(format_args!("broken: {broken}"))?;
        }
        for span in &found.missing {
            print::line(format_args!("missing: {span}"))?;
        }
        for span in &found.without_blobs {
            print::line(format_args!("without blobs: {span}"))?;
        }
        named_count += found.broken.len() + found.missing.len() + found.without_blobs.len();
        print::line(format_args!(
            "{remote}, chain {}: {} objects, up to height {}",
            remote.chain(),
            found.objects_count,
            found.last
        ))?;
    }
    ensure!(named_count == 0, "the archive has gaps");
    Ok(())
}

async fn export(args: &Transfer) -> anyhow::Result<()> {
    let owner = Owner::load(&args.home)?;
    let (address, access) = place(args.url.as_deref(), Some(&owner))?;
    let store = owner.store()?;
    let source: Arc<dyn Source> = store.view;
    let wanted = span(args, source.as_ref())?;
    let remote = Remote::open(&address, &access, owner.chain(), true)?;
    remote.check_chain().await?;
    let listed = remote.list().await?;
    let (mut next, mut objects_count) = (wanted.first, 0);
    let mut shown = ShownProgress::new("exporting", Unit::Heights);
    while wanted.has(next) {
        shown.at(next.0 - wanted.first.0, Some(wanted.last.0 - wanted.first.0 + 1));
        if let Some(there) = already_there(&remote, &listed, source.as_ref(), next).await? {
            next = there.next();
            continue;
        }
        // An object that is there ends a span: it is not written twice.
        let later = listed
            .iter()
            .map(|object| object.span.first)
            .filter(|first| *first > next);
        let last = later.min().map_or(wanted.last, |first| first.prev().min(wanted.last));
        let rest = HeightSpan::new(next, last);
        let object = spans::gather(source.as_ref(), owner.chain(), rest, SPAN_HEIGHTS_MAX.into()).await?;
        let written = spans::write(&remote, &object).await?;
        shown.clear();
        print::line(format_args!(
            "heights {}: written, read back and verified, {:.1} MB",
            written.span,
            written.bytes as f64 / 1e6
        ))?;
        let bare_count = object.index.rows.iter().filter(|row| !row.is_whole).count();
        if bare_count > 0 {
            print::note(format_args!(
                "note: {bare_count} of these heights are archived without their blobs: this node has none"
            ));
        }
        objects_count += 1;
        next = written.span.last.next();
    }
    drop(shown);
    print::line(format_args!(
        "{remote} has heights {wanted}; {objects_count} objects are new"
    ))?;
    Ok(())
}

/// Up to which height an object that is there has what the node has, from `next` on.
async fn already_there(
    remote: &Remote,
    listed: &[ListedObject],
    source: &dyn Source,
    next: Height,
) -> anyhow::Result<Option<Height>> {
    for object in listed.iter().filter(|object| object.span.has(next)) {
        let index = match remote.index(*object).await {
            Ok(index) => index,
            Err(ArchiveError::Flawed { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let rows = index.rows.iter().filter(|row| row.key.height >= next);
        let same = rows.take_while(|row| source.entry(row.key.height).is_some_and(|entry| row.is_as_held(&entry)));
        if let Some(last) = same.last() {
            return Ok(Some(last.key.height));
        }
    }
    Ok(None)
}

async fn import(args: &Transfer) -> anyhow::Result<()> {
    let owner = Owner::load(&args.home)?;
    let (address, access) = place(args.url.as_deref(), Some(&owner))?;
    let remote = Remote::open(&address, &access, owner.chain(), false)?;
    let OpenStore { state, view, .. } = owner.store()?;
    let wanted = span(args, view.as_ref())?;
    let listed = remote.list().await?;
    let mut writer = Writer::new(Pwrite::new(None), state);
    let (mut brought, mut lacking) = (0_u64, BTreeSet::new());
    let mut height = wanted.first;
    let mut shown = ShownProgress::new("importing", Unit::Heights);
    while wanted.has(height) {
        shown.at(height.0 - wanted.first.0, Some(wanted.last.0 - wanted.first.0 + 1));
        let is_here = view.decided_value(height).is_ok();
        let entry = view.entry(height);
        match (is_here, entry) {
            (true, _) => {}
            (false, None) => bail!("height {height} cannot be read here: `ultramarine store check` says why"),
            (false, Some(entry)) => match fetch(&remote, &listed, &entry.key()).await? {
                Some(assembly) => {
                    restore(&mut writer, assembly)?;
                    brought += 1;
                }
                None => {
                    lacking.insert(height);
                }
            },
        }
        height = height.next();
    }
    drop(shown);
    print::line(format_args!(
        "{brought} heights of {wanted} were brought back from {remote}"
    ))?;
    if let Some(heights) = owner.config.retention.blobs_heights.filter(|_| brought > 0) {
        let oldest_kept = view.head().0.saturating_sub(heights);
        if wanted.first.0 <= oldest_kept {
            print::note(format_args!(
                "note: retention.blobs_heights is {heights}, so the node frees heights up to {oldest_kept} again when \
                 it runs; set it higher, or to 0, to serve them"
            ));
        }
    }
    ensure!(
        lacking.is_empty(),
        "the archive lacks {} of these heights with their blobs, the first of them {}",
        lacking.len(),
        lacking.first().copied().unwrap_or_default()
    );
    Ok(())
}

/// A height's value, whole and the one that was decided, from any object that has it.
async fn fetch(remote: &Remote, listed: &[ListedObject], key: &ValueKey) -> anyhow::Result<Option<Assembly>> {
    for object in listed.iter().filter(|object| object.span.has(key.height)) {
        match remote.height(*object, key.height).await {
            Ok(found) if found.is_whole() && found.assembly.key == *key => {
                return Ok(Some(found.assembly));
            }
            Ok(_) => {}
            Err(error @ ArchiveError::Flawed { .. }) => print::note(format_args!("note: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn restore(writer: &mut Writer<Pwrite>, assembly: Assembly) -> anyhow::Result<()> {
    let key = assembly.key;
    let mut replies = Vec::new();
    let request = StoreRequest::Put {
        assembly,
        tag: Tag::Restored,
    };
    let put = ready(async {
        writer.handle(request, &mut replies).await?;
        writer.flush(&mut replies).await
    });
    put.with_context(|| format!("storing {key}"))?;
    let is_whole = |reply: &StoreReply| matches!(reply, StoreReply::Stored { blobs: Blobs::Held, .. });
    match replies.iter().find(|reply| !is_whole(reply)) {
        Some(StoreReply::Refused { reason, .. }) => bail!("{key} is not stored: {reason}"),
        _ => Ok(()),
    }
}

/// The heights that are meant: decided ones.
fn span(args: &Transfer, source: &dyn Source) -> anyhow::Result<HeightSpan> {
    let head = source.head();
    let (from, to) = (args.from.unwrap_or(1), args.to.unwrap_or(head.0));
    ensure!(
        from >= 1 && from <= to,
        "--from {from} --to {to}: give heights from 1 on, the lower one first"
    );
    ensure!(to <= head.0, "height {to} is not decided here: the newest is {head}");
    Ok(HeightSpan::new(Height(from), Height(to)))
}
