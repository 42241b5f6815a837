//! Disks in user space: that they are what they say, and what the storage engine does on them.
//!
//! Needs root, /dev/fuse and loop devices; tests of blockd need the release binaries too. Without them each test says that it is
//! skipped, and in CI (`CI=true`) it fails. Run them one at a time (`--test-threads=1`).

mod broken;
mod claims;
mod device;
mod faults;
mod ways;
