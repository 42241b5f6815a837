//! The server's files and servers, from the client.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::Control;
use super::wish::{LONGEST, Wish, number};
use crate::far_files::{FarFiles, digest};

/// To find the server.
const CONNECT: Duration = Duration::from_secs(10);
/// For an answer: the server may have a large file to write or to read.
const ANSWER: Duration = Duration::from_secs(900);
/// No answer is longer, in bytes; one that tells why a server does not start has its last words.
const LONGEST_ANSWER: u64 = LONGEST * 256;

/// On another machine. What goes wrong ends the run that is measured by a panic; the next wish comes by a new connection when
/// the connection was what failed, so that no answer is taken for that of another wish.
pub struct Remote {
    address: Control,
    stream: RefCell<Option<BufReader<TcpStream>>>,
}

impl Remote {
    /// Connects.
    pub fn connect(address: Control) -> Result<Self> {
        let remote = Self {
            address,
            stream: RefCell::new(None),
        };
        remote.try_ask(&Wish::Busy)?;
        Ok(remote)
    }

    /// Whether a tool can be served there.
    pub fn has(&self, tool: &str) -> Result<bool> {
        Ok(self.try_ask(&Wish::Has(tool.to_owned()))? == 1)
    }

    fn try_ask(&self, wish: &Wish) -> Result<u64> {
        let mut stream = self.stream.borrow_mut();
        let (open, line) = self.exchange(stream.take(), wish)?;
        if line.ends_with('\n') {
            *stream = Some(open);
        }
        number(&line)
    }

    fn exchange(
        &self,
        open: Option<BufReader<TcpStream>>,
        wish: &Wish,
    ) -> Result<(BufReader<TcpStream>, String)> {
        let mut stream = match open {
            Some(open) => open,
            None => self.open()?,
        };
        // One write: the second of two would wait for the answer to the first.
        stream.get_mut().write_all(format!("{wish}\n").as_bytes())?;
        let mut line = String::new();
        stream
            .by_ref()
            .take(LONGEST_ANSWER)
            .read_line(&mut line)
            .context("the server does not answer")?;
        Ok((stream, line))
    }

    fn open(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address.0, CONNECT)
            .with_context(|| format!("no `bench server` answers at {}", self.address))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(CONNECT))?;
        Ok(BufReader::new(stream))
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

    fn cpu(&self) -> [f64; 3] {
        [Wish::Busy, Wish::Other, Wish::Steal].map(|wish| self.ask(&wish) as f64 / 1e3)
    }

    fn settle(&self) -> bool {
        self.ask(&Wish::Settle) == 1
    }

    fn serve(&self, tool: &str) {
        self.ask(&Wish::Serve(tool.to_owned()));
    }

    fn stop(&self) {
        // Also while something else fails: the server ends it with the connection at the latest.
        if let Err(error) = self.try_ask(&Wish::Stop) {
            eprintln!("bench: {}: {error:#}", Wish::Stop);
        }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_that_failed_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Control(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // One that ends without an answer to the second wish, and one that answers.
            for answers in [1, 2] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                for number in 0..=answers {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap() == 0 || number == answers {
                        break;
                    }
                    let answer = format!("ok {}\n", 10 * answers + number);
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        let remote = Remote::connect(address).unwrap();
        assert!(remote.try_ask(&Wish::Stop).is_err());
        assert_eq!(remote.try_ask(&Wish::Settle).unwrap(), 20);
        assert_eq!(remote.try_ask(&Wish::Busy).unwrap(), 21);
        drop(remote);
        server.join().unwrap();
    }
}
