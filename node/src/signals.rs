//! This file knows what signals mean to a process that runs until it is told to stop.
//!
//! | signal | |
//! |---|---|
//! | INT, TERM, HUP | an orderly stop; another one, more than [`REPEAT_WAIT`] later, ends the process at once |
//! | USR1, USR2 | nothing, with a line that says so |
//!
//! If INT or HUP was ignored when the process started, it stays ignored: `nohup` asks for that, and so do shells for
//! what they run in the background. TERM always ends the process, as service managers must be able to end it.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::oneshot;
use ultramarine_runtime::signals::{Signal, ignore, is_ignored, restore_default};

/// Within this time a second signal means the same request: `timeout` and some shells send each signal twice, to the
/// process and to its group.
pub const REPEAT_WAIT: Duration = Duration::from_secs(1);

/// Keeps ignored signals ignored, even if somebody listens to them later: the embedded execution client listens to INT,
/// and would end by itself. Call this before anything listens.
pub fn keep_ignored() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    for (name, kind) in [
        (Signal::INT, SignalKind::interrupt()),
        (Signal::HUP, SignalKind::hangup()),
    ] {
        if is_ignored(name) {
            // tokio sets a handler only once in a process, so after this nothing undoes what we ask for.
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
    /// Takes them over. Call this inside a tokio runtime.
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

    /// Waits until one of them asks for a stop, and names it for people.
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

    /// Those that ask for a stop.
    fn asking(&self) -> Vec<Signal> {
        let mut asking = vec![Signal::TERM];
        asking.extend(self.interrupt.as_ref().map(|_| Signal::INT));
        asking.extend(self.hangup.as_ref().map(|_| Signal::HUP));
        asking
    }

    /// After [`REPEAT_WAIT`], lets the kernel end the process at once if another signal comes.
    pub fn let_another_end_it(&self) {
        let insist = self.asking();
        let later = move || {
            std::thread::sleep(REPEAT_WAIT);
            insist.into_iter().for_each(restore_default);
        };
        // If there is no thread to be had, the orderly stop must do. It is bounded in time.
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(later);
    }
}

/// What a node that starts hears of signals, from the first moment on: whoever asks for a stop during a slow start
/// gets one, in order, as soon as the start is over.
///
/// Once a stop was asked for, or this is dropped, another signal ends the process, after [`REPEAT_WAIT`].
#[derive(Debug)]
pub struct StopRequest {
    asked: oneshot::Receiver<&'static str>,
}

impl StopRequest {
    /// Takes the signals over, on a thread of their own. Call this before anything slow.
    pub fn take_over() -> io::Result<Self> {
        keep_ignored()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        let (mut tell, asked) = oneshot::channel();
        let wait = async move {
            let why = tokio::select! {
                why = signals.asked() => Some(why),
                () = tell.closed() => None,
            };
            if let Some(why) = why {
                // If nobody waits any more, the process is ending already.
                let _ = tell.send(why);
            }
            tokio::time::sleep(REPEAT_WAIT).await;
            signals.asking().into_iter().for_each(restore_default);
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(wait))?;
        Ok(Self { asked })
    }

    /// Waits until a signal asks for a stop, and names it for people.
    pub async fn asked(self) -> &'static str {
        match self.asked.await {
            Ok(why) => why,
            // Only a panic ends the thread before it has sent: nobody can ask any more.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn received(stream: &mut Option<Stream>) {
    match stream {
        Some(stream) => drop(stream.recv().await),
        None => std::future::pending().await,
    }
}
