//! The control port: one client at a time, whose wishes are carried out.
//!
//! It makes, reads and removes three files of fixed names in the directory that is served, starts and ends the servers of the
//! tools that it was started for, and does nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::wish::{LONGEST, Wish};
use crate::attempt::attempt;
use crate::cpu::{Cpu, busy_here};
use crate::far_files::{FarFiles, Local, digest};
use crate::rest::settle;
use crate::scene::Far;
use crate::tools::{Server, Tool};

/// A client that is silent for longer than any measurement takes has gone.
const SILENCE: Duration = Duration::from_secs(1200);
/// An answer is a few bytes.
const ANSWER: Duration = Duration::from_secs(10);
/// For the words of a client that comes too early.
const REFUSED: Duration = Duration::from_millis(500);

/// What is served, and by whom just now.
pub struct Stage {
    /// The directory and the address.
    pub far: Far,
    /// The tools that may be asked for.
    pub tools: Vec<Box<dyn Tool>>,
    /// Bytes of the largest file that a client may have made.
    pub largest: u64,
    /// The only server that runs.
    pub running: Option<Server>,
}

impl Stage {
    /// Does it; gives the number that was asked for, or 0.
    fn carry_out(&mut self, wish: &Wish) -> Result<u64> {
        let export = self.far.export.clone();
        self.check(wish, &export)?;
        let path = |name: &str| export.join(name);
        let milliseconds = |seconds: f64| (seconds.max(0.0) * 1e3) as u64;
        let files = Local {
            export: export.clone(),
        };
        match wish {
            Wish::Make(name, size) => files.make(name, *size),
            Wish::Fill(name, size) => files.fill(name, *size),
            Wish::Remove(name) => files.remove(name),
            Wish::Sync(name) => files.sync(name),
            Wish::Warm(name) => files.warm(name),
            Wish::Cool(name) => files.cool(name),
            Wish::Serve(tool) => self.serve(tool)?,
            Wish::Stop => self.running = None,
            Wish::Digest(name) => return Ok(digest(&path(name))?.into()),
            Wish::Has(tool) => return Ok(self.tool(tool).is_ok().into()),
            Wish::Settle => return Ok(settle(&export).into()),
            Wish::Busy => return Ok(milliseconds(busy_here())),
            Wish::Other => return Ok(milliseconds(Cpu::here().other)),
            Wish::Steal => return Ok(milliseconds(Cpu::here().steal)),
        }
        Ok(0)
    }

    fn check(&self, wish: &Wish, export: &Path) -> Result<()> {
        match wish {
            Wish::Make(_, size) | Wish::Fill(_, size) => {
                ensure!(
                    *size <= self.largest,
                    "{size} bytes are more than --largest"
                );
            }
            Wish::Sync(name) | Wish::Warm(name) | Wish::Cool(name) => {
                let there = export.join(name).is_file();
                ensure!(there, "there is no file {name}");
            }
            _ => {}
        }
        Ok(())
    }

    fn tool(&self, name: &str) -> Result<&dyn Tool> {
        let mut tools = self.tools.iter().map(AsRef::as_ref);
        let found = tools.find(|tool: &&dyn Tool| tool.name() == name);
        found.with_context(|| format!("{name} is not served here"))
    }

    /// Nobody else shall have this machine's CPUs: the one that ran ends first.
    fn serve(&mut self, name: &str) -> Result<()> {
        self.running = None;
        if let Some(service) = self.tool(name)?.server(&self.far) {
            eprintln!("bench: serving for {name}: {:?}", service.command);
            self.running = Some(Server::start(service, &self.far));
        }
        Ok(())
    }
}

/// Answers a client until it has gone, and ends what it had started.
pub fn answer(stream: &TcpStream, stage: &mut Stage) -> Result<()> {
    let outcome = answer_all(stream, stage);
    stage.running = None;
    outcome
}

fn answer_all(mut stream: &TcpStream, stage: &mut Stage) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut reader = BufReader::new(stream);
    while let Some(line) = line(&mut reader)? {
        let done = line.parse().and_then(|wish| {
            let done = attempt(|| stage.carry_out(&wish));
            done.unwrap_or_else(|reason| Err(anyhow!(reason)))
        });
        let answer = match done {
            Ok(number) => format!("ok {number}\n"),
            // One line, whatever a server has said.
            Err(error) => format!("error {}\n", format!("{error:#}").replace('\n', "; ")),
        };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The next one, if there is one.
fn line(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(LONGEST).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let whole = line.ends_with(b"\n");
    ensure!(whole, "a line without end, or of more than {LONGEST} bytes");
    Ok(Some(String::from_utf8(line)?))
}

/// Tells a client that it comes too early.
pub fn refuse(mut stream: &TcpStream, other: &str) -> Result<()> {
    stream.set_write_timeout(Some(ANSWER))?;
    let answer = format!("error {other} measures here, and one at a time does\n");
    stream.write_all(answer.as_bytes())?;
    // With its words unread, the end would be a reset, which may take the answer away from it.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(REFUSED))?;
    let _ = stream.read(&mut [0; LONGEST as usize]);
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::scene::{PUT, Place};

    /// A server with no tools and an export that is not there.
    pub fn stage() -> Stage {
        Stage {
            far: Far {
                place: Place::Here,
                address: "127.0.0.1".to_owned(),
                interfaces: Vec::new(),
                export: "/nonexistent".into(),
                home: "/nonexistent".into(),
            },
            tools: Vec::new(),
            largest: 10,
            running: None,
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut stage = stage();
        for wish in [
            Wish::Make(PUT.to_owned(), 11),
            Wish::Sync(PUT.to_owned()),
            Wish::Serve("rsync daemon".to_owned()),
        ] {
            assert!(stage.carry_out(&wish).is_err(), "{wish}");
        }
        assert_eq!(stage.carry_out(&Wish::Has("x".to_owned())).unwrap(), 0);
        assert!(stage.carry_out(&Wish::Busy).unwrap() > 0);
    }

    #[test]
    fn lines_have_a_limit() {
        let mut good = &b"busy\nstop\n"[..];
        assert_eq!(line(&mut good).unwrap().as_deref(), Some("busy\n"));
        assert_eq!(line(&mut good).unwrap().as_deref(), Some("stop\n"));
        assert_eq!(line(&mut good).unwrap(), None);
        assert!(line(&mut &[b'x'; 1000][..]).is_err());
        assert!(line(&mut &b"busy"[..]).is_err(), "no end");
        assert!(line(&mut &b"\xff\n"[..]).is_err());
    }

    /// What a client gets for what it sends.
    fn conversation(words: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let server = std::thread::spawn(move || answer(&stream, &mut stage()).is_ok());
        client.write_all(words).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        // What ends by an error may end with unread bytes, and so by a reset.
        let _ = client.read_to_string(&mut text);
        server.join().unwrap();
        text
    }

    #[test]
    fn a_failure_is_an_answer_and_not_the_end() {
        let text = conversation(b"remove /etc/passwd\nfill put 5\nstop\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("error no file") && lines[1].starts_with("error "));
        assert_eq!(lines[2], "ok 0");
        assert_eq!(conversation(&[b'x'; 600]), "");
    }
}
