//! What a client is told when something cannot be done.

use std::io::ErrorKind;

use blk_datapath::engine::TransferError;
use blk_proto::message::{ErrorCode, Failure, Reply};

/// A failure of this kind.
pub(super) fn failure(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
    }
}

/// The transfer is not in the state that the request needs.
pub(super) fn no_such_transfer(transfer: u32) -> Reply {
    let message = format!("transfer {transfer} is not open for this");
    Reply::Failed(failure(ErrorCode::Protocol, message))
}

/// Of a transfer that failed here.
pub(super) fn failure_of(error: &TransferError) -> Failure {
    let code = match error {
        TransferError::Disk(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
            ErrorKind::FileTooLarge => ErrorCode::TooLarge,
            _ => ErrorCode::Io,
        },
        TransferError::Read { .. } | TransferError::SourceShrank { .. } => ErrorCode::Io,
        TransferError::Protocol(_) | TransferError::Incomplete => ErrorCode::Protocol,
        TransferError::Busy => ErrorCode::Busy,
    };
    failure(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_full_quota_is_no_space_too() {
        let code = |kind: ErrorKind| failure_of(&TransferError::Disk(Error::from(kind))).code;
        assert_eq!(code(ErrorKind::StorageFull), ErrorCode::NoSpace);
        assert_eq!(code(ErrorKind::QuotaExceeded), ErrorCode::NoSpace);
        assert_eq!(code(ErrorKind::NotFound), ErrorCode::Io);
    }
}
