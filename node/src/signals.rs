//! This file knows what signals mean to a process that runs until it is told to stop.
//!
//! | signal | |
//! |---|---|
//! | INT, TERM, HUP | an orderly stop; another one, later than [`REPEAT_WAIT`], ends the process at once |
//! | USR1, USR2 | nothing, with a line that says so |
//!
//! An INT or HUP that was ignored when the process started stays ignored: so ask `nohup`, and shells for what they run in
//! the background. TERM always ends it, as service managers must be able to.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use ultramarine_runtime::signals::{Signal, ignore, is_ignored, restore_default};

/// Within this time a second signal is the same wish again: `timeout` and some shells send each signal twice, to the
/// process and to its group.
pub const REPEAT_WAIT: Duration = Duration::from_secs(1);

/// Keeps signals ignored that are so now, whoever listens to them later: the embedded execution client does to INT, and
/// would end by itself. To be called before anything listens.
pub fn keep_ignored() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    for (name, kind) in [
        (Signal::INT, SignalKind::interrupt()),
        (Signal::HUP, SignalKind::hangup()),
    ] {
        if is_ignored(name) {
            // tokio sets a handler once in a process: after that, nothing takes our wish back.
            drop(signal(kind)?);
            ignore(name);
        }
    }
    Ok(())
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    interrupt: Option<Stream>,
    hangup: Option<Stream>,
    terminate: Stream,
    user: [Stream; 2],
}

impl Signals {
    /// Takes them over. To be called inside a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let unless_ignored = |name, kind| (!is_ignored(name)).then(|| signal(kind)).transpose();
        Ok(Self {
            interrupt: unless_ignored(Signal::INT, SignalKind::interrupt())?,
            hangup: unless_ignored(Signal::HUP, SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            user: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Waits until one of them asks for a stop; which, for people.
    pub async fn asked(&mut self) -> &'static str {
        let Self {
            interrupt,
            hangup,
            terminate,
            user: [first, second],
        } = self;
        loop {
            let useless = tokio::select! {
                () = received(interrupt) => return "interrupted (SIGINT)",
                () = received(hangup) => return "hung up (SIGHUP)",
                _ = terminate.recv() => return "asked to terminate (SIGTERM)",
                _ = first.recv() => "SIGUSR1",
                _ = second.recv() => "SIGUSR2",
            };
            tracing::warn!("{useless} means nothing to this process: going on");
        }
    }

    /// From [`REPEAT_WAIT`] on, another signal ends the process at once, by the kernel's hand.
    pub fn let_another_end_it(&self) {
        let mut insist = vec![Signal::TERM];
        insist.extend(self.interrupt.as_ref().map(|_| Signal::INT));
        insist.extend(self.hangup.as_ref().map(|_| Signal::HUP));
        let later = move || {
            std::thread::sleep(REPEAT_WAIT);
            insist.into_iter().for_each(restore_default);
        };
        // Without a thread, the orderly stop is all there is, and it is bounded in time.
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(later);
    }
}

async fn received(stream: &mut Option<Stream>) {
    match stream {
        Some(stream) => drop(stream.recv().await),
        None => std::future::pending().await,
    }
}
