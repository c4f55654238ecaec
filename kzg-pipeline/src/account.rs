//! This file knows what is kept of each value until it is settled, and what is due about it.
//!
//! ```text
//!   opened ──▶ loose ──sum_claims are there──▶ being summed ──▶ sums ─┐
//!                └────────────────────────────────────────────────────┴─▶ settled, when every place is filled
//!                                                                            └─ if it fails ─▶ confirmed
//! ```
//!
//! A value has an *account* for each client that sends it. The account begins with its first job. It ends with its
//! verdict, with a [`forget`](Accounts::forget), or when nothing right came and no more is under way. Until then its
//! blobs are kept, as a value that fails is looked at once more. A claim is let go when it is summed.
//!
//! Keeps:
//!
//! - A place is filled by the first right bytes that come for it, whoever sends what beside.
//! - A value is settled once, when all its places are filled and all its sums are taken.
//! - Nothing is kept of a value whose account has ended. What a lane has in its hands then counts for nothing.
//! - No more blobs are kept than the bound. If more come, the value that began first gives way.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ultramarine_types::ValueKey;
use ultramarine_types::verify::{Urgency, ValueOutcome, VerifyJob};

use crate::doubt::Doubt;
use crate::opening::Opening;
use crate::ticket::{Name, Ticket};

/// Sizes by which accounts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountPolicy {
    /// Loose claims of a value from which a sum of their own pays.
    pub sum_claims: usize,
    /// Most values that share a pairing.
    pub values_max: usize,
    /// Most blobs kept, of all values.
    pub blobs_max: usize,
}

/// A value of which every place is filled, to be settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeValue<O, S> {
    pub name: Name,
    /// Sums that are taken already.
    pub sums: Vec<S>,
    /// Claims that are in no sum.
    pub loose: Vec<O>,
}

/// All accounts. `O` is an opened claim, `S` the sums of some.
#[derive(Debug)]
pub struct Accounts<O, S> {
    policy: AccountPolicy,
    accounts: BTreeMap<(usize, ValueKey), Account<O, S>>,
    begun: u64,
    /// Blobs kept in all accounts.
    blobs_count: usize,
}

#[derive(Debug)]
struct Account<O, S> {
    life: u64,
    /// That of its most urgent job.
    urgency: Urgency,
    places_count: usize,
    /// Jobs of this account that wait, or are in a lane's hands.
    jobs_under_way: usize,
    /// The job that filled each place, with the digest that its bytes have.
    blobs: BTreeMap<u16, VerifyJob>,
    loose: Vec<O>,
    sums: Vec<S>,
    /// Pieces in a lane's hands to be summed.
    summing: usize,
    /// Whether a claim of it is known to fail.
    is_false: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Filling,
    /// In a lane's hands.
    Settling,
    /// In a lane's hands if there is none.
    Doubted(Option<Doubt>),
}

impl<O, S> Account<O, S> {
    fn is_whole(&self) -> bool {
        self.blobs.len() == self.places_count
    }

    fn is_to_settle(&self) -> bool {
        matches!(self.stage, Stage::Filling) && self.is_whole() && self.summing == 0
    }

    fn doubt(&mut self) {
        self.stage = Stage::Doubted(Some(Doubt::new(self.blobs.values().cloned().collect())));
    }
}

impl<O, S> Accounts<O, S> {
    pub fn new(policy: AccountPolicy) -> Self {
        assert!(policy.sum_claims > 0, "a sum has at least one claim");
        assert!(policy.values_max > 0, "a value can be settled");
        Self {
            policy,
            accounts: BTreeMap::new(),
            begun: 0,
            blobs_count: 0,
        }
    }

    /// Blobs kept.
    pub const fn blobs_count(&self) -> usize {
        self.blobs_count
    }

    /// A job came. Returns the account it is for.
    pub fn begin(&mut self, client: usize, job: &VerifyJob) -> Name {
        assert!(job.index < job.blobs_count, "a blob has a place in its value");
        let begun = &mut self.begun;
        let account = self.accounts.entry((client, job.key)).or_insert_with(|| {
            *begun += 1;
            Account {
                life: *begun,
                urgency: job.urgency,
                places_count: usize::from(job.blobs_count),
                jobs_under_way: 0,
                blobs: BTreeMap::new(),
                loose: Vec::new(),
                sums: Vec::new(),
                summing: 0,
                is_false: false,
                stage: Stage::Filling,
            }
        });
        assert_eq!(
            account.places_count,
            usize::from(job.blobs_count),
            "a value has one number of blobs"
        );
        account.urgency = account.urgency.min(job.urgency);
        account.jobs_under_way += 1;
        Name {
            client,
            key: job.key,
            life: account.life,
        }
    }

    /// Whether a place is still to be filled.
    pub fn wants(&self, name: &Name, index: u16) -> bool {
        self.accounts
            .get(&(name.client, name.key))
            .is_some_and(|account| account.life == name.life && !account.blobs.contains_key(&index))
    }

