//! What one run gives.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::Serialize;

/// A quantity, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// From the start of the client to the end of the last fsync.
    Seconds,
    /// 10^9 bytes per second.
    GigabytesPerSecond,
    /// CPU time of the machine (both machines, where there are two) that was not idle.
    CpuSecondsPerGigabyte,
    /// System calls of client and server, from a run of their own that is not timed.
    SyscallsPerGigabyte,
    /// How often a byte was copied in user space, as the receiving program counts it.
    CopiesPerByte,
    /// How often blockd moved a byte within memory besides, because a packet was other than expected.
    BlockdMovesPerByte,
    /// The rate over that of fio in the same round.
    OfDisk,
    /// Files per second.
    FilesPerSecond,
    /// As [`CpuSecondsPerGigabyte`](Self::CpuSecondsPerGigabyte), for 100,000 files.
    CpuSecondsPer100kFiles,
    /// Reads or writes per second.
    OperationsPerSecond,
    /// Half of the operations took no longer.
    P50Microseconds,
    /// 99 % of them.
    P99Microseconds,
    /// 99.9 % of them.
    P999Microseconds,
    /// As [`CpuSecondsPerGigabyte`](Self::CpuSecondsPerGigabyte), for an operation.
    CpuMicrosecondsPerOperation,
    /// The total rate over that of one client in the same round.
    OfOneClient,
    /// Most resident memory that the server had, huge pages included.
    PeakMemoryMebibytes,
    /// Of it huge pages of hugetlbfs, as sampled.
    PeakHugePagesMebibytes,
    /// Frames that the server has by its configuration.
    FramesMebibytes,
    /// CPU time of the idle server, of one CPU.
    IdleCpuPercent,
    /// The same while a client is connected that does nothing.
    ConnectedIdleCpuPercent,
    /// First read after a pause, the median.
    FirstReadP50Microseconds,
    /// First read after a pause, the slowest.
    FirstReadMaxMicroseconds,
    /// From nothing to the first byte: connect, open, read; the median.
    ConnectP50Microseconds,
    /// The same, the slowest.
    ConnectMaxMicroseconds,
    /// User-mode CPU time of processes that have no part in the measurement, of one CPU, both ends.
    OtherCpuPercent,
    /// CPU time that the hypervisor gave to other machines, of one CPU, both ends.
    StealPercent,
    /// Idle CPU time of this end, of one CPU.
    IdlePercent,
    /// 1 where the disk did not come to rest before the clock started.
    DiskBusyBefore,
}

/// From so much on, of one CPU, other load is worth a word. CPU time is counted in ticks, and so is never quite that of the
/// processes.
pub const MUCH_OTHER_LOAD: f64 = 25.0;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    values: BTreeMap<Measure, f64>,
    /// The data path that was taken, where the tool tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datapath: Option<String>,
}

impl Sample {
    /// Keeps another value.
    pub fn insert(&mut self, measure: Measure, value: f64) {
        self.values.insert(measure, value);
    }

    /// A value, if it was measured.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.values.get(&measure).copied()
    }

    /// With the data path that was taken.
    pub fn over(mut self, datapath: Option<String>) -> Self {
        self.datapath = datapath;
        self
    }

    /// Whether the machines had other things to do.
    pub fn is_disturbed(&self) -> bool {
        let percent = |measure| self.get(measure).unwrap_or_default();
        percent(Measure::OtherCpuPercent) + percent(Measure::StealPercent) > MUCH_OTHER_LOAD
            || self.get(Measure::DiskBusyBefore).is_some()
    }
}

impl<const N: usize> From<[(Measure, f64); N]> for Sample {
    fn from(values: [(Measure, f64); N]) -> Self {
        Self {
            values: values.into(),
            datapath: None,
        }
    }
}

impl Extend<(Measure, f64)> for Sample {
    fn extend<I: IntoIterator<Item = (Measure, f64)>>(&mut self, values: I) {
        self.values.extend(values);
    }
}

impl Index<Measure> for Sample {
    type Output = f64;

    fn index(&self, measure: Measure) -> &f64 {
        &self.values[&measure]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_load_disturbs() {
        let of = |measure, value| Sample::from([(measure, value)]).is_disturbed();
        assert!(!of(Measure::OtherCpuPercent, MUCH_OTHER_LOAD) && !of(Measure::IdlePercent, 99.0));
        assert!(of(Measure::OtherCpuPercent, 80.0) && of(Measure::StealPercent, 80.0));
        assert!(of(Measure::DiskBusyBefore, 1.0));
    }

    #[test]
    fn values_and_the_data_path_stand_beside_each_other() {
        let sample = Sample::from([(Measure::Seconds, 2.0)]);
        let json = |sample: &Sample| serde_json::to_string(sample).unwrap();
        assert_eq!(json(&sample), r#"{"seconds":2.0}"#);
        let sample = sample.over(Some("udp".to_owned()));
        assert_eq!(json(&sample), r#"{"seconds":2.0,"datapath":"udp"}"#);
    }
}
