//! This file knows how to take one step: the earliest event, told to whom it concerns, and what comes of it.

use ultramarine_core::Stop;
use ultramarine_core::io::{Event as CoreEvent, Input, Output};
use ultramarine_types::{Machine, Nanos};

use super::{Event, World, WorldNotice};
use crate::checks::forgetting;
use crate::shown;
use crate::wire::SimFrame;

impl World {
    /// Takes one step; `false` when nothing is planned or an invariant is broken.
    pub fn step(&mut self) -> bool {
        if self.checks.violation.is_some() {
            return false;
        }
        let Some((at, number, event)) = self.queue.pop() else {
            return false;
        };
        (self.now, self.happening) = (at, number);
        self.events += 1;
        self.notices.clear();
        if let Some(to) = receiver(&event) {
            self.under_way[to].remove(&number);
        }
        let most = self.config.events_max;
        if self.events > most {
            self.checks
                .note(at, 0, Err(("liveness", format!("{most} events and no end"))));
        }
        match self.stands_still(&event) {
            // It happens to the process when that goes on.
            Some(until) => self.wait_for(until, event),
            None => self.happen(event),
        }
        true
    }

    /// Steps until `done`, at most until `deadline`; answers whether `done` was reached.
    pub fn run(&mut self, deadline: Nanos, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            if self.now > deadline || !self.step() {
                return false;
            }
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame {
                from,
                to,
                epoch,
                bytes,
                step,
                frame,
            } => {
                if self.network.epoch(from, to) == Some(epoch) && self.nodes[to].is_running() {
                    self.arrive(from, to, epoch, bytes, step, frame);
                }
            }
            Event::LineFree { node, life, at } => {
                if self.lives(node, life) {
                    self.nodes[node].uplink.looks.remove(&at);
                    self.send_on(node);
                }
            }
            Event::Read {
                node,
                peer,
                epoch,
                stream,
                bytes,
            } => {
                if self.network.epoch(node, peer) == Some(epoch) {
                    self.nodes[node].uplink.read(peer, Some(stream), bytes);
                    self.send_on(node);
                }
            }
            Event::Stopped {
                node,
                peer,
                epoch,
                stream,
            } => {
                if self.network.epoch(node, peer) == Some(epoch) {
                    self.nodes[node].uplink.cut(peer, stream);
                    self.send_on(node);
                }
            }
            Event::Answer {
                node,
                peer,
                epoch,
                stream,
                request,
            } => {
                if self.network.epoch(node, peer) == Some(epoch) {
                    self.answer(node, peer, stream, &request);
                }
            }
            Event::Statuses { node, life } => {
                if self.lives(node, life) {
                    self.nodes[node].statuses_due = None;
                    self.tell_statuses(node);
                }
            }
            Event::FullNodes { node, life } => {
                if self.lives(node, life) {
                    self.stream_to_full_nodes(node);
                }
            }
            Event::Close { a, b, epoch } => {
                if self.network.epoch(a, b) == Some(epoch) {
                    self.count("closed-as-slow");
                    self.reset(a, b);
                }
            }
            Event::GoOn { node } => self.go_on(node),
            Event::Kept { from, life, to, frame } => {
                if self.lives(from, life) {
                    self.send_kept(from, to, &frame);
                }
            }
            Event::StreamGone { node, life, stream } => {
                if self.lives(node, life) {
                    self.stream_gone(node, stream);
                }
            }
            Event::Tell { node, life, event } => {
                if self.lives(node, life) {
                    self.feed(node, Input::Net(*event));
                }
            }
            Event::Wake { node, life, at } => {
                if self.lives(node, life) && self.nodes[node].wake_at == Some(at) {
                    self.wake(node);
                }
            }
            Event::JoinWake { node, life, at } => {
                if self.lives(node, life) && self.nodes[node].join_wake_at == Some(at) {
                    self.count_wake(node);
                    self.nodes[node].join_wake_at = None;
                    self.join_wake(node);
                }
            }
            Event::WallTick { node, life } => {
                if self.lives(node, life) {
                    self.wall_tick(node);
                }
            }
            Event::DiskDone { node, life } => {
                if self.lives(node, life) {
                    self.disk_done(node);
                }
            }
            Event::EngineDone {
                node,
                life,
                el_life,
                call,
            } => {
                if self.lives(node, life) {
                    self.engine_done(node, el_life, *call);
                }
            }
            Event::LaneDone { node, life, done } => {
                if self.lives(node, life) {
                    self.lane_done(node, *done);
                }
            }
            Event::SyncTimeout {
                node,
                life,
                stream,
                due,
            } => {
                if self.lives(node, life) {
                    self.sync_timeout(node, stream, due);
                }
            }
            Event::Connect { a, b } => self.connect(a, b),
            Event::PeerLost { node, life, peer } => {
                if self.lives(node, life) && self.network.epoch(node, peer).is_none() {
                    self.peer_lost(node, peer);
                }
            }
            Event::Idle { a, b, epoch } => self.idle(a, b, epoch),
            Event::Heal { cut } => {
                for (from, to) in cut {
                    self.network.unblock(from, to);
                }
            }
            Event::Start { node } => self.start(node),
            Event::ElStart { node } => {
                self.trace.line(self.now, format_args!("{node} el starts"));
                self.nodes[node].el.start();
            }
            Event::Fault => self.fault(),
            Event::Rot => self.rot(),
            Event::Scrub { node, life, height } => {
                if self.lives(node, life) {
                    self.scrub(node, height);
                }
            }
        }
    }

    /// Plans an event again for a later moment.
    fn wait_for(&mut self, until: Nanos, event: Event) {
        let to = receiver(&event);
        let number = self.queue.plan(until, event);
        if let Some(to) = to {
            self.under_way[to].insert(number);
        }
    }

    pub(crate) fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life && self.nodes[node].is_running()
    }

    pub(crate) fn wall_tick(&mut self, node: usize) {
        let unix_ns = self.nodes[node].clock.unix_ns(self.now);
        let life = self.nodes[node].life;
        self.queue
            .plan(self.now + Nanos::from_millis(1000), Event::WallTick { node, life });
        let clocks: Vec<_> = self.nodes.iter().map(|node| node.clock).collect();
        self.checks.clocks.look(self.now, &clocks, self.config.validators);
        self.watch_progress();
        self.feed(node, Input::WallClock { unix_ns });
    }

    /// Tells a core, and carries out what it wants.
    pub(crate) fn feed(&mut self, index: usize, input: Input) {
        shown::thinks(self.now, index);
        let node = &mut self.nodes[index];
        let now = node.clock.local(self.now);
        let Some(core) = node.core.as_mut() else { return };
        core.handle(now, input, &mut node.outbox);
        self.carry_out(index);
    }

    fn wake(&mut self, index: usize) {
        self.count_wake(index);
        shown::thinks(self.now, index);
        let node = &mut self.nodes[index];
        node.wake_at = None;
        let now = node.clock.local(self.now);
        if let Some(core) = node.core.as_mut() {
            core.wake(now, &mut node.outbox);
        }
        self.carry_out(index);
    }

    /// A machine whose deadline stays in the past would be woken for ever.
    fn count_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.wakes = if node.wakes.0 == self.now {
            (self.now, node.wakes.1 + 1)
        } else {
            (self.now, 0)
        };
        let checked = self.checks.bounds.wakes(node.wakes.1);
        self.note(index, checked);
    }

    fn carry_out(&mut self, index: usize) {
        let checked = self.checks.bounds.core_outbox(self.nodes[index].outbox.len());
        self.note(index, checked);
        while let Some(output) = self.nodes[index].outbox.pop() {
            if let Some(fuse) = self.nodes[index].fuse.as_mut() {
                if *fuse == 0 {
                    self.count("crash-between");
                    self.crash(index);
                    self.start_later(index);
                    return;
                }
                *fuse -= 1;
            }
            match output {
                Output::Net(command) => self.net_command(index, command),
                Output::Store(request) => self.store_request(index, request),
                Output::Engine(call) => self.engine_call(index, call),
                Output::Event(event) => self.core_event(index, event),
                Output::Stop(stop) => return self.stop(index, stop),
            }
        }
        self.send_messages(index);
        self.check_memory(index);
        self.plan_wake(index);
    }

    /// What a core and its join hold, now that everything the core wanted is under way.
    fn check_memory(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(core) = &node.core else { return };
        if self.config.checks_whole {
            core.check_whole();
        }
        let forgotten = forgetting::checked(core.head(), core.lowest_value(), node.join.lowest_value());
        let held = self.checks.bounds.core_held(core, self.config.validators);
        self.note(index, forgotten);
        self.note(index, held);
    }

    fn plan_wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.core.as_ref().and_then(Machine::deadline) else {
            node.wake_at = None;
            return;
        };
        let at = node.clock.simulated(deadline).max(self.now);
        if node.wake_at != Some(at) && at != Nanos::NEVER {
            node.wake_at = Some(at);
            self.queue.plan(
                at,
                Event::Wake {
                    node: index,
                    life: node.life,
                    at,
                },
            );
        }
    }

    fn core_event(&mut self, index: usize, event: CoreEvent) {
        self.trace
            .line(self.now, format_args!("{index} says {}", describe(&event)));
        if let CoreEvent::InvalidValue { key, reason, .. } = &event {
            let checked = self.check_invalid(index, key, reason);
            self.note(index, checked);
        }
        let checked = self.checks.clocks.said(self.now, index, &event);
        self.note(index, checked);
        self.notices.push(WorldNotice::Core {
            node: index,
            event: Box::new(event),
        });
    }

    fn stop(&mut self, index: usize, stop: Stop) {
        self.trace.line(self.now, format_args!("{index} stops {stop:?}"));
        match &stop {
            // The disk was made to fail: stopping is right.
            Stop::Disk(_) => {}
            other => {
                let what = format!("an honest node stops itself: {other:?}");
                self.note(index, Err(("stop", what)));
            }
        }
        self.crash(index);
        self.nodes[index].stopped = Some(stop);
        self.start_later(index);
    }
}

fn describe(event: &CoreEvent) -> String {
    match event {
        CoreEvent::Decided {
            certificate,
            blobs,
            origin_round,
            synced,
            ..
        } => format!(
            "decided {}/{} {:?} blobs {blobs} origin round {origin_round} synced {synced}",
            certificate.height, certificate.round, certificate.value_id
        ),
        other => format!("{other:?}"),
    }
}

/// Whom an event brings a message.
fn receiver(event: &Event) -> Option<usize> {
    match event {
        Event::Frame { to, frame, .. } if matches!(**frame, SimFrame::Message(_)) => Some(*to),
        _ => None,
    }
}
