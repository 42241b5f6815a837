//! The blocking part of a connection: route, neighbour, XDP program and worker. It runs on a thread of its own,
//! so that whoever waits for the connection can give up at any moment.

use std::net::SocketAddr;
use std::time::Duration;

use blk_datapath::link::{Datapath, LinkKind, missing_privileges};
use blk_datapath::net::{Interface, is_card};
use blk_datapath::worker::{WorkerConfig, WorkerError, WorkerHandle, max_payload_for, spawn};
use blk_proto::net::Path;
use blk_proto::session::MIN_MAX_PAYLOAD;
use blk_xdp::SlotError;
use tokio::sync::oneshot;

use crate::connection::{ConnectOptions, DatapathInfo};
use crate::error::ClientError;
use crate::flow::Flow;
use crate::paths::{Auto, Carrier, Site, Wish, auto, without_zero_copy};
use crate::resolver::refuse_link_local;
use crate::service::{ClientService, Command};
use crate::way::{Found, Way, site_to};

/// So often another port is taken for a flow whose port turns out to be claimed.
const PORT_TRIES: u32 = 8;
/// How long a free queue is waited for where UDP does as well: a process that has just ended gives its own back within that.
const AUTO_PATIENCE: Duration = Duration::from_millis(200);

/// Runs `work` on a thread of its own. When the future is dropped the thread ends its work alone, and drops the result.
pub async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let (answer, waiting) = oneshot::channel();
    std::thread::Builder::new()
        .name("blk-connect".to_owned())
        .spawn(move || {
            // Nobody waits any more: what was made is dropped here, on the thread that may block.
            let _ = answer.send(work());
        })
        .map_err(WorkerError::Io)?;
    waiting.await.unwrap_or(Err(WorkerError::Died.into()))
}

/// What the flows of a connection have in common.
pub struct Ground {
    interface: Interface,
    options: ConnectOptions,
    remote: SocketAddr,
    /// Largest packet that the route takes, as far as is known.
    route_mtu: u32,
    way: Way,
    datapath: DatapathInfo,
    /// Packets from the server come by other queues than that of the flow they belong to, as ports will have it.
    shuffled: bool,
}

/// Makes everything that a session with `remote` needs: the first flow, the path of its packets, and the ground for more.
pub fn prepare(
    remote: SocketAddr,
    options: &ConnectOptions,
) -> Result<(Flow, Path, Ground), ClientError> {
    refuse_link_local(remote)?;
    if let Some((carrier, reason)) = instead_of_zero_copy(remote, options) {
        return begin_by_figures(remote, options, carrier, reason);
    }
    let found = Way::find(remote, options)?;
    match begin(found, remote, options) {
        // The first attempt has given back what it had: no program stays on the interface for this one.
        Err(error) if may_be_udp(options) && is_busy(&error) => {
            begin_over_udp(remote, options, &error)
        }
        Err(error) if may_be_udp(options) && error.is_no_af_xdp() => {
            let why = format!("no AF_XDP: {error}");
            match options.datapath {
                // A driver that announces zero-copy may refuse it.
                Datapath::Auto => {
                    let chosen = site_to(remote).map(|(_, site)| {
                        without_zero_copy(&site, &options.history, wish(options), &why)
                    });
                    let (carrier, reason) = chosen.unwrap_or((Carrier::Udp, why));
                    begin_by_figures(remote, options, carrier, reason)
                }
                _ => begin_over_udp(remote, options, &error),
            }
        }
        outcome => outcome,
    }
}

/// What `auto` takes where AF_XDP can be had, but not with zero-copy, and why.
fn instead_of_zero_copy(remote: SocketAddr, options: &ConnectOptions) -> Option<(Carrier, String)> {
    let is_open = options.datapath == Datapath::Auto && may_be_udp(options);
    if !is_open || missing_privileges().is_some() {
        return None;
    }
    let (interface, site) = site_to(remote)?;
    match auto(&interface, &site, &options.history, wish(options)) {
        Auto::Instead(carrier, reason) => Some((carrier, reason)),
        Auto::ZeroCopy => None,
    }
}

fn wish(options: &ConnectOptions) -> Wish {
    Wish {
        purpose: options.purpose,
        bytes: options.bytes,
        has_flows: options.flows.is_some(),
    }
}

/// Starts the first flow over what was chosen for its cost. Figures keep nobody from a copy: whatever is in the way of AF_XDP, there
/// are UDP sockets.
fn begin_by_figures(
    remote: SocketAddr,
    options: &ConnectOptions,
    carrier: Carrier,
    reason: String,
) -> Result<(Flow, Path, Ground), ClientError> {
    if carrier == Carrier::Udp {
        let found = Way::udp(remote, options, Some(reason))?;
        return begin(found, remote, options);
    }
    let over_xdp = ConnectOptions {
        datapath: Datapath::PreferXdp,
        ..options.clone()
    };
    let begun = Way::find(remote, &over_xdp).and_then(|mut found| {
        found.reason.get_or_insert(reason);
        begin(found, remote, &over_xdp)
    });
    match begun {
        Ok((flow, path, mut ground)) => {
            ground.datapath.by_figures = ground.way.has_queues();
            Ok((flow, path, ground))
        }
        Err(error) => begin_over_udp(remote, options, &error),
    }
}

