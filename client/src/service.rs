//! The client's side of a worker: requests and transfers come as mail, their ends go back as one-shot answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{
    Coverage, Engine, EngineEvent, Hop, Progress, ReceivedFile, SentFile, SessionId, SharedWork,
    TransferError,
};
use blk_datapath::link::LinkStatistics;
use blk_datapath::worker::Service;
use blk_proto::message::{self, Reply, ReplyFrame, Request, RequestFrame};
use blk_proto::net::Path;
use blk_proto::session::{CloseCode, Stats};
use tokio::sync::oneshot;

use crate::error::ConnectionLost;
use crate::pending::Pending;

/// A closed port and so long a silence mean that the daemon is gone: one that is started again at once has that time to
/// say so itself.
const SILENCE: Duration = Duration::from_secs(3);

/// An answer that comes once, or never when the session is lost.
pub type Answer<T> = oneshot::Sender<Result<T, ConnectionLost>>;

/// What the client's other threads ask of the worker.
pub enum Command {
    /// Open the session; the answer is the server's worker that has it.
    Connect {
        path: Box<Path>,
        answer: Answer<u32>,
    },
    /// Send a request; its reply is the answer.
    Request {
        request: Request,
        answer: Answer<Reply>,
    },
    /// Take part in sending a file; answered when every block is acknowledged, whoever sent it.
    Send {
        transfer: u32,
        file: Arc<BlockFile>,
        work: Arc<SharedWork>,
        progress: Progress,
        answer: Answer<Result<SentFile, TransferError>>,
    },
    /// Take part in receiving a file; answered when every byte is written, whoever brought it.
    Receive {
        transfer: u32,
        file: Arc<BlockFile>,
        coverage: Arc<Coverage>,
        progress: Progress,
        answer: Answer<Result<ReceivedFile, TransferError>>,
    },
    /// All that will come of a file has come: a reception that lacks something fails when that is written.
    Settle { coverage: Arc<Coverage> },
    /// Forget a transfer here, and have the server forget it.
    Abandon { transfer: u32 },
    /// Tell the statistics of the session and of its link.
    Statistics { answer: Answer<(Stats, FlowLink)> },
    /// Packets go by these Ethernet addresses from now on.
    Redirect(Hop),
    /// What is in the way to the server now; should the session end by silence, that is why.
    Trouble(Option<String>),
    /// The session cannot go on.
    Lose(ConnectionLost),
    /// Close the session and end the worker.
    Finish,
}

/// What a flow's link has done.
#[derive(Debug, Default)]
pub struct FlowLink {
    /// Its own counters.
    pub statistics: LinkStatistics,
    /// Packets that missed its AF_XDP socket, and came by the UDP socket that reserves the port.
    pub strays: u64,
}

/// Who waits for the end of what is sent.
struct Sending {
    /// A transfer sends one range after the other, and each tells its end.
    work: Arc<SharedWork>,
    answer: Answer<Result<SentFile, TransferError>>,
}

/// The service of a client's worker: one session.
#[derive(Default)]
pub struct ClientService {
    session: Option<SessionId>,
    connecting: Option<Answer<u32>>,
    next_request: u32,
    requests: Pending,
    sending: HashMap<u32, Sending>,
    receiving: HashMap<u32, Answer<Result<ReceivedFile, TransferError>>>,
    lost: Option<ConnectionLost>,
    /// The latest Ethernet addresses: news may come before the session.
    hop: Option<Hop>,
    /// What is in the way to the server.
    trouble: Option<String>,
    /// When the kernel first said that the port is closed, and how many packets had been received then.
    refused: Option<(Instant, u64)>,
    finished: bool,
}

impl ClientService {
    fn connect(&mut self, engine: &mut Engine, mut path: Path, answer: Answer<u32>) {
        if let Some(hop) = self.hop {
            (path.source_mac, path.destination_mac) = (hop.source_mac, hop.destination_mac);
        }
        self.session = engine.connect(path);
        if self.session.is_some() {
            self.connecting = Some(answer);
        } else {
            let _ = answer.send(Err(self.why_lost()));
        }
    }

    fn abandon(&mut self, engine: &mut Engine, transfer: u32) {
        self.sending.remove(&transfer);
        self.receiving.remove(&transfer);
        if let Some(session) = self.session {
            engine.abandon(session, transfer);
            // Nobody waits for the reply; a lost session forgets the transfer anyway.
            let _ = self.request(engine, Request::Close { transfer });
        }
    }

