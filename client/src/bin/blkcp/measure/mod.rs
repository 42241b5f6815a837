//! `blkcp measure`: what each data path to a host costs.

mod arguments;
mod remote;
mod report;
mod scratch;

use std::ffi::OsStr;
use std::time::SystemTime;

use blk_client::paths::{Carrier, Cost, History, Meter, Purpose, Site, without_zero_copy};
use blk_client::{
    ClientError, Connection, Datapath, ErrorKind, Location, Progress, RemotePath, SourceFile,
};
use blk_datapath::explain::explain;
use blk_datapath::link::missing_privileges;
use blk_datapath::net::Interface;
use blk_datapath::probe::no_zero_copy;
use tokio::task::spawn_blocking;

pub use self::arguments::MeasureArguments;
use self::remote::Remote;
use self::report::{Chosen, Report, Row};
use self::scratch::Scratch;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::memory::history;

/// Bytes of a file whose figures are remembered, at least: of fewer, what goes on at its begin and end is too large a part.
const REMEMBERED_MIN: u64 = 256 << 20;

/// The data paths, by their names on the command line and in a sentence.
const DATAPATHS: [(Datapath, &str, &str); 3] = [
    (Datapath::Udp, "udp", "UDP sockets"),
    (Datapath::Copy, "copy", "AF_XDP copy mode"),
    (Datapath::ZeroCopy, "zerocopy", "AF_XDP zero-copy"),
];

/// What came of it.
pub struct Measured {
    /// What was found.
    pub report: Report,
    /// Whether the file at the other end is gone.
    pub removed: Result<(), Failure>,
}

