//! A bus that stores all records, and is down or forgetful when told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use prost::Message as _;
use weir_bus::{EventBus, Outgoing, PublishError, Published, Topic};
use weir_proto::event::{Record, record::Change};

/// A record and the numbers of the topics under which it went out.
type Told = (Vec<u64>, Record);

#[derive(Debug, Default)]
pub(crate) struct FakeBus {
    down: AtomicBool,
    lost: AtomicBool,
    /// In the order of arrival.
    kept: Arc<Mutex<Vec<Told>>>,
    /// The process that uses this handle was killed.
    dead: AtomicBool,
    ephemeral: Mutex<Vec<Told>>,
}

/// What a record tells, short: its revision and (created, edited or deleted) message id.
pub(crate) fn gist(record: &Record) -> (u64, &'static str, u64) {
    let (what, id) = match &record.change {
        Some(Change::MessageCreated(row)) => ("created", row.id),
        Some(Change::MessageEdited(row)) => ("edited", row.id),
        Some(Change::MessageDeleted(gone)) => ("deleted", gone.id),
        _ => ("other", 0),
    };
    (record.rev, what, id)
}

fn told(out: Outgoing) -> Told {
    let topics = out.topics.into_iter().map(Topic::get).collect();
    (topics, Record::decode(out.record).unwrap())
}

impl FakeBus {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Another process's handle of the same bus.
    pub(crate) fn fork(&self) -> Arc<Self> {
        Arc::new(Self { kept: Arc::clone(&self.kept), ..Self::default() })
    }

    /// Kills the process behind this handle.
    pub(crate) fn kill(&self) {
        self.dead.store(true, SeqCst);
    }

    /// While down every call fails and nothing is taken.
    pub(crate) fn down(&self, down: bool) {
        self.down.store(down, SeqCst);
    }

    /// Forgets everything; the next call says so.
    pub(crate) fn lose(&self) {
        self.kept.lock().unwrap().clear();
        self.lost.store(true, SeqCst);
    }

    /// Records of one scope in the order of arrival, repetitions included.
    pub(crate) fn of(&self, scope_id: u64) -> Vec<Record> {
        let kept = self.kept.lock().unwrap();
        kept.iter()
            .filter(|(_, record)| record.scope_id == scope_id)
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The topics under which each of a scope's records went out.
    pub(crate) fn topics_of(&self, scope_id: u64) -> Vec<Vec<u64>> {
        let kept = self.kept.lock().unwrap();
        kept.iter()
            .filter(|(_, record)| record.scope_id == scope_id)
            .map(|(topics, _)| topics.clone())
            .collect()
    }

    pub(crate) fn ephemeral(&self) -> Vec<Told> {
        self.ephemeral.lock().unwrap().clone()
    }
}

#[async_trait]
impl EventBus for FakeBus {
    async fn publish(&self, records: Vec<Outgoing>) -> Result<Published, PublishError> {
        if self.dead.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.down.load(SeqCst) {
            return Err(PublishError::Unavailable { reason: "as scripted".into() });
        }
        self.kept.lock().unwrap().extend(records.into_iter().map(told));
        Ok(if self.lost.swap(false, SeqCst) { Published::Lost } else { Published::Kept })
    }

    async fn publish_ephemeral(&self, out: Outgoing) {
        self.ephemeral.lock().unwrap().push(told(out));
    }
}

/// A consumer as the contract describes it: drops what it has, and counts gaps.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    pub(crate) have: u64,
    pub(crate) taken: Vec<Record>,
    pub(crate) gaps: usize,
}

impl Consumer {
    /// Takes records in the order of arrival; a record whose predecessor is missing is a gap.
    pub(crate) fn take(&mut self, records: Vec<Record>) {
        for record in records {
            if record.rev <= self.have {
                continue;
            }
            if record.prev_rev > self.have {
                self.gaps += 1;
            }
            self.have = record.rev;
            self.taken.push(record);
        }
    }
}
