//! The thread that checks passwords, so that no shard ever computes a slow hash.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::limits::PASSWORD_CHECKS_MAX;
use crate::security::{Identity, PasswordFile};

/// A thread with a bounded queue of passwords to check; it ends with this handle.
///
/// `T` says whose question it was, and comes back with the answer.
pub struct PasswordChecker<T> {
    /// `None` once the thread is asked to end.
    questions: Option<SyncSender<Question<T>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// As many passwords as the queue takes wait already: the client is to try again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

struct Question<T> {
    tag: T,
    users: Arc<PasswordFile>,
    username: String,
    password: String,
}

impl<T: Send + 'static> PasswordChecker<T> {
    /// Starts the thread. It calls `answer` once for each question, in their order: with the
    /// identity when the password is right. Questions that wait when the handle is dropped get no
    /// answer.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(answer: impl Fn(T, Option<Identity>) + Send + 'static) -> io::Result<Self> {
        let (questions, waiting) = sync_channel(PASSWORD_CHECKS_MAX);
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        let thread = thread::Builder::new()
            .name("passwords".to_owned())
            .spawn(move || check_all(&waiting, &ended, answer))?;
        Ok(Self { questions: Some(questions), ending, thread: Some(thread) })
    }

    /// Asks whether this is the password of one of these users; never waits.
    ///
    /// # Errors
    /// [`Busy`] when [`PASSWORD_CHECKS_MAX`] questions wait already.
    pub fn submit(
        &self,
        tag: T,
        users: Arc<PasswordFile>,
        username: String,
        password: String,
    ) -> Result<(), Busy> {
        let questions = self.questions.as_ref().expect("only the drop takes it");
        questions.try_send(Question { tag, users, username, password }).map_err(|_| Busy)
    }
}

fn check_all<T>(
    waiting: &Receiver<Question<T>>,
    ending: &AtomicBool,
    answer: impl Fn(T, Option<Identity>),
) {
    for Question { tag, users, username, password } in waiting {
        if ending.load(Ordering::Relaxed) {
            return;
        }
        let is_right = users.check(&username, &password);
        let identity = is_right.then(|| Identity { user: username.into(), expires: None });
        answer(tag, identity);
    }
}

impl<T> Drop for PasswordChecker<T> {
    /// Waits for the check in progress.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.questions = None;
        let thread = self.thread.take().expect("it is taken only here");
        // A panic of the thread has been reported by itself.
        let _ = thread.join();
    }
}

/// Without what waits: those are passwords.
impl<T> fmt::Debug for PasswordChecker<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordChecker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// The password is "right"; 8 KiB of memory and one pass.
    fn users() -> Arc<PasswordFile> {
        let line = "ada:$argon2id$v=19$m=8,t=1,p=1$c2FsdCBvZiAxNiBieXRlcw$\
                    mk96eLbeITGl1A2rRnGb6wcyqi8Lk150YdjSzuZI4HA";
        Arc::new(PasswordFile::parse(line).expect("the line is valid"))
    }

    #[test]
    fn every_question_is_answered_in_order() {
        let (answers, answered) = channel();
        let checker = PasswordChecker::start(move |tag: u32, identity| {
            answers.send((tag, identity)).expect("the test waits for it");
        })
        .unwrap();
        let ask = |tag, name: &str, password: &str| {
            checker.submit(tag, users(), name.to_owned(), password.to_owned()).unwrap();
        };
        ask(1, "ada", "right");
        ask(2, "ada", "wrong");
        ask(3, "bob", "right");
        let ada = Identity { user: "ada".into(), expires: None };
        for expected in [(1, Some(ada)), (2, None), (3, None)] {
            assert_eq!(answered.recv_timeout(SOON), Ok(expected));
        }
        assert_eq!(format!("{checker:?}"), "PasswordChecker { .. }");
    }

    #[test]
    fn the_queue_is_bounded_and_ends_with_the_handle() {
        let (begun, has_begun) = channel();
        let (go, may_go) = channel();
        let checker = PasswordChecker::start(move |tag: usize, _| {
            begun.send(tag).expect("the test waits for it");
            may_go.recv_timeout(SOON).expect("the test lets it go");
        })
        .unwrap();
        let submit = |tag| checker.submit(tag, users(), "ada".to_owned(), "wrong".to_owned());
        assert_eq!(submit(0), Ok(()));
        assert_eq!(has_begun.recv_timeout(SOON), Ok(0));
        for tag in 1..=PASSWORD_CHECKS_MAX {
            assert_eq!(submit(tag), Ok(()));
        }
        assert_eq!(submit(99), Err(Busy));
        checker.ending.store(true, Ordering::Relaxed);
        go.send(()).unwrap();
        drop(checker);
        assert!(has_begun.recv_timeout(SOON).is_err(), "what waited is not answered");
    }
}
