//! Answers to a client.

use blk_datapath::engine::{Engine, SessionId, TransferError};
use blk_proto::message::{self, ErrorCode, Failure, Reply, ReplyFrame};
use blk_proto::session::CloseCode;

/// Answers request `id`.
pub(super) fn reply(engine: &mut Engine, session: SessionId, id: u32, reply: Reply) {
    let mut bytes = Vec::new();
    match message::encode(&ReplyFrame { id, reply }, &mut bytes) {
        Ok(()) => engine.send_message(session, bytes),
        Err(error) => {
            tracing::error!(%error, "a reply that cannot be encoded: session closed");
            engine.close(session, CloseCode::VIOLATION);
        }
    }
}

/// The transfer is not in the state that the request needs.
pub(super) fn no_such_transfer(transfer: u32) -> Reply {
    let message = format!("transfer {transfer} is not open for this");
    Reply::Failed(Failure {
        code: ErrorCode::Protocol,
        message,
    })
}

/// What a client is told of a transfer that failed here.
pub(super) fn failure_of(error: &TransferError) -> Failure {
    let code = match error {
        TransferError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            ErrorCode::NoSpace
        }
        TransferError::Disk(_) | TransferError::SourceShrank { .. } => ErrorCode::Io,
        TransferError::Protocol(_) => ErrorCode::Protocol,
    };
    Failure {
        code,
        message: error.to_string(),
    }
}
