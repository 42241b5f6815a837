//! What follows from the facts about a directory.

use super::finding::Finding;
use super::kernel::KernelVersion;
use super::place::{Direct, PlaceFacts};
use super::quirks::quirks;
use crate::disk::Plan;
use crate::disk::plan::CoalesceReason;

/// One GiB. Less than this free is worth a word, bytes.
const LITTLE: u64 = 1 << 30;

/// What is to be said, on a kernel of this version.
#[must_use]
pub fn place_findings(place: &PlaceFacts, kernel: Option<KernelVersion>) -> Vec<Finding> {
    let mut findings = vec![file_system(place)];
    match &place.direct {
        Err(why) => findings.push(not_writable(place, why)),
        Ok(direct) => findings.extend(of_file(place, direct, kernel)),
    }
    findings.push(free(place));
    findings.push(sync(place));
    if !place.birth_times {
        findings.push(Finding::note(
            "birth_times",
            "files have no birth times here: a put that was cut off begins anew",
        ));
    }
    findings
}

fn file_system(place: &PlaceFacts) -> Finding {
    let on = match &place.device {
        Some(device) => format!("{} on {device}", place.file_system),
        None => format!("{}, not on one block device", place.file_system),
    };
    let text = match place.report.queue {
        Some(queue) => format!(
            "{on}: requests of up to {} KiB in {} pieces, joints {}, blocks of {} ({} physical)",
            queue.max_kib,
            queue.max_segments,
            match queue.virt_boundary {
                0 => "anywhere".to_owned(),
                boundary => format!("at multiples of {}", boundary.saturating_add(1)),
            },
            queue.logical_block,
            queue.physical_block,
        ),
        None => format!("{on}; what the device takes is not known"),
    };
    Finding::ok("file_system", text)
}

fn not_writable(place: &PlaceFacts, why: &str) -> Finding {
    if place.read_only {
        return Finding::missing("writable", "mounted read-only: nothing can be put here")
            .fix(format!("mount -o remount,rw {}", place.path.display()));
    }
    Finding::unknown(
        "writable",
        format!("this user cannot make a file here ({why}): alignment and plan are not known"),
    )
}

fn of_file(place: &PlaceFacts, direct: &Direct, kernel: Option<KernelVersion>) -> Vec<Finding> {
    let mut findings = vec![plan(place, direct)];
    if direct.read != direct.write {
        findings.push(Finding::note("plan_read", format!("gets: {}", direct.read)));
    }
    let joints = matches!(
        direct.write,
        Plan::Coalesce {
            reason: CoalesceReason::Joints { .. },
            ..
        }
    );
    let is_nvme = (place.device.as_deref()).is_some_and(|device| device.starts_with("nvme"));
    if let Some(kernel) = kernel
        && joints
        && is_nvme
    {
        findings.extend(quirks("nvme", kernel).map(|row| row.finding("")));
    }
    findings.push(if direct.nameless {
        Finding::ok("tmpfile", "O_TMPFILE works: files arrive without a name")
    } else {
        Finding::note(
            "tmpfile",
            "no O_TMPFILE: files arrive under hidden names, which a crash leaves behind (`blockd gc --walk`)",
        )
    });
    findings.push(match &direct.reserves {
        Ok(()) => Finding::ok("fallocate", "space can be reserved"),
        Err(why) => Finding::warning(
            "fallocate",
            format!(
                "space cannot be reserved ({why}): a disk that is full shows in the middle of a put"
            ),
        ),
    });
    findings
}

fn plan(place: &PlaceFacts, direct: &Direct) -> Finding {
    let report = &place.report;
    let aligned = format!(
        "direct I/O aligned to {} in memory and {} in the file",
        report.memory_align, report.offset_align
    );
    match direct.write {
        Plan::Gather => Finding::ok(
            "plan",
            format!(
                "gather: blocks go from the network's memory to the disk without a copy; {aligned}"
            ),
        ),
        Plan::Coalesce { reason, .. } => Finding::note(
            "plan",
            format!(
                "coalesce: every block is copied once, then written past the page cache: {reason}; {aligned}"
            ),
        ),
        Plan::Buffered { reason } => Finding::warning(
            "plan",
            format!("buffered: every block goes through the page cache: {reason}"),
        )
        .fix("put the export on ext4 or xfs"),
    }
}

