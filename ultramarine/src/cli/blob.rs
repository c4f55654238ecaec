//! This file knows `ultramarine blob`: a file becomes blobs on one node and a file again from another.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Context;
use ultramarine_node::genesis::execution::dev_account;
use ultramarine_runtime::print;
use ultramarine_types::canonical::sha256;

use crate::program;
use crate::publish::{self, BlobName, GetOptions, Progress, PutBlob, PutOptions};

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
    /// The file
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
    /// Where to write the file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its blobs, as in the command that `blob put` ends with: a versioned hash alone is looked for in recent blocks
    /// only
    #[arg(value_name = "HASH[@HEIGHT]", required = true)]
    blobs: Vec<BlobName>,
}

pub fn run(action: Action) -> anyhow::Result<()> {
    crate::log::start("warn")?;
    let runtime = super::client_runtime()?;
    match action {
        Action::Put(args) => runtime.block_on(put(args)),
        Action::Get(args) => runtime.block_on(get(args)),
    }
}

/// Prints one line a blob as it is decided, in the file's order: its versioned hash and its height.
async fn put(args: Put) -> anyhow::Result<()> {
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
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
    let outcome = publish::put(options, |blob| {
        if printed.is_ok() {
            printed = print::line(line(blob));
        }
    })
    .await?;
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

fn line(blob: &PutBlob) -> String {
    let hash = blob.versioned_hash;
    match blob.progress {
        Progress::Decided(height) => format!("{hash} {height}"),
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
            Progress::Decided(height) => Some(height),
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

/// Two at once would give their transactions the same nonces, and clients drop what is replaced. So one waits for the
/// other as long as both run on this machine; held until the answer is dropped. Where no lock can be had, it is done
/// without.
fn take_turn(rpc: &str, account: &str) -> Option<File> {
    let digest = sha256(format!("{rpc} {account}").as_bytes());
    let path = std::env::temp_dir().join(format!("ultramarine-put-{}.lock", hex::encode(&digest.0[..8])));
    let mut open = File::options();
    // Not what somebody else laid there for us.
    open.create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let lock = open.open(path).ok()?;
    if lock.try_lock().is_err() {
        print::note("another `blob put` with this account is under way on this machine: waiting for it");
        lock.lock().ok()?;
    }
    Some(lock)
}

async fn get(args: Get) -> anyhow::Result<()> {
    let file = publish::get(&GetOptions {
        node: args.node,
        blobs: args.blobs,
    })
    .await?;
    write_whole(&args.out, &file).with_context(|| format!("cannot write {}", args.out.display()))?;
    let out = args.out.display();
    print::line(format_args!("{out}: {} bytes", file.len()))
        .with_context(|| format!("{out} is written and whole; only this was not printed"))
}

/// Writes a file whole or not at all: what was there stays until all of it is written. What is no plain file, such as a
/// pipe, is written as it is.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(path, bytes);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let second = ask(&rpc, "0xa");
        assert!(second.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        drop(first);
        assert_eq!(second.recv_timeout(patience), Ok(true));
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
        let blobs = [blob(9, Progress::Decided(12)), blob(1, Progress::Pooled)];
        let (first, second) = (B256::repeat_byte(9), B256::repeat_byte(1));
        let command = get_command(&blobs);
        assert!(command.ends_with(&format!(" {first}@12 {second}")), "{command}");
        assert_eq!(line(&blobs[0]), format!("{first} 12"));
        assert_eq!(line(&blobs[1]), format!("{second} in the pool"));
    }
}
