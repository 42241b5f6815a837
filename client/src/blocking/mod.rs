//! The same without futures: every call waits for its end.
//!
//! Handles may be shared by threads; many threads, each with an operation, are many operations at once. Not to be used on a thread
//! that an executor needs for other work.
//!
//! ```no_run
//! use std::io::Read;
//!
//! use blk_client::ConnectOptions;
//! use blk_client::blocking::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("storage1", &ConnectOptions::default())?;
//! client.put("disk.img", "data/images/disk.img")?;
//! let mut text = String::new();
//! client.reader("data/notes.txt")?.read_to_string(&mut text)?;
//! # Ok(())
//! # }
//! ```

mod streams;
mod wait;

use std::net::SocketAddr;
use std::path::Path;

use blk_datapath::engine::Progress;
use blk_proto::message::{Attributes, Entry};
use blk_proto::session::Stats;

pub use self::streams::{Reader, Writer};
pub use self::wait::block_on;
use crate::connection::{ConnectOptions, DatapathInfo, FlowInfo};
use crate::error::ClientError;
use crate::names::Description;
use crate::put::PutOptions;
use crate::remote_file::{OpenOptions, RemoteFile};
use crate::transfer::Copied;

/// As [`Client`](crate::Client): clones are the same connection. The errors are the same as well.
#[derive(Debug, Clone)]
pub struct Client(crate::Client);

impl Client {
    /// As [`Client::connect`](crate::Client::connect).
    pub fn connect(host: &str, options: &ConnectOptions) -> Result<Self, ClientError> {
        block_on(crate::Client::connect(host, options)).map(Self)
    }

    /// The same connection for futures.
    pub fn of(client: crate::Client) -> Self {
        Self(client)
    }

    /// The same connection for futures.
    pub fn as_async(&self) -> &crate::Client {
        &self.0
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote()
    }

    /// How blocks travel.
    pub fn datapath(&self) -> &DatapathInfo {
        self.0.datapath()
    }

    /// As [`Client::statistics`](crate::Client::statistics).
    pub fn statistics(&self) -> Result<Stats, ClientError> {
        block_on(self.0.statistics())
    }

    /// As [`Client::flows`](crate::Client::flows).
    pub fn flows(&self) -> Result<Vec<FlowInfo>, ClientError> {
        block_on(self.0.flows())
    }

    /// As [`Client::put`](crate::Client::put).
    pub fn put(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<[u8]>,
    ) -> Result<Copied, ClientError> {
        block_on(self.0.put(local, remote))
    }

    /// As [`Client::put_with`](crate::Client::put_with).
    pub fn put_with(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<[u8]>,
        options: &PutOptions,
        progress: &Progress,
    ) -> Result<Copied, ClientError> {
        block_on(self.0.put_with(local, remote, options, progress))
    }

    /// As [`Client::get`](crate::Client::get).
    pub fn get(
        &self,
        remote: impl AsRef<[u8]>,
        local: impl AsRef<Path>,
    ) -> Result<Copied, ClientError> {
        block_on(self.0.get(remote, local))
    }

    /// As [`Client::get_with`](crate::Client::get_with).
    pub fn get_with(
        &self,
        remote: impl AsRef<[u8]>,
        local: impl AsRef<Path>,
        progress: &Progress,
    ) -> Result<Copied, ClientError> {
        block_on(self.0.get_with(remote, local, progress))
    }

    /// As [`Client::stat`](crate::Client::stat).
    pub fn stat(&self, remote: impl AsRef<[u8]>) -> Result<Attributes, ClientError> {
        block_on(self.0.stat(remote))
    }

    /// As [`Client::list`](crate::Client::list).
    pub fn list(&self, remote: impl AsRef<[u8]>) -> Result<Vec<Entry>, ClientError> {
        block_on(self.0.list(remote))
    }

    /// As [`Client::make_directory`](crate::Client::make_directory).
    pub fn make_directory(&self, remote: impl AsRef<[u8]>, mode: u32) -> Result<(), ClientError> {
        block_on(self.0.make_directory(remote, mode))
    }

