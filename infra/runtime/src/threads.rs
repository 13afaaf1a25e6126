//! Threads for one part of a process, so that the operating system shares the processors between that part
//! and the others.
//!
//! Problem: tasks of one runtime wait in one queue, first come, first served. A client that asks one listener
//! for a thousand things at once makes the callers of all other listeners wait for as long as those take. The
//! operating system shares threads out in another way: a thread that has slept is given a processor at once,
//! however busy another listener's threads are.

use std::{future::Future, io, time::Duration};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, spawn_blocking},
};

/// How far these threads yield, in steps of niceness: one of them gets a tenth of a processor that a thread
/// with normal priority wants too.
const NICENESS_STEP: i32 = 10;

/// A runtime of its own. When it is dropped its tasks end, and nothing waits for the work that its threads
/// still do.
#[derive(Debug)]
pub struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    /// As many threads as there are processors. The operating system shows 15 bytes of the name.
    ///
    /// # Errors
    /// If the operating system gives no more descriptors.
    ///
    /// # Panics
    /// If it gives no more threads (tokio panics then).
    pub fn as_processors(name: &str) -> io::Result<Self> {
        Self::start(Self::builder(name))
    }

    /// As many threads as there are processors. They yield to all other threads of the machine while those
    /// have work.
    ///
    /// # Errors
    /// As [`Threads::as_processors`].
    ///
    /// # Panics
    /// As [`Threads::as_processors`].
    pub fn low_priority(name: &str) -> io::Result<Self> {
        let mut builder = Self::builder(name);
        // The niceness is set to an absolute value. Threads for blocking work are started by these threads
        // and inherit it, so a relative step would add up.
        let niceness = getpriority_process(None).unwrap_or(0) + NICENESS_STEP;
        builder.on_thread_start(move || {
            // Where this is not allowed, they run like the others. On Linux each thread has its own niceness.
            let _ = setpriority_process(None, niceness);
        });
        Self::start(builder)
    }

    fn builder(name: &str) -> Builder {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name(name);
        builder
    }

    fn start(mut builder: Builder) -> io::Result<Self> {
        Ok(Self { runtime: Some(builder.build()?) })
    }

    /// Runs a task on these threads. Sockets that it opens and tasks that it spawns belong to them too.
    ///
    /// # Panics
    /// Never: the runtime exists until this value is dropped.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.as_ref().expect("there until it is dropped").spawn(task)
    }

    /// Runs a task on these threads and gives its outcome.
    ///
    /// # Panics
    /// If the task panics.
    ///
    /// # Cancel safety
    /// The task continues if the caller is dropped.
    pub async fn run<F>(&self, task: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self.spawn(task).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => unreachable!("nobody cancels it: {cancelled}"),
            },
        }
    }

    /// Ends the tasks, and waits at most `patience` until the threads have dropped what the tasks held.
    ///
    /// # Cancel safety
    /// If the future is dropped, the threads end all the same.
    pub async fn end(mut self, patience: Duration) {
        let Some(runtime) = self.runtime.take() else { return };
        // It panics only if the runtime cannot be dropped, and then there is nothing to wait for.
        drop(spawn_blocking(move || runtime.shutdown_timeout(patience)).await);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where tasks run.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_runs_there_while_the_own_thread_is_busy() {
        let threads = Threads::as_processors("weir-test").unwrap();
        let (said, heard) = std::sync::mpsc::sync_channel(1);
        let task = threads.spawn(async move { said.send(std::thread::current().name().map(str::to_owned)) });
        // This blocks the only thread of the test.
        assert_eq!(heard.recv().unwrap().as_deref(), Some("weir-test"));
        task.await.unwrap().unwrap();
        assert_eq!(threads.run(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn low_priority_threads_are_nicer_and_the_others_are_not() {
        let niceness = || rustix::process::nice(0).unwrap();
        let own = niceness();
        let low = Threads::low_priority("weir-test").unwrap();
        let nicer = (own + NICENESS_STEP).min(19);
        assert_eq!(low.run(async move { niceness() }).await, nicer);
        let blocking = low.run(async move { spawn_blocking(niceness).await.unwrap() }).await;
        assert_eq!(blocking, nicer, "and not further than its runtime");
        assert_eq!(Threads::as_processors("weir-test").unwrap().run(async move { niceness() }).await, own);
    }

    #[tokio::test]
    async fn tasks_end_with_their_threads() {
        let threads = Threads::as_processors("weir-test").unwrap();
        let task = threads.spawn(std::future::pending::<()>());
        drop(threads);
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn what_tasks_held_is_free_once_their_threads_have_ended() {
        let threads = Threads::as_processors("weir-test").unwrap();
        let held = std::sync::Arc::new(());
        let theirs = held.clone();
        drop(threads.spawn(async move {
            std::future::pending::<()>().await;
            drop(theirs);
        }));
        threads.end(Duration::from_secs(60)).await;
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
