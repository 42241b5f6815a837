//! Skeleton.
pub mod exports;
pub mod namespace;
