//! The file at the other end, which must not stay there.

use std::cell::RefCell;
use std::time::Duration;

use blk_client::{
    ClientError, Connection, Datapath, ErrorKind, Progress, PutOptions, RemotePath, SourceFile,
};
use blk_datapath::explain::explain;
use tokio::time::{Instant, sleep, timeout_at};

use super::MeasureArguments;
use crate::failure::Failure;

/// How long is tried to remove the file.
const REMOVAL: Duration = Duration::from_secs(30);
/// How long is waited before it is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// The file, and what is known of it.
pub struct Remote<'a> {
    pub target: RemotePath,
    arguments: &'a MeasureArguments,
    state: RefCell<State>,
    /// Why it stays there, though that was tried.
    stays: RefCell<Option<String>>,
}

/// What the other end may have under the name.
#[derive(Debug)]
enum State {
    /// Nothing, now and later.
    Nothing,
    /// Nothing yet: a put that counts its bytes here has not said how it ended.
    Coming(Progress),
    /// The file, or nothing; no more is to come.
    Settled,
}

impl State {
    /// Whether the other end may give the file its name, though it has it not. It is asked for that only when it has all bytes.
    fn may_come(&self, size: u64) -> bool {
        matches!(self, Self::Coming(progress) if progress.bytes() >= size)
    }
}

impl<'a> Remote<'a> {
    /// It is not there, and was not put yet.
    pub fn new(target: RemotePath, arguments: &'a MeasureArguments) -> Self {
        Self {
            target,
            arguments,
            state: RefCell::new(State::Nothing),
            stays: RefCell::default(),
        }
    }

    /// Whether files can be put there, and removed again.
    pub async fn check(&self, place: &RemotePath) -> Result<(), Failure> {
        let connection = self.connect().await?;
        match connection.is_directory(place).await? {
            Some(true) => {}
            Some(false) => {
                return Err(Failure::Usage(format!("{place} is no directory")));
            }
            None => {
                let message =
                    format!("{place} is not there: make it first, or name another directory");
                return Err(Failure::Usage(message));
            }
        }
        // A server that cannot do that must not be left with the file.
        match connection.remove(&self.target).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            // Whoever takes away what is somebody else's, or says so of what is not there, must not be asked to again.
            Ok(()) => Err(Failure::Client(ClientError::Unexpected {
                what: format!("remove {}", self.target),
                reply: "it is gone, and was never put there".to_owned(),
            })),
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let options = self.arguments.connect_options(Datapath::Udp);
        Connection::open(&self.target.host, &options).await
    }

    /// Removes what was put before: a late commit of the one is never taken for the other, and the next one does not pay for it.
    pub async fn clear(&self, connection: &Connection) -> Result<(), ClientError> {
        if matches!(*self.state.borrow(), State::Settled) {
            connection.remove(&self.target).await?;
            self.state.replace(State::Nothing);
        }
        Ok(())
    }

    /// Puts it, where there is none.
    pub async fn put(
        &self,
        connection: &Connection,
        source: &SourceFile,
    ) -> Result<(), ClientError> {
        let options = PutOptions {
            resume: false,
            ..PutOptions::default()
        };
        let progress = Progress::default();
        self.state.replace(State::Coming(progress.clone()));
        let put = connection
            .put_with(source, &self.target, progress, &options)
            .await;
        match put {
            // A server that could not make the name durable refuses, and may have given it.
            Ok(_) | Err(ClientError::Refused { .. } | ClientError::Changed { .. }) => {
                self.state.replace(State::Settled);
            }
            // Whoever has not heard how it ended has to look.
            Err(_) => {}
        }
        put.map(drop)
    }

    /// Removes it, over a connection of its own, if it is there, or may come yet; if that cannot be done within [`REMOVAL`], why. That is tried only once.
    pub async fn clean_up(&self) -> Result<(), String> {
        if matches!(*self.state.borrow(), State::Nothing) {
            return Ok(());
        }
        if let Some(why) = &*self.stays.borrow() {
            return Err(why.clone());
        }
        let removed = self.remove().await;
        match &removed {
            Ok(()) => drop(self.state.replace(State::Nothing)),
            Err(why) => drop(self.stays.replace(Some(why.clone()))),
        }
        removed
    }

    async fn remove(&self) -> Result<(), String> {
        let deadline = Instant::now() + REMOVAL;
        let mut connection = None;
        let mut why = "the host does not answer".to_owned();
        for attempt in 0_u32.. {
            if attempt == 1 && !self.arguments.quiet {
                eprintln!("removing {}: Ctrl-C leaves it there", self.target);
            }
            let outcome = timeout_at(deadline, self.try_to_remove(&mut connection)).await;
            match outcome {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
                    if !self.state.borrow().may_come(self.arguments.size) {
                        return Ok(());
                    }
                    "it was being stored, and is not there yet".clone_into(&mut why);
                }
                Ok(Err(error)) => {
                    why = explain(&error);
                    if is_final(&error) {
                        return Err(why);
                    }
                    connection = None;
                }
                Err(_) => return Err(why),
            }
            if Instant::now() + PAUSE >= deadline {
                break;
            }
            sleep(PAUSE).await;
        }
        Err(why)
    }

    async fn try_to_remove(&self, connection: &mut Option<Connection>) -> Result<(), ClientError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        connection.remove(&self.target).await
    }
}

/// Whether the same would be said again.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotAllowed | ErrorKind::WrongKind | ErrorKind::Permission
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_may_come_late() {
        let progress = Progress::default();
        let coming = State::Coming(progress.clone());
        progress.add(9);
        assert!(!coming.may_come(10));
        progress.add(1);
        assert!(coming.may_come(10));
        assert!(!State::Settled.may_come(10) && !State::Nothing.may_come(10));
    }
}
