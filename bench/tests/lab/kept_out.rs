//! AF_XDP in copy mode that figures have chosen, on a network that does not carry it.

use blk_client::paths::History;
use serde_json::Value;

use super::measured::{MTU, SERVER, copied, plant, site, start};
use super::support::client::{Running, start_over};
use super::support::hosts::{Host, Hosts};
use super::support::{binary, files, must, nothing_missing, ready};
use super::udp::scene;

/// Drops at the server what the client sends over AF_XDP: its packets have the usual hop limit, those of the client's kernel
/// another one from now on, as if a firewall let only these through. `which` of them, in words of tc-u32(8). `Err`: this kernel cannot do
/// that.
fn keep_af_xdp_out(hosts: &Hosts, which: &str) -> Result<(), String> {
    let limit = "echo 77 >/proc/sys/net/ipv4/ip_default_ttl";
    must(hosts.command(Host::Client, "sh").args(["-c", limit]));
    let tc = |words: &str| {
        let mut command = hosts.command(Host::Server, "tc");
        let output = command.args(words.split_whitespace()).output();
        let output = output.map_err(|error| format!("tc: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("tc {words} (cls_u32, act_mirred)")),
        }
    };
    tc("qdisc add dev blk0 ingress")?;
    // Whatever is sent to a loopback without an address for it is gone.
    tc(&format!(
        "filter add dev blk0 parent ffff: protocol ip u32 match u8 64 0xff at 8 {which} action mirred egress redirect dev lo"
    ))
}

#[test]
fn a_session_that_comes_up_over_udp_sockets_alone_is_had_over_them() {
    let test = "a_session_that_comes_up_over_udp_sockets_alone_is_had_over_them";
    if !ready(test) {
        return;
    }
    let (directory, hosts) = scene(MTU);
    if !nothing_missing(test, keep_af_xdp_out(&hosts, "").err()) {
        return;
    }
    let _daemon = start(&hosts, &directory);
    let asked = [
        format!("{SERVER}:data/file"),
        directory.join("other").display().to_string(),
    ];
    let copy = start_over(&hosts, Host::Client, "copy", &directory, &asked).outcome();
    copy.fails(3, &["no answer"]);

    let known = || {
        let known = History::at(hosts.blkcp_history()).look_up(&site(&hosts));
        known.expect("it can be read").is_some()
    };
    plant(&hosts);
    let [put, get] = copied(&hosts, &directory, &[]);
    assert_eq!((put.0.as_str(), get.0.as_str()), ("udp", "udp"));
    let first = [
        "no session over AF_XDP",
        "no answer",
        "what was measured is forgotten",
    ];
    for words in first {
        assert!(put.1.contains(words), "{}", put.1);
    }
    assert!(get.1.contains("nothing measured"), "{}", get.1);
    assert!(!known() && !hosts.has_xdp(Host::Client));

    // Measuring finds that out too.
    plant(&hosts);
    let mut command = hosts.command(Host::Client, binary("blkcp"));
    command.env("TMPDIR", directory.subdirectory("tmp"));
    command.args(["measure", "--json", "--size", "1MiB"]);
    command.arg(format!("{SERVER}:data"));
    let measured = Running::start(&mut command, &directory).outcome();
    let told: Value = serde_json::from_str(&measured.ok().stdout).expect("the report is JSON");
    let absent = told["paths"][1]["absent"].as_str().unwrap_or_default();
    assert!(absent.contains("no answer"), "{told}");
    assert_eq!(told["auto_put"]["path"], "UDP sockets");
    assert!(!known());
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "udp");
        assert!(reason.contains("nothing measured"), "{reason}");
    }
}

#[test]
fn a_session_without_blocks_fails_its_copy_and_is_not_chosen_once_it_was_measured() {
    let test = "a_session_without_blocks_fails_its_copy_and_is_not_chosen_once_it_was_measured";
    if !ready(test) {
        return;
    }
    let (directory, hosts) = scene(MTU);
    // Packets of 1024 to 2047 bytes.
    let blocks = "match u16 0x0400 0x0400 at 2";
    if !nothing_missing(test, keep_af_xdp_out(&hosts, blocks).err()) {
        return;
    }
    let _daemon = start(&hosts, &directory);
    plant(&hosts);
    let asked = [
        directory.join("file").display().to_string(),
        format!("{SERVER}:data/file"),
    ];
    let put = start_over(&hosts, Host::Client, "auto", &directory, &asked).outcome();
    let hint = "chosen by figures of blkcp measure: try --datapath udp";
    put.fails(12, &[hint]);
    start_over(&hosts, Host::Client, "udp", &directory, &asked)
        .outcome()
        .ok();

    let scratch = directory.subdirectory("tmp");
    let mut command = hosts.command(Host::Client, binary("blkcp"));
    command.env("TMPDIR", &scratch);
    command.args(["measure", "--json", "--size", "16MiB"]);
    command.arg(format!("{SERVER}:data"));
    let measured = Running::start(&mut command, &directory).outcome();
    let told: Value = serde_json::from_str(&measured.ok().stdout).expect("the report is JSON");
    let absent = told["paths"][1]["absent"].as_str().unwrap_or_default();
    assert!(absent.contains("it came up, then"), "{told}");
    for (at, rounds) in [2, 0].into_iter().enumerate() {
        let puts = told["paths"][at]["put"].as_array().map(Vec::len);
        assert_eq!(puts, Some(rounds), "{told}");
    }
    let known = History::at(hosts.blkcp_history()).look_up(&site(&hosts));
    assert_eq!(known.expect("it can be read"), None);
    let mut names = files::names(&directory.join("export")).into_iter();
    assert!(!names.any(|name| name.starts_with("blkcp-measure-")));
    assert!(files::names(&scratch).is_empty());
    for (datapath, reason) in copied(&hosts, &directory, &[]) {
        assert_eq!(datapath, "udp");
        assert!(reason.contains("nothing measured"), "{reason}");
    }
}