    fn request(&mut self, engine: &mut Engine, request: Request) -> Result<u32, ConnectionLost> {
        let Some(session) = self.session else {
            return Err(self.why_lost());
        };
        self.next_request = self.next_request.wrapping_add(1);
        let id = self.next_request;
        let mut bytes = Vec::new();
        match message::encode(&RequestFrame { id, request }, &mut bytes) {
            Ok(()) => engine.send_message(session, bytes),
            Err(error) => return Err(ConnectionLost::Request(error.to_string())),
        }
        Ok(id)
    }

    /// An ICMP message alone must not end a session that stands: it may be stray, or forged. When nothing else has come
    /// from the other end between two of them, [`SILENCE`] apart, it is true.
    fn is_silent_since_refusal(&mut self, engine: &mut Engine, session: SessionId) -> bool {
        let heard = engine
            .session_stats(session)
            .map_or(0, |stats| stats.packets_received + stats.duplicates);
        match self.refused {
            Some((at, before)) if before == heard => at.elapsed() >= SILENCE,
            _ => {
                self.refused = Some((Instant::now(), heard));
                false
            }
        }
    }

    /// Why the other end was not heard, where that is known.
    fn explain(&self, lost: ConnectionLost) -> ConnectionLost {
        match (&lost, &self.trouble) {
            (ConnectionLost::Silent, Some(trouble)) => ConnectionLost::NoWay(trouble.clone()),
            _ => lost,
        }
    }

    fn why_lost(&self) -> ConnectionLost {
        self.lost.clone().unwrap_or(ConnectionLost::Closed)
    }

    /// The session is over: everything that waits is told why. The first reason stands: what follows, like the end of
    /// a session that this end closed because of it, only follows from it.
    fn lose(&mut self, reason: ConnectionLost) {
        self.session = None;
        let reason = self.lost.get_or_insert(reason).clone();
        if let Some(answer) = self.connecting.take() {
            let _ = answer.send(Err(reason.clone()));
        }
        self.requests.lose(&reason);
        for (_, sending) in self.sending.drain() {
            let _ = sending.answer.send(Err(reason.clone()));
        }
        for (_, answer) in self.receiving.drain() {
            let _ = answer.send(Err(reason.clone()));
        }
    }

    /// The end of what is sent. That of an earlier range answers nobody who waits for a later one.
    fn on_sent(
        &mut self,
        transfer: u32,
        work: &Arc<SharedWork>,
        outcome: Result<SentFile, TransferError>,
    ) {
        let waiting = self
            .sending
            .get(&transfer)
            .is_some_and(|sending| Arc::ptr_eq(&sending.work, work));
        if waiting && let Some(sending) = self.sending.remove(&transfer) {
            let _ = sending.answer.send(Ok(outcome));
        }
    }

    fn on_reply(&mut self, engine: &mut Engine, session: SessionId, bytes: &[u8]) {
        let Ok(ReplyFrame { id, reply }) = message::decode::<ReplyFrame>(bytes) else {
            return engine.close(session, CloseCode::VIOLATION);
        };
        self.requests.answer(id, reply);
    }
}

impl Service for ClientService {
    type Mail = Command;

