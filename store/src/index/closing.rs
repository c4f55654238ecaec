//! This file knows how a database is closed although its pages may be damaged.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Database;

/// A database. redb reads and writes pages when it is dropped, and panics over damaged ones as it does elsewhere. That
/// must not end the thread: all that was committed is in the file, and the next start sees to what is damaged.
#[derive(Debug)]
pub struct CloseQuietly(Option<Database>);

impl From<Database> for CloseQuietly {
    fn from(database: Database) -> Self {
        Self(Some(database))
    }
}

impl Deref for CloseQuietly {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for CloseQuietly {
    fn drop(&mut self) {
        let database = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::warn!("the index was closed over a damaged page");
        }
    }
}
