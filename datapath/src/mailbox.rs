//! Messages from other threads to a worker, which sleeps in its ring: a channel and an eventfd to wake it.
//!
//! The worker arms [`DiskQueue::poll_readable`](crate::disk::DiskQueue::poll_readable) on
//! [`MailReceiver::fd`], and on the wake-up calls [`MailReceiver::drain`], then arms it again. A send while
//! the worker has an unread signal costs no system call.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// A mailbox: any number of senders, one receiver.
///
/// Fails when no more file descriptors can be had.
pub fn mailbox<T: Send>() -> io::Result<(MailSender<T>, MailReceiver<T>)> {
    let (sender, receiver) = mpsc::channel();
    let signal = Arc::new(Signal {
        fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        raised: AtomicBool::new(false),
    });
    let sender = MailSender {
        queue: sender,
        signal: Arc::clone(&signal),
    };
    Ok((
        sender,
        MailReceiver {
            queue: receiver,
            signal,
        },
    ))
}

/// The eventfd and whether it is (about to be) readable.
#[derive(Debug)]
struct Signal {
    fd: OwnedFd,
    raised: AtomicBool,
}

impl Signal {
    /// Makes the descriptor readable, unless it already is.
    fn raise(&self) {
        // AcqRel: what was queued before this swap is seen by the receiver whose `lower` comes after it.
        if !self.raised.swap(true, Ordering::AcqRel) {
            // Can only fail when the counter would overflow; then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Makes the descriptor unreadable. Read before the flag falls: a sender that finds the flag down writes
    /// again, so no signal is lost; at worst one is spurious.
    fn lower(&self) {
        let mut count = [0; 8];
        // EAGAIN when nobody signalled.
        let _ = rustix::io::read(&self.fd, &mut count);
        self.raised.swap(false, Ordering::AcqRel);
    }
}

/// The sending end. Cheap to clone; `Send` and `Sync`.
#[derive(Debug)]
pub struct MailSender<T> {
    queue: mpsc::Sender<T>,
    signal: Arc<Signal>,
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            signal: Arc::clone(&self.signal),
        }
    }
}

impl<T: Send> MailSender<T> {
    /// Queues a message and wakes the receiver. Gives the message back when the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.queue.send(message).map_err(|refused| refused.0)?;
        self.signal.raise();
        Ok(())
    }
}

/// The receiving end, owned by the worker.
#[derive(Debug)]
pub struct MailReceiver<T> {
    queue: mpsc::Receiver<T>,
    signal: Arc<Signal>,
}

impl<T> MailReceiver<T> {
    /// The descriptor that is readable while there is unread mail, to poll for.
    pub fn fd(&self) -> RawFd {
        self.signal.fd.as_raw_fd()
    }

    /// Whether somebody has sent since the last [`drain`](Self::drain): a look without a system call, for a
    /// worker that spins. A wake-up of [`fd`](Self::fd) wants a `drain` even when this is false.
    pub fn has_mail(&self) -> bool {
        self.signal.raised.load(Ordering::Acquire)
    }

    /// Clears the signal, then takes all messages there are, without waiting. Stop early and the rest comes
    /// with the next call, but with no wake-up of its own: take all.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.signal.lower();
        self.queue.try_iter()
    }
}

impl<T> AsFd for MailReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn readable<T>(receiver: &MailReceiver<T>, seconds: i64) -> bool {
        let mut fds = [PollFd::new(receiver, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&timeout)).expect("poll") == 1
    }

    #[test]
    fn a_message_signals_once_and_drain_clears() {
        let (sender, mut receiver) = mailbox().expect("mailbox");
        assert!(!readable(&receiver, 0));
        sender.send(1).expect("receiver lives");
        sender.clone().send(2).expect("receiver lives");
        assert!(readable(&receiver, 0));
        assert_eq!(receiver.drain().collect::<Vec<_>>(), [1, 2]);
        assert!(!readable(&receiver, 0));
        assert_eq!(receiver.drain().count(), 0);
        sender.send(3).expect("receiver lives");
        assert!(readable(&receiver, 0));
        assert_eq!(receiver.drain().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_message_to_nobody_comes_back() {
        let (sender, receiver) = mailbox().expect("mailbox");
        drop(receiver);
        assert_eq!(sender.send("still here"), Err("still here"));
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const SENDERS: u64 = 4;
        const EACH: u64 = 20_000;
        let (sender, mut receiver) = mailbox().expect("mailbox");
        let threads: Vec<_> = (0..SENDERS)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || {
                    (0..EACH).for_each(|n| sender.send(n).expect("receiver lives"))
                })
            })
            .collect();
        let mut sum = 0;
        let mut count = 0;
        while count < SENDERS * EACH {
            assert!(
                readable(&receiver, 10),
                "asleep with {count} of {} messages",
                SENDERS * EACH
            );
            for message in receiver.drain() {
                sum += message;
                count += 1;
            }
        }
        assert_eq!(sum, SENDERS * EACH * (EACH - 1) / 2);
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("sender"));
    }
}
