//! All findings together, and the exit code that they make.

use std::path::PathBuf;

use blk_datapath::net::InterfaceError;
use blk_datapath::probe::{
    Finding, HostFacts, InterfaceFacts, Level, Links, PlaceFacts, host_findings,
    interface_findings, place_findings,
};
use blk_xdp::netlink::NetlinkError;

/// What was found about one thing.
pub struct Part<F> {
    /// Its name, as it was given.
    pub name: String,
    /// What was read; `None`: it is not there.
    pub facts: Option<F>,
    /// What follows.
    pub findings: Vec<Finding>,
}

/// What was found.
pub struct Report {
    pub host: Part<HostFacts>,
    pub interfaces: Vec<Part<InterfaceFacts>>,
    pub paths: Vec<Part<PlaceFacts>>,
    /// Interfaces were asked for by name.
    pub named: bool,
}

impl<F> Part<F> {
    /// Something that is not there, or cannot be looked at.
    fn absent(name: String, key: &'static str, text: String) -> Self {
        let finding = Finding {
            key,
            level: Level::Missing,
            text,
            fix: None,
            source: None,
        };
        Self {
            name,
            facts: None,
            findings: vec![finding],
        }
    }

    /// Whether blockd cannot do with it.
    pub fn is_unusable(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.level == Level::Missing)
    }
}

impl Report {
    /// Looks at the host, these interfaces (none: all but `lo`) and these directories.
    pub fn make(interfaces: &[String], paths: &[PathBuf]) -> Result<Self, NetlinkError> {
        let host = HostFacts::read();
        let links = Links::read()?;
        let all = links.0.iter().filter(|link| !link.loopback);
        let names: Vec<String> = match interfaces {
            [] => all.map(|link| link.name.clone()).collect(),
            names => names.to_vec(),
        };
        let kernel = host.kernel.as_ref().ok().copied();
        Ok(Self {
            interfaces: names
                .into_iter()
                .map(|name| interface(name, &links, &host))
                .collect(),
            paths: paths
                .iter()
                .map(|path| {
                    let name = path.display().to_string();
                    match PlaceFacts::read(path) {
                        Ok(facts) => Part {
                            name,
                            findings: place_findings(&facts, kernel),
                            facts: Some(facts),
                        },
                        Err(error) => Part::absent(name, "path", error.to_string()),
                    }
                })
                .collect(),
            host: Part {
                name: "host".to_owned(),
                findings: host_findings(&host),
                facts: Some(host),
            },
            named: !interfaces.is_empty(),
        })
    }

    /// The exit code, and the list of them, is in docs/operations.md.
    pub fn exit_code(&self) -> u8 {
        let bad = |part: &Part<InterfaceFacts>| part.is_unusable();
        let no_interface = match self.named {
            true => self.interfaces.iter().any(bad),
            false => self.interfaces.iter().all(bad),
        };
        let privileges = |finding: &&Finding| matches!(finding.key, "privileges" | "memlock");
        let missing = |finding: &&Finding| finding.level == Level::Missing;
        let host = || self.host.findings.iter().filter(missing);
        if self.paths.iter().any(Part::is_unusable) {
            5
        } else if no_interface {
            11
        } else if host().any(|finding| !privileges(&finding)) {
            1
        } else if host().next().is_some() {
            9
        } else {
            0
        }
    }
}

fn interface(name: String, links: &Links, host: &HostFacts) -> Part<InterfaceFacts> {
    let Some(link) = links.named(&name) else {
        let error = InterfaceError::NotFound(name.as_str().into());
        return Part::absent(name, "interface", error.to_string());
    };
    let facts = InterfaceFacts::read(link, links);
    Part {
        findings: interface_findings(&facts, host),
        facts: Some(facts),
        name,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A part with one finding of this key and level.
    pub fn part<F>(name: &str, key: &'static str, level: Level) -> Part<F> {
        let mut part = Part::absent(name.to_owned(), key, "some text".to_owned());
        part.findings[0].level = level;
        part
    }

    pub fn report() -> Report {
        Report {
            host: part("host", "kernel", Level::Ok),
            interfaces: vec![part("eth1", "zero_copy", Level::Note)],
            paths: vec![part("/srv", "plan", Level::Warning)],
            named: true,
        }
    }

    #[test]
    fn what_is_missing_makes_the_exit_code() {
        assert_eq!(report().exit_code(), 0);
        let mut bad = report();
        bad.host = part("host", "privileges", Level::Missing);
        assert_eq!(bad.exit_code(), 9);
        bad.host = part("host", "memlock", Level::Missing);
        assert_eq!(bad.exit_code(), 9);
        bad.host = part("host", "io_uring", Level::Missing);
        assert_eq!(bad.exit_code(), 1);
        bad.interfaces[0] = part("eth1", "native_xdp", Level::Missing);
        assert_eq!(bad.exit_code(), 11);
        bad.paths[0] = part("/srv", "path", Level::Missing);
        assert_eq!(bad.exit_code(), 5);
    }

    #[test]
    fn of_all_interfaces_one_is_enough() {
        let mut some = report();
        some.named = false;
        some.interfaces.push(part("br0", "role", Level::Missing));
        assert_eq!(some.exit_code(), 0);
        some.named = true;
        assert_eq!(some.exit_code(), 11);
        some.named = false;
        some.interfaces.remove(0);
        assert_eq!(some.exit_code(), 11);
        some.interfaces.clear();
        assert_eq!(some.exit_code(), 11, "there is none at all");
    }

    #[test]
    fn an_interface_that_is_not_there() {
        let names = ["no such".to_owned()];
        let missing = Report::make(&names, &["/no such directory".into()]).unwrap();
        assert!(missing.interfaces[0].is_unusable());
        assert_eq!(missing.exit_code(), 5);
        assert_eq!(Report::make(&names, &[]).unwrap().exit_code(), 11);
    }
}
