//! A scenario in words, for the report of a failure.

use core::fmt::{Display, Formatter, Result};
use core::time::Duration;

use super::{Action, Narrow, Party, START, Scenario};
use crate::sim::client::Task;
use crate::sim::link::LinkPlan;
use crate::time::Time;

/// Time since the start of the run.
fn since(time: Time) -> String {
    if time == Time::MAX {
        return "the end".into();
    }
    format!("{:?}", time.saturating_since(START))
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn percent(per_million: u64) -> f64 {
    per_million as f64 / 10_000.0
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let server = &self.server;
        writeln!(
            f,
            "seed {}: {} clients{}",
            self.seed,
            self.parties.len(),
            if self.shared {
                " on one link, that of the first"
            } else {
                ""
            }
        )?;
        writeln!(
            f,
            "  server: window {}, {} frames to receive and {} to send, at most {} sessions, blocks of {} bytes",
            server.config.local.initial_credit,
            server.receive_frames,
            server.send_frames,
            server.max_sessions,
            server.block_len,
        )?;
        writeln!(
            f,
            "  disk: {:?} for each write, up to {:?} more, sync up to {:?}",
            nanos(self.disk.service),
            nanos(self.disk.latency),
            nanos(self.disk.sync)
        )?;
        for (from, to) in &self.disk.stalls {
            writeln!(
                f,
                "  the disk stalls from {} to {}",
                since(*from),
                since(*to)
            )?;
        }
        for (at, action) in &self.actions {
            writeln!(f, "  at {}: {action}", since(*at))?;
        }
        if let Some(flood) = self.flood {
            writeln!(
                f,
                "  {} forged Hellos, one every {:?}",
                flood.hellos,
                nanos(flood.every)
            )?;
        }
        if let Some(at) = self.doomed {
            writeln!(f, "  everybody is cut off for good at {}", since(at))?;
        }
        if let Some(Narrow { from, mtu }) = self.narrow {
            writeln!(
                f,
                "  all paths drop packets of more than {mtu} bytes for good from {}",
                since(from)
            )?;
        }
        for (number, party) in self.parties.iter().enumerate() {
            write!(f, "  client {number}: {party}")?;
        }
        Ok(())
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::CrashServer => f.write_str("the server is killed"),
            Self::StopServer => f.write_str("the server ends in good order"),
            Self::HangUp { client } => write!(f, "client {client} gives its session up"),
            Self::Freeze { host, until } => {
                match host.client() {
                    Some(client) => write!(f, "client {client}")?,
                    None => f.write_str("the server")?,
                }
                write!(f, " stands still until {}", since(*until))
            }
            Self::StartServer => f.write_str("the server is started again"),
            Self::CrashClient { client, until } => {
                write!(
                    f,
                    "client {client} is killed, and started again at {}",
                    since(*until)
                )
            }
        }
    }
}

impl Display for Party {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let plan = &self.plan;
        writeln!(
            f,
            "window {}, {} frames to send, blocks of {} bytes, {} tasks at a time, {} messages, starts at {}",
            plan.config.local.initial_credit,
            plan.send_frames,
            plan.block_len,
            plan.parallel,
            plan.noise.0,
            since(plan.start),
        )?;
        for task in &plan.tasks {
            writeln!(f, "    {task}")?;
        }
        writeln!(f, "    to the server: {}", self.up)?;
        writeln!(f, "    and back: {}", self.down)
    }
}

impl Display for Task {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let cancel = match self {
            Self::Put {
                file,
                size,
                cancel_at,
            } => {
                write!(f, "put file {file}, {size} bytes")?;
                cancel_at
            }
            Self::Get { file, cancel_at } => {
                write!(f, "get file {file}")?;
                cancel_at
            }
        };
        match cancel {
            Some(at) => write!(f, ", cancelled after {at} blocks"),
            None => Ok(()),
        }
    }
}

impl Display for LinkPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{:?} and up to {:?} more",
            nanos(self.delay),
            nanos(self.jitter)
        )?;
        if self.keeps_order {
            f.write_str(" in order")?;
        }
        for (chance, what) in [
            (self.loss, "lost"),
            (self.duplication, "doubled"),
            (self.replay, "replayed"),
            (self.corruption, "corrupted"),
            (self.truncation, "cut"),
            (self.garbage, "garbage"),
        ] {
            if chance > 0 {
                write!(f, ", {} % {what}", percent(chance))?;
            }
        }
        if let Some(bursts) = self.bursts {
            let (enter, leave, loss) = (
                percent(bursts.enter),
                percent(bursts.leave),
                percent(bursts.loss),
            );
            write!(
                f,
                ", bursts (begin {enter} %, end {leave} %, lose {loss} %)"
            )?;
        }
        if self.detours > 0 {
            write!(
                f,
                ", {} % take {:?} longer",
                percent(self.detours),
                nanos(self.detour)
            )?;
        }
        if self.rate > 0 {
            write!(f, ", {} bytes/s, queue of {}", self.rate, self.queue)?;
        }
        if self.mark_above > 0 {
            write!(f, ", marks above {}", self.mark_above)?;
        }
        for (at, mtu) in &self.mtu {
            write!(f, ", MTU {mtu} from {}", since(*at))?;
        }
        for outage in &self.outages {
            write!(
                f,
                ", cut from {} to {}",
                since(outage.from),
                since(outage.to)
            )?;
        }
        Ok(())
    }
}
