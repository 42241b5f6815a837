#![cfg_attr(not(feature = "std"), no_std)]
//! Skeleton.
pub mod net;
