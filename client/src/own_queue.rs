//! Finds a source port for a flow over AF_XDP whose packets from the server come by the flow's own queue.
//!
//! The receiver hash of a card decides by addresses and ports which queue a packet comes by, and an AF_XDP socket only gets those of its
//! own; the others are late, since they come by the UDP socket behind the port. So other ports are tried: a handshake on each,
//! taken back at once, and a look at the queue that its answer came by.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::net::{Interface, QueueTap};
use blk_datapath::worker::Companion;

use crate::error::ClientError;
use crate::scout::workers_reached;

/// Ports that are tried at once, and in all. Any server allows a source 32 handshakes at once.
const TRIES_AT_ONCE: usize = 8;
const TRIES_MAX: usize = 24;
/// So long the answers of a round are waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// A port to which the server's packets come by `queue` of the interface, of those that `reserve` makes; `None`: no
/// such port was found.
pub(crate) fn find_port(
    interface: &Interface,
    queue: u32,
    mut reserve: impl FnMut() -> Result<Companion, ClientError>,
) -> Option<Arc<Companion>> {
    let tap = QueueTap::open(interface, queue)
        .inspect_err(|error| tracing::info!(%error, "queues of packets cannot be told"))
        .ok()?;
    // Kept, so that none is tried twice.
    let mut tried: Vec<Companion> = Vec::new();
    while tried.len() < TRIES_MAX {
        let mut ports: Vec<Companion> = (0..TRIES_AT_ONCE).map_while(|_| reserve().ok()).collect();
        if ports.is_empty() {
            break;
        }
        tap.udp_ports();
        let sockets: Vec<&UdpSocket> = ports.iter().filter_map(Companion::connected).collect();
        let answered = workers_reached(&sockets, PATIENCE);
        let came = tap.udp_ports();
        let found = ports
            .iter()
            .zip(&answered)
            .position(|(port, answer)| answer.is_some() && came.contains(&port.port()));
        if let Some(found) = found {
            tracing::info!(
                queue,
                tried = tried.len() + ports.len(),
                "a port of this queue"
            );
            return Some(Arc::new(ports.swap_remove(found)));
        }
        tried.append(&mut ports);
    }
    tracing::info!(queue, tried = tried.len(), "no port of this queue");
    None
}
