//! This file knows how to carry out the core's commands and the join's outputs: it changes the shared state, hands
//! items to other tiles, and orders tasks.
//!
//! ```text
//!   core ── command ─▶ conductor ◀─ feed ── reading tasks, verdicts, time
//!                      │  ▲   │
//!                Input ▼  │   └─▶ events, jobs, store (links), orders (tasks)
//!                       Join    Output
//! ```

use std::rc::Rc;

use ultramarine_types::network::{NetCommand, SyncWant};
use ultramarine_types::storage::StoreRequest;
use ultramarine_types::{Machine, Outbox};

use crate::connection::queue::MessageName;
use crate::hub::Hub;
use crate::order::TaskOrder;
use crate::streaming::{Completed, Input, Output};
use crate::wire::message::{self, ValueRequest, ValueWant};

/// Carries out a command of the core.
pub(crate) fn command(hub: &Hub, command: NetCommand) {
    match command {
        NetCommand::Send { to, message } => {
            let (name, frame) = (MessageName::of(&message), message::message_frame(&message));
            for session in hub.recipients(to) {
                hub.metrics.messages_sent.inc();
                session.send(name.clone(), frame.clone());
            }
        }
        NetCommand::Status { to, status } => {
            if let Some(session) = hub.session(&to) {
                hub.metrics.messages_sent.inc();
                session.send_status(message::status_frame(&status));
            }
        }
        NetCommand::Hearing { to, hearing } => {
            if let Some(session) = hub.session(&to) {
                hub.metrics.messages_sent.inc();
                session.send(MessageName::of_hearing(&hearing), message::hearing_frame(&hearing));
            }
        }
        NetCommand::Admit { offer, tag } => feed(hub, Input::Admit { offer, tag }),
        NetCommand::Refuse { offer, why } => feed(hub, Input::Refuse { offer, why }),
        NetCommand::Stream { key, to } => {
            let receivers = hub.recipients(to);
            hub.orders.push(TaskOrder::Stream { key, receivers });
        }
        NetCommand::Fetch { key, peer } => {
            let stream = hub.name_stream();
            feed(hub, Input::Fetch { stream, key, peer });
        }
        NetCommand::Sync { peer, height, want } => {
            let wants_blobs = want != SyncWant::Payload;
            let want = match want {
                // What is here already is not sent again.
                SyncWant::Package => ValueWant::Package {
                    blobs: hub.join.borrow().blobs_missing_at(height),
                },
                SyncWant::Payload | SyncWant::Certificate => ValueWant::from(want),
            };
            let request = ValueRequest { height, want };
            hub.orders.push(TaskOrder::Sync {
                peer,
                request,
                wants_blobs,
            });
        }
        NetCommand::Rejudge { key } => feed(hub, Input::Rejudge { key }),
        NetCommand::Forget { height } => feed(hub, Input::Forget { height }),
        NetCommand::Charge { peer, fault } => hub.charge(peer, fault, "found by consensus", None),
    }
}

/// Hands the join an input, and carries out the join's outputs.
pub(crate) fn feed(hub: &Hub, input: Input) {
    let mut out = Outbox::new();
    hub.join.borrow_mut().handle(hub.now(), input, &mut out);
    hub.join_moved.notify_one();
    carry_out(hub, &mut out);
}

/// Wakes the join whenever it is due; never ends.
pub(crate) async fn keep_time(hub: Rc<Hub>) {
    loop {
        let deadline = hub.join.borrow().deadline();
        match deadline {
            None => hub.join_moved.notified().await,
            Some(due) if due <= hub.now() => {
                let mut out = Outbox::new();
                hub.join.borrow_mut().wake(hub.now(), &mut out);
                carry_out(&hub, &mut out);
                // Other tasks run before what is due again at once.
                tokio::task::yield_now().await;
            }
            Some(due) => {
                let wait = due.since(hub.now()).as_duration();
                tokio::select! {
                    () = hub.join_moved.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

fn carry_out(hub: &Hub, out: &mut Outbox<Output>) {
    while let Some(output) = out.pop() {
        match output {
            Output::Ask(event) => hub.events.push(event),
            Output::Start { stream } => {
                if let Some(switch) = hub.switches.borrow().get(&stream) {
                    switch.start();
                }
            }
            Output::Stop { stream, why } => {
                if let Some(switch) = hub.switches.borrow_mut().remove(&stream) {
                    switch.stop(why);
                }
            }
            Output::Pause { stream } => {
                if let Some(switch) = hub.switches.borrow().get(&stream) {
                    switch.pause();
                }
            }
            Output::Resume { stream } => {
                if let Some(switch) = hub.switches.borrow().get(&stream) {
                    switch.start();
                }
            }
            Output::Verify(request) => hub.jobs.push(request),
            Output::Request {
                stream,
                peer,
                key,
                missing,
            } => {
                let switch = hub.register(stream);
                hub.orders.push(TaskOrder::Parts {
                    stream,
                    switch,
                    peer,
                    key,
                    missing,
                });
            }
            Output::Complete(completed) => complete(hub, *completed),
            Output::Alarm { key, why } => {
                hub.metrics.values_withheld.inc();
                tracing::error!(
                    %key,
                    "our own verifier could say nothing about a value: {why}; it is fetched again. If this happens \
                     again, test this machine's memory"
                );
            }
            Output::Charge { peer, fault, key } => hub.charge(peer, fault, "found while joining", Some(key)),
        }
    }
}

/// Hands a whole value to the store.
fn complete(hub: &Hub, completed: Completed) {
    let Completed {
        assembly,
        tag,
        streamed,
        verified,
    } = completed;
    let height = assembly.init.metadata.height;
    hub.metrics.joined(hub.now(), height, streamed, verified);
    hub.store.push(StoreRequest::Put { assembly, tag });
}