    /// A job was opened. Returns a value that gives way to it.
    pub fn put(&mut self, ticket: Ticket, opening: Opening<O>) -> Option<Name> {
        let Ticket { name, job, .. } = ticket;
        let is_wanted = self.wants(&name, job.index);
        let account = self.account(&name)?;
        account.jobs_under_way -= 1;
        match opening {
            Opening::Hashed => {}
            _ if !is_wanted => {}
            Opening::Settled(finding) => {
                account.is_false |= finding.is_err();
                account.blobs.insert(job.index, job);
                self.blobs_count += 1;
            }
            Opening::Open(claim) => {
                account.loose.push(claim);
                account.blobs.insert(job.index, job);
                self.blobs_count += 1;
            }
        }
        let account = self.account(&name)?;
        if account.is_whole() && account.is_false && matches!(account.stage, Stage::Filling) {
            account.doubt();
        }
        if account.blobs.is_empty() && account.jobs_under_way == 0 {
            self.end(&name);
        }
        if self.blobs_count <= self.policy.blobs_max {
            return None;
        }
        let with_blobs = self.accounts.iter().filter(|(_, account)| !account.blobs.is_empty());
        let (&(client, key), oldest) = with_blobs.min_by_key(|(_, account)| account.life)?;
        let life = oldest.life;
        let oldest = Name { client, key, life };
        self.end(&oldest);
        Some(oldest)
    }

    /// The sums of a piece are taken.
    pub fn put_sums(&mut self, name: &Name, sums: S) {
        if let Some(account) = self.account(name) {
            account.summing -= 1;
            account.sums.push(sums);
        }
    }

    /// A value was asked about. Returns whether its client waits for the verdict, which is there if it holds.
    pub fn settled(&mut self, name: &Name, holds: bool) -> bool {
        let Some(account) = self.account(name) else {
            return false;
        };
        if holds {
            self.end(name);
        } else {
            account.doubt();
        }
        holds
    }

    /// A value that fails had a turn. Returns the verdict, if it is there and its client waits for it.
    pub fn confirmed(&mut self, name: &Name, turn: ControlFlow<ValueOutcome, Doubt>) -> Option<ValueOutcome> {
        let account = self.account(name)?;
        match turn {
            ControlFlow::Continue(doubt) => {
                account.stage = Stage::Doubted(Some(doubt));
                None
            }
            ControlFlow::Break(outcome) => {
                self.end(name);
                Some(outcome)
            }
        }
    }

    /// Lets go of all that is kept of a value.
    pub fn forget(&mut self, client: usize, key: ValueKey) {
        if let Some(account) = self.accounts.remove(&(client, key)) {
            self.blobs_count -= account.blobs.len();
        }
    }

    /// Values of one urgency to settle together; none if there are none.
    pub fn take_whole(&mut self, urgency: Urgency) -> Vec<WholeValue<O, S>> {
        let whole = self
            .accounts
            .iter_mut()
            .filter(|(_, account)| account.urgency == urgency && account.is_to_settle());
        whole
            .take(self.policy.values_max)
            .map(|(&(client, key), account)| {
                account.stage = Stage::Settling;
                WholeValue {
                    name: Name {
                        client,
                        key,
                        life: account.life,
                    },
                    sums: std::mem::take(&mut account.sums),
                    loose: std::mem::take(&mut account.loose),
                }
            })
            .collect()
    }

    /// Claims of one value that are to be summed together.
    pub fn take_piece(&mut self, urgency: Urgency) -> Option<(Name, Vec<O>)> {
        let sum_claims = self.policy.sum_claims;
        let is_piece = |account: &Account<O, S>| {
            account.urgency == urgency && account.loose.len() >= sum_claims && !account.is_whole() && !account.is_false
        };
        let (&(client, key), account) = self.accounts.iter_mut().find(|(_, account)| is_piece(account))?;
        account.summing += 1;
        let life = account.life;
        Some((Name { client, key, life }, std::mem::take(&mut account.loose)))
    }

    /// A value that fails, for a turn.
    pub fn take_doubt(&mut self) -> Option<(Name, Doubt)> {
        self.accounts.iter_mut().find_map(|(&(client, key), account)| {
            let Stage::Doubted(doubt) = &mut account.stage else {
                return None;
            };
            let life = account.life;
            Some((Name { client, key, life }, doubt.take()?))
        })
    }

    /// Asserts the bound.
    pub fn check(&self) {
        assert!(self.blobs_count <= self.policy.blobs_max, "blobs kept are bounded");
    }

    /// Asserts the rest too, which takes as long as there are blobs.
    pub fn check_whole(&self) {
        self.check();
        let blobs: usize = self.accounts.values().map(|account| account.blobs.len()).sum();
        assert_eq!(blobs, self.blobs_count, "the count is that of the blobs");
        for account in self.accounts.values() {
            assert!(
                account.blobs.len() <= account.places_count && account.loose.len() <= account.blobs.len(),
                "a place is filled once"
            );
            assert!(
                account.jobs_under_way > 0 || !account.blobs.is_empty(),
                "an account with nothing in it has ended"
            );
        }
    }

    fn account(&mut self, name: &Name) -> Option<&mut Account<O, S>> {
        self.accounts
            .get_mut(&(name.client, name.key))
            .filter(|account| account.life == name.life)
    }

    fn end(&mut self, name: &Name) {
        self.forget(name.client, name.key);
    }
}

#[cfg(test)]
mod tests;
