//! What was measured, for people and for programs.

use std::fmt;

use blk_client::paths::{Cost, Site, Ways};
use serde::Serialize;

use super::absent::Absent;

/// All of it.
pub struct Report {
    /// Where.
    pub site: Site,
    /// Of the file, in bytes.
    pub size: u64,
    /// The data paths, in the order of their turns.
    pub rows: Vec<Row>,
    /// What `auto` takes from now on for a put, and for a get, and why.
    pub chosen: [Chosen; 2],
    /// Why the figures are not remembered, if they are not.
    pub forgotten: Option<String>,
}

/// A data path.
pub struct Row {
    /// Its name on the command line.
    pub datapath: &'static str,
    /// Its name in a sentence.
    pub name: &'static str,
    /// Of the puts, one for each round.
    pub puts: Vec<Cost>,
    /// Of the gets.
    pub gets: Vec<Cost>,
    /// Why it could not be had, if it could not.
    pub absent: Option<Absent>,
}

impl Row {
    /// The medians of all rounds, if it could be had.
    pub fn ways(&self) -> Option<Ways> {
        Some(Ways {
            sent: Cost::median(&self.puts)?,
            received: Cost::median(&self.gets)?,
        })
    }
}

/// What `auto` takes.
pub struct Chosen {
    /// Its name in a sentence.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

#[derive(Serialize)]
struct Json<'a> {
    interface: &'a str,
    driver: &'a str,
    mtu: u32,
    kernel: &'a str,
    size: u64,
    paths: Vec<JsonPath<'a>>,
    auto_put: JsonChosen<'a>,
    auto_get: JsonChosen<'a>,
    forgotten: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonPath<'a> {
    datapath: &'a str,
    absent: Option<&'a str>,
    put: Vec<JsonCost>,
    get: Vec<JsonCost>,
}

#[derive(Serialize)]
struct JsonCost {
    bytes_per_second: f64,
    cpu_seconds_per_gb: f64,
}

#[derive(Serialize)]
struct JsonChosen<'a> {
    path: &'a str,
    reason: &'a str,
}

impl Report {
    /// One line of JSON: each round's figures, sizes in bytes, CPU time in seconds for 10^9 bytes.
    pub fn json(&self) -> String {
        let costs = |costs: &[Cost]| {
            let cost = |cost: &Cost| JsonCost {
                bytes_per_second: cost.rate,
                cpu_seconds_per_gb: cost.cpu_per_gb,
            };
            costs.iter().map(cost).collect()
        };
        let [auto_put, auto_get] = self.chosen.each_ref().map(|chosen| JsonChosen {
            path: chosen.name,
            reason: &chosen.reason,
        });
        let line = Json {
            interface: &self.site.interface,
            driver: &self.site.driver,
            mtu: self.site.mtu,
            kernel: &self.site.kernel,
            size: self.size,
            paths: self
                .rows
                .iter()
                .map(|row| JsonPath {
                    datapath: row.datapath,
                    absent: row.absent.as_ref().map(|absent| absent.why.as_str()),
                    put: costs(&row.puts),
                    get: costs(&row.gets),
                })
                .collect(),
            auto_put,
            auto_get,
            forgotten: self.forgotten.as_deref(),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site {
            interface,
            driver,
            mtu,
            kernel,
            ..
        } = &self.site;
        writeln!(
            out,
            "{interface}: driver {driver}, MTU {mtu}, Linux {kernel}; {} MiB each way, medians",
            self.size >> 20
        )?;
        writeln!(
            out,
            "{:18} {:>9} {:>9}   {:>9} {:>9}",
            "", "put GB/s", "CPU s/GB", "get GB/s", "CPU s/GB"
        )?;
        for row in &self.rows {
            match row.ways() {
                Some(Ways { sent, received }) => writeln!(
                    out,
                    "{:18} {:9.2} {:9.2}   {:9.2} {:9.2}",
                    row.name,
                    sent.rate / 1e9,
                    sent.cpu_per_gb,
                    received.rate / 1e9,
                    received.cpu_per_gb
                )?,
                None => {
                    let why = row.absent.as_ref().map_or("", |absent| &absent.why);
                    writeln!(out, "{:18} not here: {why}", row.name)?;
                }
            }
        }
        for (what, Chosen { name, reason }) in ["put", "get"].iter().zip(&self.chosen) {
            writeln!(out, "auto takes for a {what}: {name} ({reason})")?;
        }
        match &self.forgotten {
            Some(why) => write!(out, "these figures are not remembered: {why}"),
            None => write!(out, "remembered for 30 days"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cost = |rate, cpu_per_gb| Cost { rate, cpu_per_gb };
        let row = |datapath, name| Row {
            datapath,
            name,
            puts: Vec::new(),
            gets: Vec::new(),
            absent: None,
        };
        let chosen = || Chosen {
            name: "UDP sockets",
            reason: "so it is".to_owned(),
        };
        Report {
            site: Site {
                kernel: "6.18.0".to_owned(),
                ..Site::named("eth1", "veth", 1500)
            },
            size: 512 << 20,
            rows: vec![
                Row {
                    puts: vec![cost(1e9, 0.5), cost(2e9, 0.7), cost(9e9, 0.6)],
                    gets: vec![cost(1e9, 0.5), cost(2e9, 0.25)],
                    ..row("udp", "UDP sockets")
                },
                Row {
                    absent: Some(Absent {
                        why: "no driver for it".to_owned(),
                        is_passing: false,
                    }),
                    ..row("zerocopy", "AF_XDP zero-copy")
                },
            ],
            chosen: [chosen(), chosen()],
            forgotten: None,
        }
    }

    #[test]
    fn a_line_for_each_data_path() {
        let text = report().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "eth1: driver veth, MTU 1500, Linux 6.18.0; 512 MiB each way, medians"
        );
        assert_eq!(
            lines[2],
            "UDP sockets             2.00      0.60        1.50      0.38"
        );
        assert_eq!(lines[3], "AF_XDP zero-copy   not here: no driver for it");
        assert_eq!(lines[4], "auto takes for a put: UDP sockets (so it is)");
        assert_eq!(lines.last(), Some(&"remembered for 30 days"));
        let forgotten = Some("no space".to_owned());
        let text = Report {
            forgotten,
            ..report()
        };
        let text = text.to_string();
        assert!(
            text.ends_with("not remembered: no space") && !text.contains("30 days"),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_figures_of_each_round() {
        let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(value["paths"][0]["put"][1]["bytes_per_second"], 2e9);
        assert_eq!(value["paths"][1]["absent"], "no driver for it");
        assert_eq!(value["auto_get"]["path"], "UDP sockets");
        let documentation = include_str!("../../../../../docs/operations.md");
        let (_, documentation) = documentation
            .split_once("\n### What data paths cost\n")
            .expect("it has a section");
        let (documentation, _) = documentation.split_once("\n#").expect("others follow");
        let parts = [
            &value,
            &value["paths"][0],
            &value["paths"][0]["put"][0],
            &value["auto_put"],
        ];
        for part in parts {
            for key in part.as_object().unwrap().keys() {
                assert!(
                    documentation.contains(&format!("`{key}`")),
                    "{key} is not documented"
                );
            }
        }
    }
}
