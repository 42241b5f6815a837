//! The machine that the figures are of.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// As far as the kernel tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many this process may use.
    pub cpus: usize,
    /// In MiB.
    pub memory_mib: u64,
    /// Its release.
    pub kernel: String,
    /// The file system that the files lie on.
    pub file_system: String,
    /// The block device below it.
    pub device: String,
    /// What that says it is.
    pub disk_model: String,
    /// Before the first measurement.
    pub load_before: String,
}

impl Machine {
    /// This one; the files lie below a directory.
    pub fn here(directory: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mount = |what: &str| {
            let mut find = Command::new("findmnt");
            let found = find.args(["-no", what, "-T"]).arg(directory).output();
            found.map_or_else(
                |_| String::new(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            )
        };
        let device = mount("SOURCE");
        let name = device.rsplit('/').next().unwrap_or_default();
        let model = ["device/model", "../device/model"]
            .map(|file| read(&format!("/sys/class/block/{name}/{file}")))
            .concat();
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap_or_default()
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: mount("FSTYPE"),
            disk_model: or_unknown(model.trim()),
            device,
            load_before: load(),
        }
    }

    /// For people, in a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} CPUs, {} MiB, Linux {}, {} on {} (model: {}), load average before {}, after {}",
            self.cpu,
            self.cpus,
            self.memory_mib,
            self.kernel,
            self.file_system,
            self.device,
            self.disk_model,
            self.load_before,
            load()
        )
    }
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "not told" } else { text }.to_owned()
}

/// The value of the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    or_unknown(value.map_or("", |(_, value)| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: A B-1\nmodel name\t: C\n";
        assert_eq!(field(text, "model name"), "A B-1");
        assert_eq!(field(text, "MemTotal"), "not told");
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::here(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory_mib > 0 && !machine.kernel.is_empty());
        assert!(machine.line().contains(&machine.kernel));
    }
}