fn free(place: &PlaceFacts) -> Finding {
    let (free, size) = (place.free, place.size);
    let text = format!("{} of {} free", binary(free), binary(size));
    if free < LITTLE {
        Finding::warning("free", text)
    } else {
        Finding::ok("free", text)
    }
}

/// Bytes in MiB, or from one GiB on, in GiB.
fn binary(bytes: u64) -> String {
    match bytes {
        LITTLE.. => format!("{:.1} GiB", bytes as f64 / LITTLE as f64),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn sync(place: &PlaceFacts) -> Finding {
    if place.syncfs_is_trusted {
        return Finding::ok("syncfs", "trusted: many small files share one sync");
    }
    Finding::note(
        "syncfs",
        format!(
            "not trusted on {}: each small file is synced by itself",
            place.file_system
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::disk::plan::QueueLimits;
    use crate::disk::{DeviceReport, Intent};

    fn nvme(boundary: u64) -> PlaceFacts {
        let report = DeviceReport {
            memory_align: 4,
            offset_align: 512,
            queue: Some(QueueLimits {
                virt_boundary: boundary,
                max_segments: 127,
                max_kib: 1280,
                logical_block: 512,
                physical_block: 4096,
                rotational: false,
                devices: 1,
            }),
            file_system: 0xef53,
            block: 4096,
            page: 4096,
            ..DeviceReport::default()
        };
        PlaceFacts {
            path: "/srv/data".into(),
            report,
            file_system: "ext4".to_owned(),
            device: Some("nvme0n1p1".to_owned()),
            free: 10 << 30,
            size: 20 << 30,
            read_only: false,
            direct: Ok(Direct {
                write: report.plan(Intent::Write),
                read: report.plan(Intent::Read),
                nameless: true,
                reserves: Ok(()),
            }),
            birth_times: true,
            syncfs_is_trusted: true,
        }
    }

    fn findings(place: &PlaceFacts, kernel: &str) -> Vec<Finding> {
        place_findings(place, kernel.parse().ok())
    }

    #[track_caller]
    fn find(place: &PlaceFacts, key: &str) -> Finding {
        let mut found = findings(place, "6.18.0").into_iter();
        found.find(|finding| finding.key == key).expect("a finding")
    }

    #[test]
    fn a_good_disk_has_nothing_to_change() {
        for finding in findings(&nvme(0), "6.19.0") {
            assert_eq!(finding.level, Level::Ok, "{finding:?}");
        }
        assert!(find(&nvme(0), "plan").text.starts_with("gather"));
        assert_eq!(find(&nvme(0), "free").text, "10.0 GiB of 20.0 GiB free");
    }

    #[test]
    fn joints_are_said_with_the_kernel_that_has_none() {
        let plan = find(&nvme(4095), "plan");
        assert_eq!(plan.level, Level::Note);
        assert!(plan.text.contains("multiple of 4096"), "{plan:?}");
        assert!(find(&nvme(4095), "quirk").text.contains("6.19"));
        let later = findings(&nvme(4095), "6.19.0");
        assert!(later.iter().all(|finding| finding.key != "quirk"));
    }

    #[test]
    fn tmpfs_goes_through_the_page_cache() {
        let report = DeviceReport {
            file_system: 0x0102_1994,
            ..DeviceReport::default()
        };
        let place = PlaceFacts {
            report,
            file_system: "tmpfs".to_owned(),
            device: None,
            direct: Ok(Direct {
                write: report.plan(Intent::Write),
                read: report.plan(Intent::Read),
                nameless: true,
                reserves: Err("not supported".to_owned()),
            }),
            free: 1000,
            syncfs_is_trusted: false,
            birth_times: false,
            ..nvme(0)
        };
        for (key, level) in [
            ("plan", Level::Warning),
            ("fallocate", Level::Warning),
            ("free", Level::Warning),
            ("syncfs", Level::Note),
            ("birth_times", Level::Note),
        ] {
            assert_eq!(find(&place, key).level, level, "{key}");
        }
        assert!(find(&place, "file_system").text.contains("not known"));
    }

    #[test]
    fn a_place_without_a_file() {
        let denied = PlaceFacts {
            direct: Err("Permission denied".to_owned()),
            ..nvme(0)
        };
        let finding = find(&denied, "writable");
        assert_eq!(finding.level, Level::Unknown);
        assert!(finding.text.contains("Permission denied"));
        let read_only = PlaceFacts {
            read_only: true,
            ..denied
        };
        assert_eq!(find(&read_only, "writable").level, Level::Missing);
    }
}
