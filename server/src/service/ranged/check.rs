//! What ranges a client may name.

use blk_proto::message::{Attributes, ErrorCode, Failure, HOLE_UNIT, MAX_INLINE};

use crate::service::reply::failure;

/// Where a range may end at most: what the kernel's signed offsets hold, in whole pages.
const END_MAX: u64 = i64::MAX as u64 - (HOLE_UNIT - 1);

/// The longest range that one write may hold: others wait for it.
const WRITE_MAX: u64 = 16 << 20;

pub(super) fn check_end(offset: u64, len: u64) -> Result<(), Failure> {
    match offset.checked_add(len) {
        Some(end) if end <= END_MAX => Ok(()),
        _ => {
            let message = format!("bytes {offset}+{len} are beyond what a file can hold");
            Err(failure(ErrorCode::TooLarge, message))
        }
    }
}

pub(super) fn check_inline(offset: u64, len: usize) -> Result<(), Failure> {
    if len > MAX_INLINE {
        let message = format!("{len} bytes in one message; at most {MAX_INLINE} fit");
        return Err(failure(ErrorCode::TooLarge, message));
    }
    check_end(offset, len as u64)
}

pub(super) fn check_pages(offset: u64, len: u64) -> Result<(), Failure> {
    check_end(offset, len)?;
    if len > WRITE_MAX {
        let message = format!("{len} bytes in one write; at most {WRITE_MAX}");
        return Err(failure(ErrorCode::TooLarge, message));
    }
    if len == 0 || !offset.is_multiple_of(HOLE_UNIT) || !len.is_multiple_of(HOLE_UNIT) {
        let message =
            format!("bytes {offset}+{len}: blocks are written in multiples of {HOLE_UNIT} bytes");
        return Err(failure(ErrorCode::Unsupported, message));
    }
    Ok(())
}

pub(super) fn check_within(offset: u64, len: u64, attributes: Attributes) -> Result<(), Failure> {
    let size = attributes.size;
    if offset.checked_add(len).is_none_or(|end| end > size) {
        let message = format!("bytes {offset}+{len} of a file of {size} bytes");
        return Err(failure(ErrorCode::TooLarge, message));
    }
    if len == 0 || !offset.is_multiple_of(HOLE_UNIT) {
        let message = format!("a read of blocks starts at a multiple of {HOLE_UNIT} bytes");
        return Err(failure(ErrorCode::Unsupported, message));
    }
    Ok(())
}
