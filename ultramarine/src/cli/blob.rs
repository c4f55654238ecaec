//! This file knows `ultramarine blob`: a file becomes blobs on one node and a file again from another.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Context;
use tokio::sync::oneshot;
use ultramarine_node::genesis::execution::dev_account;
use ultramarine_node::signals::Signals;
use ultramarine_runtime::outlet::Descriptor;
use ultramarine_runtime::print::{self, Unprinted};
use ultramarine_runtime::progress::Unit;
use ultramarine_runtime::signals;
use ultramarine_types::canonical::sha256;

use crate::program;
use crate::progress::Shown;
use crate::publish::{self, BlobName, FILE_BYTES_MAX, GetOptions, News, Progress, PutBlob, PutOptions, Step};

/// Longest wait that can be asked for, in seconds.
const YEAR_S: u64 = 365 * 24 * 3600;

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Publish a file as blobs through an execution client, and wait until it is decided
    Put(Put),
    /// Restore a published file from a node
    Get(Get),
}

#[derive(Debug, clap::Args)]
pub struct Put {
    /// The file, of at most 512 MiB: all of it is read before the first of its blobs is sent
    file: PathBuf,
    /// JSON-RPC of the execution client, such as http://127.0.0.1:8545
    #[arg(long, value_name = "URL")]
    rpc: String,
    /// File with the private key of the account that pays, 64 hex digits, permissions 0600; without it, an account that
    /// every network made by `devnet` or `testnet` has funded
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Give up when no further transaction of the file has been decided for so long, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(..=YEAR_S)
    )]
    timeout: u64,
}

#[derive(Debug, clap::Args)]
pub struct Get {
    /// HTTP of a node, such as http://127.0.0.1:8580
    #[arg(long, value_name = "URL")]
    node: String,
    /// Where to write the file; one that is there is replaced once all is fetched and checked
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its blobs, as in the command that `blob put` ends with: a versioned hash alone is looked for in recent blocks
    /// only
    #[arg(value_name = "HASH[@HEIGHT]", required = true)]
    blobs: Vec<BlobName>,
}

pub fn run(action: Action) -> anyhow::Result<()> {
    crate::log::start("warn")?;
    match action {
        Action::Put(args) => {
            // Its second thread hears signals while the first may wait for whoever reads what is printed.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(put(args))
        }
        Action::Get(args) => get(args),
    }
}

/// Prints one line a blob as it is decided, in the file's order: its versioned hash, its height and its slot.
async fn put(args: Put) -> anyhow::Result<()> {
    let file = publish::file::load(&args.file, FILE_BYTES_MAX)?;
    let signer = signer(args.key.as_deref())?;
    let _turn = take_turn(&args.rpc, &signer.address().to_string());
    let options = PutOptions {
        file,
        rpc: args.rpc,
        signer,
        patience: Duration::from_secs(args.timeout),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    // An output that takes no more is no reason to stop half-way; what it missed is said at the end.
    let mut printed = Ok(());
    let mut shown: Option<(Step, Shown)> = None;
    let outcome = publish::put(options, asked_to_stop()?, |news| match news {
        News::Step { step, done, total } => {
            if shown.as_ref().is_none_or(|(before, _)| *before != step) {
                shown = Some((step, Shown::new(step.name(), Unit::Blobs)));
            }
            if let Some((_, shown)) = &mut shown {
                shown.at(done, Some(total));
            }
        }
        News::Decided(blob) => {
            if let Some((_, shown)) = &shown {
                shown.clear();
            }
            if printed.is_ok() {
                printed = print::line(line(blob));
            }
        }
    })
    .await;
    drop(shown);
    let outcome = outcome?;
    let Some(trouble) = outcome.trouble else {
        print::reason(format_args!(
            "\nRestore it from any node:\n  {}",
            get_command(&outcome.blobs)
        ));
        return printed.context("the file is published; only not every line about it was printed");
    };
    print::reason("\nNot all of it is decided:");
    outcome
        .blobs
        .iter()
        .for_each(|blob| print::reason(format_args!("  {}", line(blob))));
    let is_pooled = |blob: &PutBlob| matches!(blob.progress, Progress::Pooled | Progress::Decided(_));
    if outcome.blobs.iter().all(is_pooled) {
        print::reason(format_args!(
            "What is in the pool is not lost as long as that client runs; when it is decided, restore the file \
             with\n  {}",
            get_command(&outcome.blobs)
        ));
    } else {
        print::reason("Publish the file again when the execution client takes it.");
    }
    Err(trouble)
}

/// Ready with the reason when a signal asks for the end. Another one ends the process at once.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::listen().context("cannot take over signals")?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let why = signals.asked().await;
        signals.let_another_end_it();
        let _ = tell.send(why);
    });
    Ok(async {
        match told.await {
            Ok(why) => why,
            // Nobody listens any more.
            Err(_) => std::future::pending().await,
        }
    })
}

