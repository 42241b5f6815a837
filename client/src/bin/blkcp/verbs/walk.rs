//! Everything below a directory of a host, the deepest first. Links are not followed.

use blk_client::{ClientError, Connection, RemotePath};
use blk_proto::message::{Entry, FileKind};

/// A walk under way.
pub struct Walk {
    /// The next one last.
    todo: Vec<Todo>,
}

enum Todo {
    Read(RemotePath),
    Leave(RemotePath),
}

/// What a walk comes to.
pub enum Step {
    /// A directory, and what is in it but other directories; those come next.
    Entered(RemotePath, Vec<Entry>),
    /// Everything in the directory has been come to.
    Left(RemotePath),
    /// A directory that cannot be read; it is not left either.
    Closed(ClientError),
}

impl Walk {
    /// One that begins at a directory.
    pub fn new(root: RemotePath) -> Self {
        Self {
            todo: vec![Todo::Read(root)],
        }
    }

    /// The next step; `None`: that was all.
    pub async fn next(&mut self, connection: &Connection) -> Option<Step> {
        let directory = match self.todo.pop()? {
            Todo::Leave(directory) => return Some(Step::Left(directory)),
            Todo::Read(directory) => directory,
        };
        let entries = match connection.list(&directory).await {
            Ok(entries) => entries,
            Err(error) => return Some(Step::Closed(error)),
        };
        let (below, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.attributes.kind == FileKind::Directory);
        self.todo.push(Todo::Leave(directory.clone()));
        let below = below.iter().rev();
        let below = below.map(|entry| Todo::Read(directory.join(&entry.name)));
        self.todo.extend(below);
        Some(Step::Entered(directory, others))
    }
}