/// Starts the first flow again, over UDP, as this came of the session over AF_XDP that figures have led to.
pub fn instead_of_copy_mode(
    remote: SocketAddr,
    options: &ConnectOptions,
    error: &ClientError,
) -> Result<(Flow, Path, Ground), ClientError> {
    let reason = format!("no session over AF_XDP, which was measured to be better: {error}");
    tracing::info!("{reason}; UDP sockets instead");
    let found = Way::udp(remote, options, Some(reason))?;
    begin(found, remote, options)
}

/// Starts the first flow over UDP, as this came of AF_XDP before there was a session.
fn begin_over_udp(
    remote: SocketAddr,
    options: &ConnectOptions,
    error: &ClientError,
) -> Result<(Flow, Path, Ground), ClientError> {
    let found = Way::udp(remote, options, Some(format!("no AF_XDP: {error}")))?;
    begin(found, remote, options)
}

/// Starts the first flow on a way.
fn begin(
    found: Found,
    remote: SocketAddr,
    options: &ConnectOptions,
) -> Result<(Flow, Path, Ground), ClientError> {
    let Found {
        way,
        interface,
        route_mtu,
        reason,
    } = found;
    let mut ground = Ground {
        datapath: DatapathInfo {
            interface: interface.name.clone(),
            queue: 0,
            mode: "",
            reason,
            mtu: interface.mtu,
            site: Site::of(&interface, route_mtu),
            by_figures: false,
        },
        route_mtu,
        interface,
        options: options.clone(),
        remote,
        way,
        shuffled: false,
    };
    let (flow, path, link) = ground.start_flow(0, None)?;
    ground.datapath.queue = flow.queue();
    ground.datapath.mode = link.name();
    Ok((flow, path, ground))
}

/// Starts the first flow again with a port whose packets come by its queue. Without a path: there is no such port, and it is
/// the flow that there was.
pub fn restart_on_own_queue(
    flow: Flow,
    mut ground: Ground,
) -> Result<(Flow, Option<Path>, Ground), ClientError> {
    ground.shuffled = true;
    let (flow, changed) = ground.find_own_queue(0, flow)?;
    ground.datapath.queue = flow.queue();
    let path = changed.map(|(path, link)| {
        ground.datapath.mode = link.name();
        path
    });
    Ok((flow, path, ground))
}

impl Ground {
    /// Flows there may be, the first one included.
    pub fn flows(&self) -> u16 {
        self.way.flows()
    }

    /// How blocks travel.
    pub fn datapath(&self) -> &DatapathInfo {
        &self.datapath
    }

    /// Says more of why blocks travel in this way.
    pub fn add_reason(&mut self, more: &str) {
        let reason = self.datapath.reason.get_or_insert_default();
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(more);
    }

    /// Starts the other flows, and their handshakes, as many as are of use with a server of so many workers, or as there are
    /// queues for. `reached` is the worker that has the first one. `Err`: all queues are taken for now.
    pub fn start_others(
        &self,
        workers: u16,
        reached: Option<u32>,
    ) -> Result<Vec<Flow>, ClientError> {
        let mut started = Vec::new();
        let asked = self.options.flows.is_some();
        for number in 1..self.way.spread(workers, asked, reached) {
            match self.start_other(number) {
                Ok((mut flow, path)) => {
                    flow.connect(path);
                    started.push(flow);
                }
                Err(error) if started.is_empty() && is_busy(&error) => return Err(error),
                Err(error) => {
                    tracing::info!(%error, flows = number, "no more flows");
                    break;
                }
            }
        }
        Ok(started)
    }

    /// Starts a flow that is not the first; where ports decide about queues, with a port whose packets come by its own.
    fn start_other(&self, number: u16) -> Result<(Flow, Path), ClientError> {
        let (flow, path, _) = self.start_flow(number, None)?;
        if !self.shuffled && !is_card(&self.interface.name) {
            return Ok((flow, path));
        }
        let (flow, changed) = self.find_own_queue(number, flow)?;
        Ok((flow, changed.map_or(path, |(path, _)| path)))
    }

    /// Starts a flow again with a port whose packets come by its queue, if there is one; with the new path and link then.
    fn find_own_queue(
        &self,
        number: u16,
        flow: Flow,
    ) -> Result<(Flow, Option<(Path, LinkKind)>), ClientError> {
        let queue = flow.queue();
        let port = self.way.port_of_queue(&self.interface, queue, self.remote);
        let Some(port) = port else {
            return Ok((flow, None));
        };
        drop(flow);
        self.way.unregister(queue, number)?;
        self.way.set_port(number, port);
        let (flow, path, link) = match self.start_flow(number, Some(queue)) {
            // Somebody has it meanwhile.
            Err(error) if is_busy(&error) => self.start_flow(number, None)?,
            outcome => outcome?,
        };
        Ok((flow, Some((path, link))))
    }