fn line(blob: &PutBlob) -> String {
    let hash = blob.versioned_hash;
    match blob.progress {
        Progress::Decided(block) => format!("{hash} {} {}", block.height, block.slot),
        Progress::Pooled => format!("{hash} in the pool"),
        Progress::Unanswered => format!("{hash} sent, and not answered"),
        Progress::Unsent => format!("{hash} not sent"),
    }
}

/// The command that restores a file, with what is known of where its blobs are.
fn get_command(blobs: &[PutBlob]) -> String {
    let name = |blob: &PutBlob| BlobName {
        versioned_hash: blob.versioned_hash,
        height: match blob.progress {
            Progress::Decided(block) => Some(block.height),
            Progress::Pooled | Progress::Unanswered | Progress::Unsent => None,
        },
    };
    let names: Vec<String> = blobs.iter().map(|blob| name(blob).to_string()).collect();
    format!("{} blob get --node URL --out FILE {}", program::name(), names.join(" "))
}

fn signer(key: Option<&Path>) -> anyhow::Result<PrivateKeySigner> {
    match key {
        // The devnet's publishers use those after it.
        None => Ok(dev_account(0)),
        Some(path) => {
            let secret = ultramarine_node::keys::read_secret(path)?;
            PrivateKeySigner::from_bytes(&B256::new(secret))
                .with_context(|| format!("{} is no private key", path.display()))
        }
    }
}

/// Held while one account publishes through one client.
struct PutTurn {
    path: PathBuf,
    _lock: File,
}

