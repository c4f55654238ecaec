//! This file knows how to run the store as a tile: on glommio's ring, or on plain system calls where that is refused.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use glommio::timer::Timer;
use ultramarine_runtime::medium::{Medium, Pwrite, Uring, ready, run_on_ring, takes_direct_io};
use ultramarine_runtime::{Io, Pulse, Receiver, RingOps, Sender, TileContext};
use ultramarine_types::Nanos;
use ultramarine_types::storage::{StoreReply, StoreRequest};

use crate::failure::Failure;
use crate::metrics::system_calls;
use crate::writer::{State, Writer};

/// Most requests under one sync: everything that waited while the sync before ran, and a bound for what replies hold.
const GROUP_REQUESTS_MAX: usize = 256;
/// Damaged heights told of with one group.
const DAMAGE_TOLD_MAX: usize = 64;
/// How long damage that a reader met waits to be told of while nobody asks for anything.
const DAMAGE_WAIT: Nanos = Nanos::from_millis(500);

/// Why the storage tile ends before the node does.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// There is no ring to run on. The words say what to do.
    #[error(transparent)]
    Ring(#[from] io::Error),
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Serves requests until the node halts or nobody can ask any more. To be the body of the tile's thread.
///
/// Replies wait while their link is full; the core must keep taking them while it waits for room in the request link.
/// An error is the reason to stop, and was sent as [`StoreReply::Failed`] before.
pub fn run(
    context: TileContext,
    state: State,
    io: Io,
    requests: Receiver<StoreRequest>,
    replies: Sender<StoreReply>,
) -> Result<(), TileError> {
    // glommio's files are direct or nothing. A folder that cannot be asked fails at its first write, with a better
    // reason.
    let direct = takes_direct_io(&state.folder).unwrap_or(true);
    let io = if direct { io } else { Io::Fallback };
    let failure = match io {
        Io::Uring => {
            let medium = Uring::new(Some(RingOps::new(&context.registry, "store")));
            let served = run_on_ring(serve(context, Writer::new(medium, state), requests, replies));
            served?
        }
        Io::Fallback => {
            let calls = system_calls(&context.registry);
            serve_blocking(context, Writer::new(Pwrite::new(Some(calls)), state), requests, replies)
        }
    };
    Ok(failure?)
}

/// What the tile wakes up for.
enum Next {
    Request(StoreRequest),
    /// Nobody asked for as long as damage may wait.
    Nothing,
    Closed,
}

/// The next request, or none for a while.
async fn next(requests: &mut Receiver<StoreRequest>) -> Next {
    let mut timer = pin!(Timer::new(DAMAGE_WAIT.as_duration()));
    let mut request = pin!(requests.recv_glommio());
    poll_fn(|context| {
        if let Poll::Ready(request) = request.as_mut().poll(context) {
            return Poll::Ready(request.map_or(Next::Closed, Next::Request));
        }
        timer.as_mut().poll(context).map(|_| Next::Nothing)
    })
    .await
}

async fn serve<M: Medium>(
    context: TileContext,
    mut writer: Writer<M>,
    mut requests: Receiver<StoreRequest>,
    replies: Sender<StoreReply>,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    while let Some(next) = context.halt.unless_stopped(next(&mut requests)).await {
        let outcome = match next {
            Next::Request(first) => group(&mut writer, first, &mut requests, &mut out, &context.pulse).await,
            Next::Nothing => writer.flush(&mut out).await,
            Next::Closed => break,
        };
        writer.tell_damage(DAMAGE_TOLD_MAX, &mut out);
        for reply in out.drain(..).chain(outcome.as_ref().err().map(failed)) {
            let Some(Ok(())) = context.halt.unless_stopped(replies.send_async(reply)).await else {
                return outcome;
            };
        }
        context.pulse.rest();
        outcome?;
    }
    Ok(())
}

fn serve_blocking(
    context: TileContext,
    mut writer: Writer<Pwrite>,
    mut requests: Receiver<StoreRequest>,
    replies: Sender<StoreReply>,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    while !context.halt.is_stopped() {
        let outcome = match requests.recv_until(None, &context.clock) {
            Some(first) => {
                context.busy.enter();
                let outcome = ready(group(&mut writer, first, &mut requests, &mut out, &context.pulse));
                context.busy.leave();
                outcome
            }
            None if requests.is_closed() && requests.is_empty() => break,
            None => ready(writer.flush(&mut out)),
        };
        writer.tell_damage(DAMAGE_TOLD_MAX, &mut out);
        for reply in out.drain(..).chain(outcome.as_ref().err().map(failed)) {
            if replies.send(reply).is_err() {
                return outcome;
            }
        }
        context.pulse.rest();
        outcome?;
    }
    Ok(())
}

/// Carries out what waits, under one sync.
async fn group<M: Medium>(
    writer: &mut Writer<M>,
    first: StoreRequest,
    requests: &mut Receiver<StoreRequest>,
    out: &mut Vec<StoreReply>,
    pulse: &Pulse,
) -> Result<(), Failure> {
    pulse.beat();
    writer.handle(first, out).await?;
    for _ in 1..GROUP_REQUESTS_MAX {
        let Some(next) = requests.try_recv() else { break };
        pulse.beat();
        writer.handle(next, out).await?;
    }
    pulse.beat();
    writer.flush(out).await?;
    assert!(out.len() <= GROUP_REQUESTS_MAX, "a request has one answer at most");
    Ok(())
}

fn failed(failure: &Failure) -> StoreReply {
    StoreReply::Failed {
        reason: failure.to_string(),
    }
}
