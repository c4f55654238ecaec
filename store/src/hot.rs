//! This file knows the values stored last, still in the memory they arrived in, within a budget of bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::{Assembly, ValueKey};

/// First in, first out: a value is streamed, executed and imported soon after it is stored, or by sync much later.
#[derive(Debug)]
pub struct Hot {
    budget_bytes: usize,
    held_bytes: usize,
    values: HashMap<ValueKey, Arc<Assembly>>,
    order: VecDeque<ValueKey>,
}

impl Hot {
    /// An empty cache. With a budget of 0 it keeps nothing.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            held_bytes: 0,
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps a value, and lets the oldest go until all fit. What goes is handed back: freeing a block's memory takes
    /// long, and nobody should wait for it at this cache's lock.
    pub fn insert(&mut self, assembly: Assembly) -> Vec<Arc<Assembly>> {
        let mut gone = Vec::new();
        gone.extend(self.remove(&assembly.key));
        let bytes = bytes_of(&assembly);
        if bytes > self.budget_bytes {
            gone.push(Arc::new(assembly));
            return gone;
        }
        while self.held_bytes + bytes > self.budget_bytes {
            let Some(oldest) = self.order.front().copied() else {
                break;
            };
            gone.extend(self.remove(&oldest));
        }
        self.held_bytes += bytes;
        self.order.push_back(assembly.key);
        self.values.insert(assembly.key, Arc::new(assembly));
        gone
    }

    /// Checks the budget and the number of turns.
    pub fn check(&self) {
        assert!(self.held_bytes <= self.budget_bytes, "the budget holds");
        assert_eq!(self.order.len(), self.values.len(), "every value has one turn");
        assert!(
            !self.values.is_empty() || self.held_bytes == 0,
            "an empty cache holds no bytes"
        );
    }

    /// Checks that the bytes held are those of the values.
    pub fn check_whole(&self) {
        let bytes: usize = self.values.values().map(|value| bytes_of(value)).sum();
        assert_eq!(self.held_bytes, bytes, "every byte is counted");
        for key in &self.order {
            assert!(self.values.contains_key(key), "a turn is a value's");
        }
    }

    /// A value, if it is kept; cheap at any number of blobs.
    pub fn get(&self, key: &ValueKey) -> Option<Arc<Assembly>> {
        self.values.get(key).cloned()
    }

    /// Lets a value go.
    pub fn remove(&mut self, key: &ValueKey) -> Option<Arc<Assembly>> {
        let assembly = self.values.remove(key)?;
        self.held_bytes -= bytes_of(&assembly);
        self.order.retain(|kept| kept != key);
        Some(assembly)
    }

    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

fn bytes_of(assembly: &Assembly) -> usize {
    assembly.payload.len() + assembly.lists.bytes() + assembly.blobs.iter().map(Bytes::len).sum::<usize>()
}
