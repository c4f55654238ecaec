//! This file knows what can happen in a world, and to whom.

use ultramarine_kzg_pipeline::foreman;
use ultramarine_net::reply::PeerRequest;
use ultramarine_types::execution::EngineCall;
use ultramarine_types::network::NetEvent;
use ultramarine_types::verify::Verdict;
use ultramarine_types::{Height, Nanos};

use crate::wire::{SimFrame, StreamId};

/// What a lane's task gives the foreman: an opened claim is whether it holds, and a sum is whether all of them do.
pub(crate) type Answer = foreman::Input<bool, bool>;

/// What a task gave: verdicts about parts for whoever asked, and the answer for the foreman.
#[derive(Debug)]
pub(crate) struct Done {
    pub verdicts: Vec<Verdict>,
    pub answer: Answer,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame arrives, if its connection still stands.
    Frame {
        from: usize,
        to: usize,
        epoch: u64,
        /// Its bytes.
        bytes: usize,
        step: Step,
        frame: Box<SimFrame>,
    },
    /// An adversary sends a frame that it kept back.
    Kept {
        from: usize,
        life: u32,
        to: usize,
        frame: Box<SimFrame>,
    },
    /// A node's line is free for the next bytes of values.
    LineFree {
        node: usize,
        life: u32,
        at: Nanos,
    },
    /// A node learns that a peer has read bytes of a stream.
    Read {
        node: usize,
        peer: usize,
        epoch: u64,
        stream: StreamId,
        bytes: u64,
    },
    /// A node learns that a peer reads no more of a stream.
    Stopped {
        node: usize,
        peer: usize,
        epoch: u64,
        stream: StreamId,
    },
    /// A peer can afford the answer that it asked for.
    Answer {
        node: usize,
        peer: usize,
        epoch: u64,
        stream: StreamId,
        request: Box<PeerRequest>,
    },
    /// A node's core may hear a status that it was too soon for.
    Statuses {
        node: usize,
        life: u32,
    },
    /// Full nodes wait no longer for validators to have a value.
    FullNodes {
        node: usize,
        life: u32,
    },
    /// A connection is closed.
    Close {
        a: usize,
        b: usize,
        epoch: u64,
    },
    /// A process goes on that stood still.
    GoOn {
        node: usize,
    },
    /// A stream broke under way.
    StreamGone {
        node: usize,
        life: u32,
        stream: StreamId,
    },
    /// The network tile tells the core.
    Tell {
        node: usize,
        life: u32,
        event: Box<NetEvent>,
    },
    Wake {
        node: usize,
        life: u32,
        at: Nanos,
    },
    JoinWake {
        node: usize,
        life: u32,
        at: Nanos,
    },
    /// The wall clock is told, once a second.
    WallTick {
        node: usize,
        life: u32,
    },
    /// A group of store requests is durable.
    DiskDone {
        node: usize,
        life: u32,
    },
    /// The execution client answers.
    EngineDone {
        node: usize,
        life: u32,
        el_life: u32,
        call: Box<EngineCall>,
    },
    /// A lane has carried out a task.
    LaneDone {
        node: usize,
        life: u32,
        done: Box<Done>,
    },
    /// A sync request has waited long enough.
    SyncTimeout {
        node: usize,
        life: u32,
        stream: StreamId,
        due: Nanos,
    },
    /// Two nodes try to connect.
    Connect {
        a: usize,
        b: usize,
    },
    /// A node notices that a connection is gone.
    PeerLost {
        node: usize,
        life: u32,
        peer: usize,
    },
    /// A connection over which one direction is blocked times out.
    Idle {
        a: usize,
        b: usize,
        epoch: u64,
    },
    Heal {
        cut: Vec<(usize, usize)>,
    },
    Start {
        node: usize,
    },
    /// An execution client starts.
    ElStart {
        node: usize,
    },
    /// The next random fault.
    Fault,
    /// Something rots.
    Rot,
    /// A height is read, and found to be rotten if it is.
    Scrub {
        node: usize,
        life: u32,
        height: Height,
    },
}

impl Event {
    /// The process that it happens to, if it must run for that.
    pub fn happens_to(&self) -> Option<usize> {
        match self {
            Self::Frame { to, .. } => Some(*to),
            Self::Kept { from, .. } => Some(*from),
            Self::StreamGone { node, .. }
            | Self::Tell { node, .. }
            | Self::Wake { node, .. }
            | Self::JoinWake { node, .. }
            | Self::WallTick { node, .. }
            | Self::DiskDone { node, .. }
            | Self::EngineDone { node, .. }
            | Self::LaneDone { node, .. }
            | Self::SyncTimeout { node, .. }
            | Self::PeerLost { node, .. }
            | Self::Scrub { node, .. }
            | Self::LineFree { node, .. }
            | Self::Read { node, .. }
            | Self::Stopped { node, .. }
            | Self::Answer { node, .. }
            | Self::Statuses { node, .. }
            | Self::FullNodes { node, .. } => Some(*node),
            Self::Connect { .. }
            | Self::Idle { .. }
            | Self::Heal { .. }
            | Self::Start { .. }
            | Self::ElStart { .. }
            | Self::Fault
            | Self::Rot
            | Self::Close { .. }
            | Self::GoOn { .. } => None,
        }
    }
}

/// How far a frame has come that arrives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    /// Its last byte is at the receiver's line.
    Reached,
    /// The line has brought it in.
    Received,
    /// Its sender can afford that it is read.
    Paid,
}