    fn on_event(&mut self, engine: &mut Engine, event: EngineEvent) {
        match event {
            EngineEvent::Connected { session, .. } => {
                if engine.counters().frames_stray > 0 {
                    tracing::info!(
                        queue = engine.queue(),
                        "the server's packets come by another queue than the flow's, and so by a UDP socket"
                    );
                }
                if let Some(answer) = self.connecting.take() {
                    // Who is connected has told its id.
                    let _ = answer.send(Ok(engine.remote_worker(session).unwrap_or(0)));
                }
            }
            EngineEvent::Message { session, bytes } => self.on_reply(engine, session, &bytes),
            EngineEvent::Sent {
                transfer,
                work,
                outcome,
                ..
            } => self.on_sent(transfer, &work, outcome),
            EngineEvent::Received {
                transfer, outcome, ..
            } => {
                if let Some(answer) = self.receiving.remove(&transfer) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            EngineEvent::Incomplete {
                session, transfer, ..
            } => {
                engine.abandon(session, transfer);
                if let Some(answer) = self.receiving.remove(&transfer) {
                    let _ = answer.send(Ok(Err(TransferError::Incomplete)));
                }
            }
            EngineEvent::Closed { reason, .. } => {
                let lost = self.explain(ConnectionLost::from(reason));
                self.lose(lost);
            }
        }
    }

    fn on_mail(&mut self, engine: &mut Engine, command: Command) {
        match command {
            Command::Connect { path, answer } => self.connect(engine, *path, answer),
            Command::Request { request, answer } => match self.request(engine, request) {
                Ok(id) => {
                    self.requests.insert(id, answer);
                }
                Err(lost) => {
                    let _ = answer.send(Err(lost));
                }
            },
            Command::Send {
                transfer,
                file,
                work,
                progress,
                answer,
            } => {
                let Some(session) = self.session else {
                    let _ = answer.send(Err(self.why_lost()));
                    return;
                };
                let same = Arc::clone(&work);
                if engine.start_outbound(session, transfer, file, same, progress) {
                    self.sending.insert(transfer, Sending { work, answer });
                } else {
                    let _ = answer.send(Ok(Err(TransferError::Busy)));
                }
            }
            Command::Receive {
                transfer,
                file,
                coverage,
                progress,
                answer,
            } => {
                let Some(session) = self.session else {
                    let _ = answer.send(Err(self.why_lost()));
                    return;
                };
                if engine.start_inbound(session, transfer, file, coverage, progress) {
                    self.receiving.insert(transfer, answer);
                } else {
                    let _ = answer.send(Ok(Err(TransferError::Busy)));
                }
            }
            Command::Settle { coverage } => coverage.settle(),
            Command::Abandon { transfer } => self.abandon(engine, transfer),
            Command::Statistics { answer } => {
                let stats = self
                    .session
                    .and_then(|session| engine.session_stats(session));
                let link = FlowLink {
                    statistics: engine.link_statistics().unwrap_or_default(),
                    strays: engine.counters().frames_stray,
                };
                let told = stats.map(|stats| (stats, link));
                let _ = answer.send(told.ok_or_else(|| self.why_lost()));
            }
            Command::Redirect(hop) => {
                self.hop = Some(hop);
                if let Some(session) = self.session {
                    engine.redirect(session, hop);
                }
            }
            Command::Trouble(trouble) => self.trouble = trouble,
            Command::Lose(reason) => {
                if let Some(session) = self.session {
                    engine.close(session, CloseCode::DONE);
                }
                self.lose(reason);
            }
            Command::Finish => self.finished = true,
        }
    }

    fn on_companion_error(&mut self, engine: &mut Engine, error: std::io::Error) {
        if error.kind() != std::io::ErrorKind::ConnectionRefused {
            return;
        }
        let Some(session) = self.session else { return };
        let reason = if self.connecting.is_some() {
            ConnectionLost::PortClosed
        } else if self.is_silent_since_refusal(engine, session) {
            ConnectionLost::DaemonGone
        } else {
            return;
        };
        engine.close(session, CloseCode::DONE);
        self.lose(reason);
    }

    fn expects(&self) -> bool {
        self.connecting.is_some()
            || !self.requests.is_empty()
            || !self.sending.is_empty()
            || !self.receiving.is_empty()
    }

    fn is_finished(&self) -> bool {
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_earlier_range_answers_nobody() {
        let mut service = ClientService::default();
        let (answer, mut waiting) = oneshot::channel();
        let work = || Arc::new(SharedWork::new(0, 0));
        let (earlier, now) = (work(), work());
        let sending = Sending {
            work: Arc::clone(&now),
            answer,
        };
        service.sending.insert(5, sending);
        let sent = now.sent().unwrap();
        service.on_sent(5, &earlier, Ok(SentFile { crc: 7, ..sent }));
        assert!(waiting.try_recv().is_err());
        service.on_sent(5, &now, Ok(sent));
        let outcome = waiting.try_recv().unwrap().unwrap();
        assert_eq!(outcome.unwrap(), sent);
    }

    #[test]
    fn silence_is_explained_by_what_is_in_the_way() {
        let mut service = ClientService::default();
        assert_eq!(
            service.explain(ConnectionLost::Silent),
            ConnectionLost::Silent
        );
        service.trouble = Some("the link of blk1 is down".to_owned());
        let explained = service.explain(ConnectionLost::Silent);
        assert!(explained.to_string().contains("the link of blk1 is down"));
        assert_eq!(
            service.explain(ConnectionLost::NoAnswer),
            ConnectionLost::NoAnswer,
            "there was a way when it began"
        );
    }

    #[test]
    fn the_first_reason_of_a_loss_stands() {
        let mut service = ClientService::default();
        let (answer, mut before) = oneshot::channel();
        service.connecting = Some(answer);
        service.lose(ConnectionLost::DaemonGone);
        assert_eq!(before.try_recv(), Ok(Err(ConnectionLost::DaemonGone)));
        let (answer, mut after) = oneshot::channel();
        service.requests.insert(1, answer);
        service.lose(ConnectionLost::Closed);
        assert_eq!(service.why_lost(), ConnectionLost::DaemonGone);
        assert_eq!(after.try_recv(), Ok(Err(ConnectionLost::DaemonGone)));
    }
}
