//! The server's files, from the client.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::control::{PORT, Wish, number};
use crate::far_files::{FarFiles, digest};

/// On another machine. Whatever goes wrong ends the measurement.
pub struct Remote {
    stream: RefCell<BufReader<TcpStream>>,
}

impl Remote {
    /// Connects.
    pub fn connect(server: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(server, PORT);
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))
            .with_context(|| format!("no `bench server` answers at {address}"))?;
        let stream = RefCell::new(BufReader::new(stream));
        Ok(Self { stream })
    }

    fn try_ask(&self, wish: &Wish) -> Result<u64> {
        let mut stream = self.stream.borrow_mut();
        // One write: the second of two would wait for the answer to the first.
        stream.get_mut().write_all(format!("{wish}\n").as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        number(&line)
    }

    fn ask(&self, wish: &Wish) -> u64 {
        self.try_ask(wish)
            .unwrap_or_else(|error| panic!("{wish}: {error:#}"))
    }
}

impl FarFiles for Remote {
    fn make(&self, name: &str, size: u64) {
        self.ask(&Wish::Make(name.to_owned(), size));
    }

    fn fill(&self, name: &str, size: u64) {
        self.ask(&Wish::Fill(name.to_owned(), size));
    }

    fn remove(&self, name: &str) {
        self.ask(&Wish::Remove(name.to_owned()));
    }

    fn sync(&self, name: &str) {
        self.ask(&Wish::Sync(name.to_owned()));
    }

    fn warm(&self, name: &str) {
        self.ask(&Wish::Warm(name.to_owned()));
    }

    fn cool(&self, name: &str) {
        self.ask(&Wish::Cool(name.to_owned()));
    }

    fn busy_seconds(&self) -> f64 {
        self.ask(&Wish::Busy) as f64 / 1e3
    }

    fn assert_same(&self, name: &str, with: &Path) {
        let here = digest(with).expect("the file can be read");
        let there = self.ask(&Wish::Digest(name.to_owned()));
        assert_eq!(
            u64::from(here),
            there,
            "{name} differs from {}",
            with.display()
        );
    }
}