    /// As [`Client::remove`](crate::Client::remove).
    pub fn remove(&self, remote: impl AsRef<[u8]>) -> Result<(), ClientError> {
        block_on(self.0.remove(remote))
    }

    /// As [`Client::remove_directory`](crate::Client::remove_directory).
    pub fn remove_directory(&self, remote: impl AsRef<[u8]>) -> Result<(), ClientError> {
        block_on(self.0.remove_directory(remote))
    }

    /// As [`Client::rename`](crate::Client::rename).
    pub fn rename(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        replace: bool,
    ) -> Result<(), ClientError> {
        block_on(self.0.rename(from, to, replace))
    }

    /// As [`Client::make_link`](crate::Client::make_link).
    pub fn make_link(
        &self,
        remote: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<(), ClientError> {
        block_on(self.0.make_link(remote, target))
    }

    /// As [`Client::read_link`](crate::Client::read_link).
    pub fn read_link(&self, remote: impl AsRef<[u8]>) -> Result<Vec<u8>, ClientError> {
        block_on(self.0.read_link(remote))
    }

    /// As [`Client::describe`](crate::Client::describe).
    pub fn describe(&self) -> Result<Description, ClientError> {
        block_on(self.0.describe())
    }

    /// As [`Client::open`](crate::Client::open).
    pub fn open(
        &self,
        remote: impl AsRef<[u8]>,
        options: OpenOptions,
    ) -> Result<File, ClientError> {
        block_on(self.0.open(remote, options)).map(File)
    }

    /// As [`Client::reader`](crate::Client::reader).
    pub fn reader(&self, remote: impl AsRef<[u8]>) -> Result<Reader, ClientError> {
        block_on(self.0.reader(remote)).map(Reader::of)
    }

    /// As [`Client::writer`](crate::Client::writer).
    pub fn writer(&self, remote: impl AsRef<[u8]>) -> Result<Writer, ClientError> {
        block_on(self.0.writer(remote)).map(Writer::of)
    }

    /// As [`Client::close`](crate::Client::close).
    pub fn close(self) -> Result<(), ClientError> {
        block_on(self.0.close())
    }
}

/// As [`RemoteFile`]: a file of a server, read and written in place.
#[derive(Debug)]
pub struct File(RemoteFile);

impl File {
    /// What the file was when it was opened.
    pub fn attributes(&self) -> &Attributes {
        self.0.attributes()
    }

    /// As [`RemoteFile::len`].
    pub fn len(&self) -> Result<u64, ClientError> {
        block_on(self.0.len())
    }

    /// As [`RemoteFile::is_empty`].
    pub fn is_empty(&self) -> Result<bool, ClientError> {
        block_on(self.0.is_empty())
    }

    /// As [`RemoteFile::read_at`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ClientError> {
        block_on(self.0.read_at(buffer, offset))
    }

    /// As [`RemoteFile::write_at`].
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ClientError> {
        block_on(self.0.write_at(bytes, offset))
    }

    /// As [`RemoteFile::sync`].
    pub fn sync(&self) -> Result<(), ClientError> {
        block_on(self.0.sync())
    }

    /// As [`RemoteFile::set_len`].
    pub fn set_len(&self, size: u64) -> Result<(), ClientError> {
        block_on(self.0.set_len(size))
    }

    /// As [`RemoteFile::allocate`].
    pub fn allocate(&self, offset: u64, len: u64) -> Result<(), ClientError> {
        block_on(self.0.allocate(offset, len))
    }

    /// As [`RemoteFile::punch_hole`].
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<(), ClientError> {
        block_on(self.0.punch_hole(offset, len))
    }

    /// As [`RemoteFile::holes`].
    pub fn holes(&self) -> Result<Vec<(u64, u64)>, ClientError> {
        block_on(self.0.holes())
    }

    /// As [`RemoteFile::close`].
    pub fn close(self) -> Result<(), ClientError> {
        block_on(self.0.close())
    }
}
