//! Which way the bytes of a put take from the frames to the disk, by file system and MTU.

use blk_bench::blockdev::{self, Disk, Kind, Options, isolated};
use blk_bench::lab::client::blkcp;
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Hosts, Link};
use blk_bench::lab::{Directory, files, ready};

/// Bytes of the disk, and of the file that is put onto it: not of whole blocks.
const DISK: u64 = 512 << 20;
const FILE: u64 = (192 << 20) + 1_000;

/// Puts a file at each MTU and counts what went to the disk without a copy in user space.
fn frames_go_to(name: &str, kind: Kind) {
    if !ready(name) || !blockdev::ready(name) {
        return;
    }
    isolated(|| {
        let directory = Directory::new();
        let disk = Disk::formatted(&directory.join("disk"), Options::of(DISK), kind);
        let disk = disk.expect("no disk");
        let mount = disk.mount(kind, &directory.subdirectory("mount"));
        let mount = mount.expect("cannot mount");
        let source = directory.join("source");
        files::write(&source, FILE, 7);
        for mtu in [3498, 9000, 65535] {
            let hosts = Hosts::with_clients(Link::of(mtu), 1);
            let daemon = Daemon::start_with(&hosts, &[("data", mount.path())], &directory);
            let from = source.to_str().expect("UTF-8");
            let arguments = [from, "10.77.0.1:data/file"];
            let put = blkcp(&hosts, &directory, &arguments);
            put.ok();
            let (direct, copied) = (put.number("zero_copy_bytes"), put.number("copied_bytes"));
            eprintln!("{kind:?}, MTU {mtu}: {direct} bytes without a copy, {copied} with one");
            assert_eq!(direct + copied, FILE, "the counters do not add up");
            assert!(direct * 100 >= FILE * 95, "MTU {mtu}: {direct} of {FILE}");
            files::assert_same(&source, &mount.path().join("file"));
            drop(daemon);
        }
        mount.unmount().expect("unmounted");
    })
    .expect("cannot make a mount namespace");
}

#[test]
fn on_ext4_frames_are_written_without_a_copy() {
    frames_go_to("on_ext4_frames_are_written_without_a_copy", Kind::Ext4);
}

#[test]
fn on_xfs_frames_are_written_without_a_copy() {
    frames_go_to("on_xfs_frames_are_written_without_a_copy", Kind::Xfs);
}
