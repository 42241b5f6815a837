//! Requests about many small files. What a client can have queued is bounded by [`MAX_JOBS`](super::MAX_JOBS) messages of a
//! session, and by the queue of the namespace thread for all.

use blk_datapath::engine::SessionId;
use blk_proto::message::{ErrorCode, Failure, MAX_INLINE, MAX_SMALL_FILES, Reply, SmallFile};

use super::ports::Ports;
use super::reply::failure;
use super::sessions::Sessions;
use crate::namespace::{Asker, Job};

impl Sessions {
    /// Has whole small files written.
    pub(super) fn store(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        export: String,
        files: Vec<SmallFile>,
    ) {
        let longest = files.iter().map(|file| file.bytes.len()).max();
        let checked = check_count(files.len()).and_then(|()| check_length(longest.unwrap_or(0)));
        let job = Job::Store { export, files };
        self.ask_checked(ports, session, id, checked, job);
    }

    /// Has whole small files read.
    pub(super) fn fetch(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        export: String,
        paths: Vec<Vec<u8>>,
    ) {
        let checked = check_count(paths.len());
        self.ask_checked(ports, session, id, checked, Job::Fetch { export, paths });
    }

    fn ask_checked(
        &mut self,
        ports: &mut impl Ports,
        session: SessionId,
        id: u32,
        checked: Result<(), Failure>,
        job: Job,
    ) {
        let submitted = checked.and_then(|()| self.submit(ports, session, Asker::Request(id), job));
        if let Err(refusal) = submitted {
            self.reply(ports, session, id, Reply::Failed(refusal));
        }
    }
}

fn check_count(files: usize) -> Result<(), Failure> {
    if files <= MAX_SMALL_FILES {
        return Ok(());
    }
    let message = format!("{files} files in one message; at most {MAX_SMALL_FILES}");
    Err(failure(ErrorCode::TooLarge, message))
}

fn check_length(longest: usize) -> Result<(), Failure> {
    if longest <= MAX_INLINE {
        return Ok(());
    }
    let message = format!("a file of {longest} bytes in a message; at most {MAX_INLINE}");
    Err(failure(ErrorCode::TooLarge, message))
}