/// Does what the command line says.
pub fn run(arguments: &MeasureArguments, interrupt: Interrupt) -> Result<Measured, Failure> {
    let place = match Location::parse(&arguments.place)? {
        Location::Remote(place) => place,
        Location::Local(_) => {
            let message = "measure wants a directory of a host: HOST:EXPORT/DIR";
            return Err(Failure::Usage(message.to_owned()));
        }
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = since.map_or(0, |since| since.subsec_nanos());
    let name = format!("blkcp-measure-{}-{nanoseconds:08x}", std::process::id());
    tokio_uring::start(measure_and_clean_up(&place, &name, arguments, &interrupt))
}

async fn measure_and_clean_up(
    place: &RemotePath,
    name: &str,
    arguments: &MeasureArguments,
    interrupt: &Interrupt,
) -> Result<Measured, Failure> {
    let remote = Remote::new(place.join(name.as_bytes()), arguments);
    let measured = async {
        remote.check(place).await?;
        let scratch = Scratch::make(name)?;
        interrupt.leaves(format!(
            "{} and {} here may be there still: remove them",
            remote.target,
            Scratch::place(name).display()
        ));
        scratch.fill(arguments.size).await?;
        measure(&remote, &scratch, arguments).await
    };
    let result = tokio::select! {
        result = measured => result,
        () = interrupt.wait() => Err(Failure::Stopped),
    };
    // The signal after one that has ended the measurement ends the process.
    let removed = tokio::select! {
        removed = remote.clean_up() => removed,
        () = interrupt.wait() => Err("interrupted".to_owned()),
    };
    let removed = removed.map_err(|why| Failure::Left {
        target: remote.target.to_string(),
        why,
    });
    match result {
        Ok(report) => Ok(Measured { report, removed }),
        Err(failure) => {
            if let Err(left) = removed {
                eprintln!("blkcp: {left}");
            }
            Err(failure)
        }
    }
}

async fn measure(
    remote: &Remote<'_>,
    scratch: &Scratch,
    arguments: &MeasureArguments,
) -> Result<Report, Failure> {
    let mut rows = DATAPATHS.map(|(_, datapath, name)| Row {
        datapath,
        name,
        puts: Vec::new(),
        gets: Vec::new(),
        absent: None,
    });
    let mut sites = Vec::new();
    for round in 0..arguments.rounds {
        // Who comes later finds caches and disk as the earlier one has left them: by turns.
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let ((datapath, _, name), row) = (DATAPATHS[at], &mut rows[at]);
            if row.absent.is_some() {
                continue;
            }
            if !arguments.quiet {
                eprintln!("round {} of {}: {name}", round + 1, arguments.rounds);
            }
            let options = arguments.connect_options(datapath);
            let connection = match Connection::open(&remote.target.host, &options).await {
                Ok(connection) => connection,
                Err(error) if datapath != Datapath::Udp && is_absent(&error) => {
                    // Of what is not there in every round, some figures are no figures.
                    row.puts.clear();
                    row.gets.clear();
                    row.absent = Some(explain(&error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (put, get) = turn(&connection, remote, scratch, arguments.size).await?;
            row.puts.push(put);
            row.gets.push(get);
            let found = connection.datapath().site.clone();
            sites.extend((!sites.contains(&found)).then_some(found));
        }
    }
    let Some(site) = sites.pop() else {
        let why = rows.iter().find_map(|row| row.absent.clone());
        return Err(Failure::NothingMeasured(why.unwrap_or_default()));
    };
    let forgotten = match sites.is_empty() {
        true => remember(history(), &site, &rows, arguments.size)
            .await
            .err(),
        false => Some("the packets did not all go by one interface, with the same MTU".to_owned()),
    };
    let chosen = [Purpose::Send, Purpose::Receive].map(|purpose| chosen(&site, &rows, purpose));
    Ok(Report {
        site,
        size: arguments.size,
        rows: rows.into(),
        chosen,
        forgotten,
    })
}

/// Whether a connection over AF_XDP that failed in this way says that it cannot be had here. The other end has been reached over UDP
/// sockets before; if it is gone now, their next turn or the removal of the file says so.
fn is_absent(error: &ClientError) -> bool {
    use ErrorKind::{Datapath, Permission, Unreachable};
    error.is_no_af_xdp() || matches!(error.kind(), Datapath | Permission | Unreachable)
}

/// A put and a get over a data path: what they cost.
async fn turn(
    connection: &Connection,
    remote: &Remote<'_>,
    scratch: &Scratch,
    size: u64,
) -> Result<(Cost, Cost), Failure> {
    let source = SourceFile::open(&scratch.source())?;
    let cost = |meter: &Meter| {
        meter
            .cost(size)
            .ok_or_else(|| Failure::NothingMeasured("the clock stands still".to_owned()))
    };
    remote.clear(connection).await?;
    let meter = Meter::start();
    remote.put(connection, &source).await?;
    let put = cost(&meter)?;
    let (directory, name) = (scratch.open()?, OsStr::new(scratch.got()));
    let meter = Meter::start();
    connection
        .get(&remote.target, directory, name, Progress::default())
        .await?;
    let get = cost(&meter)?;
    scratch.remove_got()?;
    Ok((put, get))
}

/// Remembers the figures of both carriers; why not, if they are not. When copy mode cannot be had any more, it must not be taken for what
/// it was.
async fn remember(history: History, site: &Site, rows: &[Row; 3], size: u64) -> Result<(), String> {
    let site = site.clone();
    let ways = rows.each_ref().map(Row::ways);
    // Who has no privileges has found out nothing about the interface.
    let is_gone = rows[1].absent.is_some() && missing_privileges().is_none();
    let keep = move || {
        if is_gone {
            let stays = |error| format!("older figures stay: {}", explain(&error));
            history.forget(&site).map_err(stays)?;
        }
        if size < REMEMBERED_MIN {
            let least = REMEMBERED_MIN >> 20;
            return Err(format!("the file has less than {least} MiB"));
        }
        let [Some(udp), Some(copy), _] = ways else {
            return Err("there are no two data paths to choose between by figures".to_owned());
        };
        let kept = history.record(&site, size, udp, copy);
        kept.map_err(|error| explain(&error))
    };
    // It may have to wait for another process.
    let kept = spawn_blocking(keep).await;
    kept.unwrap_or_else(|error| Err(error.to_string()))
}

/// What `auto` takes from now on.
fn chosen(site: &Site, rows: &[Row; 3], purpose: Purpose) -> Chosen {
    let [_, copy, zero_copy] = rows;
    let interface = Interface::by_name(&site.interface).ok();
    let announced = interface.as_ref().and_then(no_zero_copy);
    let Some(why) = announced.or_else(|| zero_copy.absent.clone()) else {
        return Chosen {
            name: zero_copy.name,
            reason: "it can be had".to_owned(),
        };
    };
    if let Some(why) = &copy.absent {
        return Chosen {
            name: Carrier::Udp.name(),
            reason: format!("no AF_XDP: {why}"),
        };
    }
    let (carrier, reason) = without_zero_copy(site, &history(), purpose, &why);
    Chosen {
        name: carrier.name(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: usize, absent: Option<&str>) -> Row {
        let (_, datapath, name) = DATAPATHS[at];
        let costs = match absent {
            Some(_) => Vec::new(),
            None => vec![Cost {
                rate: 1e9,
                cpu_per_gb: 1.0,
            }],
        };
        Row {
            datapath,
            name,
            puts: costs.clone(),
            gets: costs,
            absent: absent.map(str::to_owned),
        }
    }

    #[test]
    fn without_native_xdp_auto_takes_udp_sockets() {
        let site = Site::named("lo", "", 65_536);
        let none = Some("it is this host");
        let rows = [row(0, None), row(1, none), row(2, none)];
        let taken = chosen(&site, &rows, Purpose::Send);
        assert_eq!(taken.name, "UDP sockets");
        assert_eq!(taken.reason, "no AF_XDP: it is this host");
        let rows = [row(0, None), row(1, None), row(2, None)];
        assert_eq!(chosen(&site, &rows, Purpose::Send).name, "AF_XDP zero-copy");
    }

    #[test]
    fn little_or_half_is_not_remembered() {
        let site = Site::named("lo", "", 65_536);
        let whole = [row(0, None), row(1, None), row(2, Some("x"))];
        let half = [row(0, None), row(1, Some("x")), row(2, Some("x"))];
        let directory = tempfile::tempdir().unwrap();
        let history = History::at(directory.path().join("paths.json"));
        let kept = |rows: &[Row; 3], size| {
            tokio_uring::start(remember(history.clone(), &site, rows, size))
        };
        let little = kept(&whole, REMEMBERED_MIN - 1);
        assert!(little.unwrap_err().contains("256 MiB"));
        assert_eq!(history.look_up(&site).unwrap(), None);
        assert_eq!(kept(&whole, REMEMBERED_MIN), Ok(()));
        assert!(history.look_up(&site).unwrap().is_some());
        let half = kept(&half, REMEMBERED_MIN);
        assert!(half.unwrap_err().contains("two data paths"));
        // Whoever may have no AF_XDP does not know whether others may.
        let is_known = history.look_up(&site).unwrap().is_some();
        assert_eq!(is_known, missing_privileges().is_some());
    }
}
