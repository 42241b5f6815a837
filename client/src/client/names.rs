//! Names that go or become others, and what the server says of itself.

use super::{Client, Operation};
use crate::address::RemotePath;
use crate::names::Description;
#[cfg(doc)]
use crate::{connection::Connection, error::ClientError};

impl Client {
    /// Removes a name, durably: that of a file, of a link (which is not followed), or of anything else but a directory. Dropped
    /// before its end, it may have been carried out, as the others here.
    ///
    /// # Errors
    /// Those of [`Connection::remove`].
    pub fn remove(&self, remote: impl AsRef<[u8]>) -> Operation<()> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.remove(&path).await
        })
    }

    /// Removes an empty directory, durably; a link to one is none.
    ///
    /// # Errors
    /// Those of [`Connection::remove_directory`].
    pub fn remove_directory(&self, remote: impl AsRef<[u8]>) -> Operation<()> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.remove_directory(&path).await
        })
    }

    /// Gives anything another name in its export, atomically and durably. What has the new name already makes room only if
    /// `replace` is set: a file for a file, an empty directory for a directory.
    ///
    /// # Errors
    /// Those of [`Connection::rename`]; [`ClientError::Across`] when the exports differ. After any other failure than
    /// [`ClientError::Refused`] it may have been renamed.
    pub fn rename(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        replace: bool,
    ) -> Operation<()> {
        let (path, host) = (self.path(from), self.0.host.clone());
        let to = RemotePath::on(&host, to.as_ref());
        Operation::new(async move {
            let ((client, from), to) = (path?, to?);
            client.0.connection.rename(&from, &to, replace).await
        })
    }

    /// Makes a symbolic link, durably, that leads where `target` says; the server does not look there. A file or
    /// link that has the name is replaced.
    ///
    /// # Errors
    /// Those of [`Connection::make_link`].
    pub fn make_link(&self, remote: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Operation<()> {
        let (path, target) = (self.path(remote), target.as_ref().to_vec());
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.make_link(&path, &target).await
        })
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// Those of [`Connection::read_link`].
    pub fn read_link(&self, remote: impl AsRef<[u8]>) -> Operation<Vec<u8>> {
        let path = self.path(remote);
        Operation::new(async move {
            let (client, path) = path?;
            client.0.connection.read_link(&path).await
        })
    }

    /// Asks the server what it is, and measures how long the answer takes.
    ///
    /// # Errors
    /// Those of [`Connection::describe`].
    pub fn describe(&self) -> Operation<Description> {
        let client = self.clone();
        Operation::new(async move { client.0.connection.describe().await })
    }
}