impl Drop for PutTurn {
    fn drop(&mut self) {
        // Before it is unlocked, so that nobody removes another one's. Whoever waits for this file looks for a new one.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Two at once would give their transactions the same nonces, and clients drop what is replaced. So one waits for the
/// other as long as both run on this machine; held until the answer is dropped. Where no lock can be had, it is done
/// without.
fn take_turn(rpc: &str, account: &str) -> Option<PutTurn> {
    let digest = sha256(format!("{rpc} {account}").as_bytes());
    let path = std::env::temp_dir().join(format!("ultramarine-put-{}.lock", hex::encode(&digest.0[..8])));
    let mut open = File::options();
    // Not what somebody else laid there for us.
    open.create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let mut is_told = false;
    loop {
        let lock = open.open(&path).ok()?;
        if lock.try_lock().is_err() {
            if !is_told {
                print::note("another `blob put` with this account is under way on this machine: waiting for it");
            }
            is_told = true;
            lock.lock().ok()?;
        }
        let held = lock.metadata().ok()?;
        // The one before us may have removed what we waited for.
        if std::fs::symlink_metadata(&path).is_ok_and(|there| is_same(&there, &held)) {
            return Some(PutTurn { path, _lock: lock });
        }
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn get(args: Get) -> anyhow::Result<()> {
    let options = GetOptions {
        node: args.node,
        blobs: args.blobs,
    };
    let mut shown = Shown::new("fetching", Unit::Blobs);
    let getting = publish::get(&options, |done, total| shown.at(done, Some(total)));
    let file = super::client_runtime()?.block_on(getting);
    drop(shown);
    let file = file?;
    let out = args.out.display();
    if is_stdout(&args.out) {
        // Not by its name: that would empty a file that others append to. And nothing else goes there.
        let mut stdout = Descriptor::Stdout;
        return Ok(stdout.write_all(&file).map_err(Unprinted::from)?);
    }
    write_whole(&args.out, &file).with_context(|| format!("cannot write {out}"))?;
    print::line(format_args!("{out}: {} bytes", file.len()))
        .with_context(|| format!("{out} is written and whole; only this was not printed"))
}

/// Whether a path names our standard output, as `/dev/stdout` does, and not by chance the file that it goes to.
fn is_stdout(path: &Path) -> bool {
    let is_special = std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    is_special
        && stdout
            .and_then(|stdout| Ok(is_same(&stdout.metadata()?, &std::fs::metadata(path)?)))
            .unwrap_or(false)
}

/// Writes a file whole or not at all: what was there stays until all of it is written. What is no plain file, such as a
/// pipe, is written as it is.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_file = |metadata: io::Result<Metadata>| metadata.map(|there| there.is_file());
    // Behind a link to a file, that file.
    let behind = match is_file(std::fs::metadata(path)) {
        Ok(true) => Some(path.canonicalize()?),
        Ok(false) => return std::fs::write(path, bytes),
        Err(_) if std::fs::symlink_metadata(path).is_ok() => return std::fs::write(path, bytes),
        Err(_) => None,
    };
    let path = behind.as_deref().unwrap_or(path);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let beside = path.with_file_name(name);
    // Whoever interrupts it finds the old file or the new one, and none beside.
    let deferred = signals::defer();
    let mut file = File::create_new(&beside)?;
    let written = file.write_all(bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    drop(deferred);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::DecidedBlock;

    #[test]
    fn one_account_has_one_turn_at_a_time_with_one_client() {
        let rpc = format!("http://127.0.0.1:1/{}", std::process::id());
        let ask = |rpc: &str, account: &'static str| {
            let (told, heard) = std::sync::mpsc::channel();
            let rpc = rpc.to_owned();
            std::thread::spawn(move || told.send(take_turn(&rpc, account).is_some()));
            heard
        };
        let patience = Duration::from_secs(30);
        let first = take_turn(&rpc, "0xa").expect("temporary files can be locked");
        for (rpc, account) in [(rpc.as_str(), "0xb"), (format!("{rpc}/other").as_str(), "0xa")] {
            let other = ask(rpc, account).recv_timeout(patience);
            assert_eq!(other, Ok(true), "{rpc} {account} does not wait");
        }
        let path = first.path.clone();
        let second = ask(&rpc, "0xa");
        assert!(second.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        drop(first);
        assert_eq!(second.recv_timeout(patience), Ok(true));
        let first = take_turn(&rpc, "0xa").expect("all are done");
        drop(first);
        assert!(!path.exists(), "nothing is left in the folder for temporary files");
    }

    #[test]
    fn turns_that_come_and_go_never_overlap() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let rpc = format!("http://127.0.0.1:2/{}", std::process::id());
        let holders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let turn = take_turn(&rpc, "0xa").expect("temporary files can be locked");
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        std::thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
    }

    #[test]
    fn a_file_behind_a_link_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "before").expect("the folder is writable");
        let mut reader = File::open(&file).expect("it is there");
        std::os::unix::fs::symlink("file", &link).expect("the folder is writable");
        write_whole(&link, b"after").expect("there is room");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"after");
        assert!(link.is_symlink());
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut reader, &mut seen).expect("it was open");
        assert_eq!(seen, "before", "it was not emptied on the way");
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        std::fs::write(&path, "before").expect("the folder is writable");
        let mut reader = File::open(&path).expect("it is there");
        write_whole(&path, b"after").expect("there is room");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"after");
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut reader, &mut seen).expect("it was open");
        assert_eq!(seen, "before", "the old file is left as it was");
        // The name of a folder cannot be taken by a file.
        let taken = folder.path().join("taken");
        std::fs::create_dir_all(&taken).expect("the folder is writable");
        write_whole(&taken, b"x").expect_err("a folder");
        write_whole(&folder.path().join("none/out"), b"x").expect_err("no such folder");
        // A name with a slash behind it is that of a folder, which shows when all is written.
        write_whole(&folder.path().join("new/"), b"x").expect_err("a folder's name");
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("it is there")
            .map(|entry| entry.expect("it lists").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["out", "taken"], "nothing is left beside");
    }

    #[test]
    fn what_is_no_plain_file_is_written_and_not_replaced() {
        use rustix::fs::{CWD, Mode, mkfifoat};
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("the folder is writable");
        // Open on both sides, so that neither waits for the other.
        let mut pipe = File::options().read(true).write(true).open(&path).expect("it is there");
        write_whole(&path, b"x").expect("it takes a byte");
        let still = std::fs::symlink_metadata(&path).expect("it is there").file_type();
        assert!(still.is_fifo());
        let mut byte = [0];
        std::io::Read::read_exact(&mut pipe, &mut byte).expect("it is in the pipe");
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn the_command_that_restores_a_file_keeps_its_order_and_says_what_heights_are_known() {
        let blob = |byte, progress| PutBlob {
            versioned_hash: B256::repeat_byte(byte),
            progress,
        };
        let block = DecidedBlock { height: 12, slot: 34 };
        let blobs = [blob(9, Progress::Decided(block)), blob(1, Progress::Pooled)];
        let (first, second) = (B256::repeat_byte(9), B256::repeat_byte(1));
        let command = get_command(&blobs);
        assert!(command.ends_with(&format!(" {first}@12 {second}")), "{command}");
        assert_eq!(line(&blobs[0]), format!("{first} 12 34"));
        assert_eq!(line(&blobs[1]), format!("{second} in the pool"));
    }
}
