//! This file knows what happens next: events in order of time, those of one moment in the order they were planned.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ultramarine_types::Nanos;

/// A plan of future events. The heap orders positions only, so events need no order of their own.
pub struct EventQueue<E> {
    heap: BinaryHeap<Reverse<(Nanos, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
}

impl<E> EventQueue<E> {
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
        }
    }

    /// Plans an event, and returns its number: the order in which events were planned.
    pub fn plan(&mut self, at: Nanos, event: E) -> u64 {
        let number = self.next;
        self.heap.push(Reverse((at, number)));
        self.events.insert(number, event);
        self.next += 1;
        number
    }

    /// Takes the earliest event, with its number.
    pub fn pop(&mut self) -> Option<(Nanos, u64, E)> {
        let Reverse((at, sequence)) = self.heap.pop()?;
        let event = self
            .events
            .remove(&sequence)
            .expect("every position in the heap has its event");
        Some((at, sequence, event))
    }

    /// The event with a number, while it is planned.
    pub fn get(&self, number: u64) -> Option<&E> {
        self.events.get(&number)
    }

    /// All that is planned, and when, in no order.
    #[cfg(test)]
    pub fn planned(&self) -> impl Iterator<Item = (Nanos, &E)> {
        let planned = self.heap.iter();
        planned.filter_map(|Reverse((at, number))| Some((*at, self.events.get(number)?)))
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_keep_the_order_they_were_planned_in() {
        let mut queue = EventQueue::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            queue.plan(Nanos(at), name);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, _, name)| name).collect();
        assert_eq!(order, "abcd");
    }
}
