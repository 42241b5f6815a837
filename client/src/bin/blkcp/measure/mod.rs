//! `blkcp measure`: what each data path to a host costs.

mod absent;
mod arguments;
mod remember;
mod remote;
mod report;
mod scratch;

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use blk_client::paths::{Carrier, Cost, Meter, Purpose, Site, Wish, without_zero_copy};
use blk_client::{Connection, Datapath, Location, Progress, RemotePath, SourceFile};
use blk_datapath::net::Interface;
use blk_datapath::probe::no_zero_copy;
use blk_datapath::udp::SEGMENTS_VARIABLE;
use rustix::rand::{GetRandomFlags, getrandom};

use self::absent::{Absent, Missed};
pub use self::arguments::MeasureArguments;
use self::remember::{Findings, remember};
use self::remote::Remote;
use self::report::{Chosen, Report, Row};
use self::scratch::Scratch;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::memory::history;

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
    let name = own_name()?;
    tokio_uring::start(measure_and_clean_up(&place, &name, arguments, &interrupt))
}

/// A name that nothing has, at either end.
fn own_name() -> Result<String, Failure> {
    let mut random = [0; 16];
    // So few come whole, or not at all (getrandom(2)).
    getrandom(&mut random, GetRandomFlags::empty())
        .map_err(io::Error::from)
        .map_err(Failure::local("use", Path::new("getrandom(2)")))?;
    Ok(format!(
        "blkcp-measure-{:032x}",
        u128::from_ne_bytes(random)
    ))
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

/// What a turn has brought.
struct Turn {
    put: Cost,
    get: Cost,
    site: Site,
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
            match turn(datapath, remote, scratch, arguments).await {
                Ok(Turn { put, get, site }) => {
                    row.puts.push(put);
                    row.gets.push(get);
                    sites.extend((!sites.contains(&site)).then_some(site));
                }
                Err(missed) => miss(row, missed, datapath, remote).await?,
            }
        }
    }
    let Some(site) = sites.last().cloned() else {
        return Err(Failure::NothingMeasured("there was no round".to_owned()));
    };
    let findings = Findings {
        rows: &rows,
        sites: &sites,
        server: &remote.target.host,
        size: arguments.size,
        has_flows: arguments.flows.is_some(),
        has_segments: std::env::var_os(SEGMENTS_VARIABLE).is_some(),
    };
    let forgotten = remember(history(), &findings).await.err();
    let chosen = [Purpose::Send, Purpose::Receive]
        .map(|purpose| chosen(&site, &rows, purpose, findings.has_flows));
    Ok(Report {
        site,
        size: arguments.size,
        rows: rows.into(),
        chosen,
        forgotten,
    })
}

/// A turn has failed: if that says that its data path is not there, it goes on without it.
async fn miss(
    row: &mut Row,
    missed: Missed,
    datapath: Datapath,
    remote: &Remote<'_>,
) -> Result<(), Failure> {
    let absent = Absent::of(&missed).filter(|_| datapath != Datapath::Udp);
    let Some(absent) = absent else {
        return Err(missed.into());
    };
    // A name is put only where nothing has it, and its late commit must not be taken for another one's.
    if remote.clean_up().await.is_err() {
        return Err(missed.into());
    }
    // Of what is not there in every round, some figures are no figures.
    row.puts.clear();
    row.gets.clear();
    row.absent = Some(absent);
    Ok(())
}

/// A connection over a data path, a put and a get: what they cost.
async fn turn(
    datapath: Datapath,
    remote: &Remote<'_>,
    scratch: &Scratch,
    arguments: &MeasureArguments,
) -> Result<Turn, Missed> {
    let options = arguments.connect_options(datapath);
    let opened = Connection::open(&remote.target.host, &options).await;
    let connection = opened.map_err(Missed::Connection)?;
    let copied = there_and_back(&connection, remote, scratch, arguments.size).await;
    let (put, get) = copied.map_err(Missed::Copy)?;
    Ok(Turn {
        put,
        get,
        site: connection.datapath().site.clone(),
    })
}

/// A put and a get over a connection: what they cost.
async fn there_and_back(
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

/// What `auto` takes from now on.
fn chosen(site: &Site, rows: &[Row; 3], purpose: Purpose, has_flows: bool) -> Chosen {
    let [_, copy, zero_copy] = rows;
    let interface = Interface::by_name(&site.interface).ok();
    let announced = interface.as_ref().and_then(no_zero_copy);
    let Some(why) = announced.or_else(|| Some(zero_copy.absent.as_ref()?.why.clone())) else {
        return Chosen {
            name: zero_copy.name,
            reason: "it can be had".to_owned(),
        };
    };
    // What is in the way for now, or of so many flows, is not in the way of what comes.
    let lasts = |absent: &&Absent| !absent.is_passing && !has_flows;
    if let Some(Absent { why, .. }) = copy.absent.as_ref().filter(lasts) {
        return Chosen {
            name: Carrier::Udp.name(),
            reason: format!("no AF_XDP: {why}"),
        };
    }
    let wish = Wish {
        purpose,
        bytes: None,
        has_flows: false,
    };
    let (carrier, reason) = without_zero_copy(site, &history(), wish, &why);
    Chosen {
        name: carrier.name(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data path that was measured once, or is absent for good.
    pub(super) fn row(at: usize, absent: Option<&str>) -> Row {
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
            absent: absent.map(|why| Absent {
                why: why.to_owned(),
                is_passing: false,
            }),
        }
    }

    #[test]
    fn nobody_else_has_the_name() {
        let (one, other) = (own_name().unwrap(), own_name().unwrap());
        assert!(one != other && one.len() == "blkcp-measure-".len() + 32);
    }

    #[test]
    fn without_native_xdp_auto_takes_udp_sockets() {
        let site = Site::named("lo", "", 65_536);
        let none = Some("it is this host");
        let rows = [row(0, None), row(1, none), row(2, none)];
        let taken = chosen(&site, &rows, Purpose::Send, false);
        assert_eq!(taken.name, "UDP sockets");
        assert_eq!(taken.reason, "no AF_XDP: it is this host");
        let rows = [row(0, None), row(1, None), row(2, None)];
        assert_eq!(
            chosen(&site, &rows, Purpose::Send, false).name,
            "AF_XDP zero-copy"
        );
    }
}
