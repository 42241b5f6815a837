//! What this program does when it runs itself again on a host of the lab.

pub mod blast;
mod first_bytes;
mod random_load;

use std::path::PathBuf;

use anyhow::Result;
use blk_client::{ConnectOptions, Connection, Datapath, OpenOptions, RemoteFile, RemotePath};
use clap::{Args, Subcommand};
use serde::Serialize;

pub use first_bytes::FirstBytes;

/// This program.
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the executable has a path")
}

/// A file of the server's export `data`.
#[derive(Debug, Args)]
pub struct Target {
    /// The server
    host: String,
    /// The file's name
    name: String,
    /// Data path of this end
    #[arg(long, default_value = "auto")]
    datapath: String,
}

/// Parts of a measurement. They are for this program alone to start.
#[derive(Debug, Subcommand)]
pub enum Inside {
    /// 4 KiB reads or writes at random places through the client library
    #[command(hide = true)]
    RandomLoad(random_load::Arguments),
    /// First reads after pauses through the client library
    #[command(hide = true)]
    FirstBytes(first_bytes::Arguments),
    /// Send packets over AF_XDP as fast as they go, for some seconds
    #[command(hide = true)]
    BlastSend(blast::Arguments),
    /// Count packets that come over AF_XDP
    #[command(hide = true)]
    BlastReceive(blast::Arguments),
}

impl Inside {
    /// Does it; the result is on standard output.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::RandomLoad(arguments) => random_load::run(arguments),
            Self::FirstBytes(arguments) => first_bytes::run(arguments),
            Self::BlastSend(arguments) => blast::send(arguments),
            Self::BlastReceive(arguments) => blast::receive(arguments),
        }
    }
}

/// A line of JSON that tells the data path too.
fn with_datapath(report: &impl Serialize, datapath: &str) -> Result<String> {
    let mut report = serde_json::to_value(report)?;
    report["datapath"] = datapath.into();
    Ok(report.to_string())
}

impl Target {
    async fn connect(&self) -> Result<Connection> {
        let datapath = match self.datapath.as_str() {
            "auto" => Datapath::Auto,
            "copy" => Datapath::Copy,
            "udp" => Datapath::Udp,
            other => anyhow::bail!("no data path {other}"),
        };
        let options = ConnectOptions {
            datapath,
            ..ConnectOptions::default()
        };
        Ok(Connection::open(&self.host, &options).await?)
    }

    async fn open(&self, connection: &Connection) -> Result<RemoteFile> {
        let path = RemotePath {
            host: self.host.clone(),
            export: "data".to_owned(),
            path: self.name.clone().into_bytes(),
            trailing_slash: false,
        };
        Ok(connection.open_file(&path, OpenOptions::default()).await?)
    }
}