    /// Starts the worker of a flow, over AF_XDP on this queue or the first one that nobody has, and directs its packets to it. The
    /// path of its packets, and its link, too.
    fn start_flow(
        &self,
        number: u16,
        queue: Option<u32>,
    ) -> Result<(Flow, Path, LinkKind), ClientError> {
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            match self.try_flow(number, queue) {
                Err(ClientError::Slot(SlotError::PortElsewhere { .. })) if tries > 0 => {
                    self.way.change_port(number, self.remote)?;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_flow(
        &self,
        number: u16,
        queue: Option<u32>,
    ) -> Result<(Flow, Path, LinkKind), ClientError> {
        let port = self.way.source_port(number);
        let worker = self.start_worker(number, queue, port)?;
        let queue = worker.queue().unwrap_or(number.into());
        let (socket, link) = (worker.xsk_fd(), worker.link());
        // From here on no change of the way gets by the flow.
        self.way.follow(worker.mail());
        let flow = Flow::new(worker, self.remote, queue, port);
        self.way.register(queue, number, socket)?;
        Ok((flow, self.way.path(number, self.remote), link))
    }

    fn start_worker(
        &self,
        number: u16,
        queue: Option<u32>,
        port: u16,
    ) -> Result<WorkerHandle<Command>, ClientError> {
        let (interface, options) = (&self.interface, &self.options);
        // Over UDP it is a name only.
        let (first, last) = match (self.way.has_queues(), queue) {
            (true, Some(queue)) => (queue, queue),
            (true, None) => (0, interface.rx_queues.saturating_sub(1)),
            (false, _) => (number.into(), number.into()),
        };
        let mut config = WorkerConfig::new(&interface.name, first, interface.mtu, port, false);
        config.last_queue = last;
        if may_be_udp(options) {
            config.patience = AUTO_PATIENCE;
        }
        config.datapath = match options.datapath {
            // Tags that were chosen are sent in the best mode that there is.
            Datapath::Auto if !may_be_udp(options) => Datapath::PreferXdp,
            datapath => datapath,
        };
        config.busy_poll = options.busy_poll;
        config.dump = options.dump.clone();
        config.cpu = options.cpu.filter(|_| number == 0);
        config.long_mtu = interface.mtu.min(self.route_mtu);
        config.engine.max_send_payload = max_payload_for(self.route_mtu).clamp(
            MIN_MAX_PAYLOAD,
            config.engine.max_payload.max(MIN_MAX_PAYLOAD),
        );
        config.engine.workers = self.flows().into();
        config.engine.unanswered_timeout = options.silence;
        config.engine.idle_timeout = config.engine.idle_timeout.max(options.silence);
        Ok(spawn(
            config,
            self.way.port(number),
            ClientService::default,
        )?)
    }
}

/// Whether UDP is as good as AF_XDP: where VLAN tags were chosen the kernel would send without them.
fn may_be_udp(options: &ConnectOptions) -> bool {
    options.datapath.falls_back() && options.vlans == [None; 2]
}

/// Whether others have the queues: that may change.
fn is_busy(error: &ClientError) -> bool {
    matches!(error, ClientError::Worker(error) if error.is_busy())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use blk_proto::net::VlanTag;

    #[test]
    fn udp_takes_no_place_of_chosen_vlan_tags() {
        let auto = ConnectOptions::default();
        assert!(may_be_udp(&auto));
        let tagged = ConnectOptions {
            vlans: [Some(VlanTag::customer(7)), None],
            ..auto.clone()
        };
        assert!(!may_be_udp(&tagged));
        let datapath = Datapath::Copy;
        assert!(!may_be_udp(&ConnectOptions { datapath, ..auto }));
    }

    #[test]
    fn blocking_work_answers_and_is_dropped_when_nobody_waits() {
        tokio_uring::start(async {
            assert_eq!(on_thread(|| Ok(7)).await.unwrap(), 7);
            let panicked = on_thread::<()>(|| panic!("on purpose")).await;
            let died = matches!(panicked, Err(ClientError::Worker(WorkerError::Died)));
            assert!(died);
        });
        let (started, running) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        tokio_uring::start(async {
            let waiting = on_thread(move || {
                let _ = running.recv();
                Ok(theirs)
            });
            tokio::select! {
                biased;
                _ = waiting => panic!("the work has not ended"),
                () = std::future::ready(()) => {}
            }
        });
        drop(started);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&held) > 1 {
            assert!(std::time::Instant::now() < deadline, "the result is leaked");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
