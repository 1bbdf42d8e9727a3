//! Several builds at a time, one a thread; what they tell comes out on the caller's thread.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::Error;
use crate::run::Event;

/// An event without borrowed parts; `None` of [`Said::of`] for what builds do not tell.
enum Said {
    Started { step: &'static str, because: Option<String> },
    Reused { step: &'static str },
    Finished { step: &'static str, elapsed: Duration },
    Progress { step: &'static str, unit: &'static str, done: u64, total: u64 },
    Note { step: &'static str, message: String },
    Warning { step: &'static str, message: String },
}

impl Said {
    fn of(event: &Event<'_>, label: &str) -> Option<Self> {
        let labelled = |message: &str| format!("{label}{message}");
        Some(match event {
            Event::Started { step, because } => Self::Started { step, because: because.clone() },
            Event::Reused { step } => Self::Reused { step },
            Event::Finished { step, elapsed } => Self::Finished { step, elapsed: *elapsed },
            Event::Progress { step, unit, done, total } => {
                Self::Progress { step, unit, done: *done, total: *total }
            }
            Event::Note { step, message } => Self::Note { step, message: labelled(message) },
            Event::Warning { step, message } => Self::Warning { step, message: labelled(message) },
            _ => return None,
        })
    }

    fn tell(&self, tell: &dyn Fn(Event<'_>)) {
        tell(match self {
            Self::Started { step, because } => Event::Started { step, because: because.clone() },
            Self::Reused { step } => Event::Reused { step },
            Self::Finished { step, elapsed } => Event::Finished { step, elapsed: *elapsed },
            Self::Progress { step, unit, done, total } => {
                Event::Progress { step, unit, done: *done, total: *total }
            }
            Self::Note { step, message } => Event::Note { step, message },
            Self::Warning { step, message } => Event::Warning { step, message },
        });
    }
}

/// Does `work` for each of `jobs`, all at a time, and gives the results in their order. Each tells through its own function;
/// a note is preceded by the job's label.
///
/// # Errors
/// The first one in order, after all are done: what the others made stands.
pub(super) fn each<J: Sync, T: Send>(
    jobs: &[J],
    label: impl Fn(&J) -> String + Sync,
    work: impl Fn(&J, &dyn Fn(Event<'_>)) -> Result<T, Error> + Sync,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<T>, Error> {
    let (sender, receiver) = channel::<Said>();
    std::thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .map(|job| {
                let (sender, label, work) = (sender.clone(), &label, &work);
                scope.spawn(move || work(job, &reporter(&sender, &label(job))))
            })
            .collect();
        drop(sender);
        // Ends when every thread has dropped its sender.
        for said in receiver {
            said.tell(tell);
        }
        let results = running
            .into_iter()
            .map(|thread| thread.join().expect("a build reports errors, it does not panic"));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

fn reporter<'s>(sender: &'s Sender<Said>, label: &'s str) -> impl Fn(Event<'_>) + 's {
    move |event| {
        if let Some(said) = Said::of(&event, label) {
            // The receiver outlives every thread.
            let _ = sender.send(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::Barrier;

    #[test]
    fn jobs_run_at_the_same_time_and_tell_with_their_label() {
        // Each waits for the other: one after the other they would never end.
        let barrier = Barrier::new(2);
        let heard = RefCell::new(Vec::new());
        let work = |job: &u32, tell: &dyn Fn(Event<'_>)| {
            tell(Event::Note { step: "build", message: "waits" });
            barrier.wait();
            Ok(job * 10)
        };
        let tell = |event: Event<'_>| {
            if let Event::Note { message, .. } = event {
                heard.borrow_mut().push(message.to_owned());
            }
        };
        let results = each(&[1, 2], |job| format!("GPU {job}: "), work, &tell).unwrap();
        heard.borrow_mut().sort();
        assert_eq!(
            (results, heard.into_inner()),
            (vec![10, 20], vec!["GPU 1: waits".to_owned(), "GPU 2: waits".into()])
        );
    }

    #[test]
    fn one_failure_does_not_stop_the_others() {
        let done = std::sync::atomic::AtomicU32::new(0);
        let work = |job: &u32, _: &dyn Fn(Event<'_>)| {
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if *job == 1 { Err(Error::Options("one".into())) } else { Ok(()) }
        };
        let failed = each(&[1, 2, 3], |_| String::new(), work, &|_| {});
        assert!(matches!(failed, Err(Error::Options(reason)) if reason == "one"));
        assert_eq!(done.into_inner(), 3);
    }
}
