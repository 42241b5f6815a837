//! How a verb gets to its hosts.

use std::rc::Rc;
use std::time::Duration;

use blk_client::paths::Purpose;
use blk_client::{self as client, ConnectOptions, Connection, RemotePath};
use blk_proto::net::Vlans;
use clap::Args;

use crate::arguments::{Datapath, vlans};
use crate::failure::Failure;
use crate::memory::history;

/// The words about the connection that all verbs have.
#[derive(Debug, Args)]
pub struct ConnectArguments {
    // Without the `-p` of a copy, which `mkdir` has for something else.
    /// UDP port of blockd
    #[arg(long, default_value_t = 7440, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// How packets cross the kernel, as for a copy: auto, prefer-xdp, zerocopy, copy, skb or udp; where no file is read, `auto` is udp
    #[arg(
        long,
        value_enum,
        default_value_t = Datapath::Auto,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub datapath: Datapath,
    /// VLAN of the server, as for a copy; AF_XDP only
    #[arg(long, value_name = "ID[,ID]", value_parser = vlans)]
    pub vlan: Option<Vlans>,
    /// Give up when the other end has been silent for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A few messages: not worth an XDP program on the interface.
    Messages,
    /// The content of files, from there to here.
    Content,
}

impl ConnectArguments {
    /// The library's words for it.
    pub fn options(&self, load: Load) -> ConnectOptions {
        let options = ConnectOptions {
            port: self.port,
            datapath: self.datapath.for_library(),
            silence: Duration::from_secs(self.timeout),
            vlans: self.vlan.unwrap_or_default(),
            ..ConnectOptions::default()
        };
        match load {
            Load::Content => ConnectOptions {
                history: history(),
                purpose: Purpose::Receive,
                ..options
            },
            Load::Messages => ConnectOptions {
                datapath: match options.datapath {
                    client::Datapath::Auto => client::Datapath::Udp,
                    asked => asked,
                },
                flows: Some(1),
                ..options
            },
        }
    }
}

/// The hosts that the words name, each with one connection, made when it is first needed.
pub struct Hosts<'a> {
    arguments: &'a ConnectArguments,
    load: Load,
    open: Vec<(String, Rc<Connection>)>,
}

impl<'a> Hosts<'a> {
    /// None yet.
    pub fn new(arguments: &'a ConnectArguments, load: Load) -> Self {
        Self {
            arguments,
            load,
            open: Vec::new(),
        }
    }

    /// Whether figures have chosen the data path of one.
    pub fn are_by_figures(&self) -> bool {
        let mut open = self.open.iter();
        open.any(|(_, connection)| connection.datapath().by_figures)
    }

    /// The connection with the host of a path.
    pub async fn of(&mut self, path: &RemotePath) -> Result<Rc<Connection>, Failure> {
        if let Some((_, connection)) = self.open.iter().find(|(host, _)| *host == path.host) {
            return Ok(Rc::clone(connection));
        }
        let options = self.arguments.options(self.load);
        let connection = Rc::new(Connection::open(&path.host, &options).await?);
        self.open.push((path.host.clone(), Rc::clone(&connection)));
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        connect: ConnectArguments,
    }

    #[test]
    fn auto_starts_no_xdp_program_for_messages() {
        let datapath = |words: &[&str], load| {
            let words = Words::try_parse_from([&["x"], words].concat()).unwrap();
            words.connect.options(load).datapath
        };
        assert_eq!(datapath(&[], Load::Messages), client::Datapath::Udp);
        assert_eq!(datapath(&[], Load::Content), client::Datapath::Auto);
        let asked = ["--datapath", "copy"];
        for load in [Load::Messages, Load::Content] {
            assert_eq!(datapath(&asked, load), client::Datapath::Copy);
        }
    }
}
