use proptest::prelude::*;

use super::*;
use crate::disk::{Access, Layout, layout::Unaligned};

const QUEUE: QueueLimits = QueueLimits {
    virt_boundary: 0,
    max_segments: 254,
    max_kib: 4096,
    logical_block: 512,
    physical_block: 4096,
    rotational: false,
    devices: 1,
};

/// ext4 on a virtio disk.
const EXT4: DeviceReport = DeviceReport {
    memory_align: 512,
    offset_align: 512,
    read_offset_align: 0,
    queue: Some(QUEUE),
    file_system: 0xEF53,
    block: 4096,
    page: 4096,
};

fn coalesce(reason: CoalesceReason, align: u32) -> Plan {
    Plan::Coalesce { reason, align }
}

fn buffered(reason: BufferedReason) -> Plan {
    Plan::Buffered { reason }
}

fn limits(queue: QueueLimits) -> DeviceReport {
    DeviceReport {
        queue: Some(queue),
        ..EXT4
    }
}

#[test]
fn plans_by_report() {
    let boundary = |virt_boundary| {
        limits(QueueLimits {
            virt_boundary,
            ..QUEUE
        })
    };
    let aligned = |memory_align, offset_align| DeviceReport {
        memory_align,
        offset_align,
        ..EXT4
    };
    let too_coarse = |memory, offset| buffered(BufferedReason::Alignment { memory, offset });
    let table = [
        ("virtio, ext4", EXT4, Plan::Gather),
        ("NVMe with byte alignment", aligned(4, 512), Plan::Gather),
        ("4 KiB sectors", aligned(512, 4096), Plan::Gather),
        ("64 KiB blocks", aligned(512, 65_536), Plan::Gather),
        (
            "NVMe with pages",
            boundary(0xfff),
            coalesce(CoalesceReason::Joints { boundary: 0xfff }, 512),
        ),
        ("joints at 512", boundary(0x1ff), Plan::Gather),
        (
            "joints at 1024",
            boundary(0x3ff),
            coalesce(CoalesceReason::Joints { boundary: 0x3ff }, 512),
        ),
        (
            "memory in pages",
            aligned(4096, 4096),
            coalesce(CoalesceReason::Memory { align: 4096 }, 4096),
        ),
        (
            "unknown device",
            DeviceReport {
                queue: None,
                ..EXT4
            },
            coalesce(CoalesceReason::UnknownDevice, 512),
        ),
        (
            "tmpfs",
            DeviceReport {
                file_system: 0x0102_1994,
                ..aligned(0, 0)
            },
            buffered(BufferedReason::NotReported),
        ),
        (
            "too coarse",
            aligned(512, 1 << 20),
            too_coarse(512, 1 << 20),
        ),
        (
            "memory too coarse",
            aligned(8192, 512),
            too_coarse(8192, 512),
        ),
        ("nonsense", aligned(512, 700), too_coarse(512, 700)),
    ];
    for (name, report, plan) in table {
        assert_eq!(report.plan(Intent::Write), plan, "{name}: {report}");
    }
}

#[test]
fn the_ends_of_runs_depend_on_alignment_and_intent() {
    let rules = |offset_align, read_offset_align, intent| {
        let report = DeviceReport {
            offset_align,
            read_offset_align,
            ..EXT4
        };
        let rules = report.rules(intent);
        (rules.unit, rules.ends)
    };
    assert_eq!(rules(512, 0, Intent::Write), (512, Ends::Padded));
    assert_eq!(rules(4, 0, Intent::Write), (512, Ends::Padded));
    assert_eq!(rules(512, 0, Intent::Read), (512, Ends::Padded));
    // In place, a page and a block of the file system are never written both ways.
    assert_eq!(rules(512, 0, Intent::Update), (4096, Ends::Shared));
    assert_eq!(rules(4096, 0, Intent::Write), (4096, Ends::Shared));
    assert_eq!(rules(4096, 0, Intent::Read), (4096, Ends::Shared));
    // Reads may be finer.
    assert_eq!(rules(4096, 512, Intent::Read), (512, Ends::Padded));
    let large = DeviceReport {
        block: 16_384,
        ..EXT4
    };
    assert_eq!(large.rules(Intent::Update).unit, 16_384);
    assert_eq!(large.rules(Intent::Write).unit, 512);
}

#[test]
fn plans_and_reports_say_what_they_are() {
    assert_eq!(
        EXT4.to_string(),
        "ext4 with blocks of 4096, direct I/O aligned to 512 in memory and 512 in the file, on 1 device(s): \
         boundary 0x0, 254 segments, 4096 KiB, blocks of 512 (4096 physical)"
    );
    let plan = coalesce(CoalesceReason::Joints { boundary: 0xfff }, 512);
    assert_eq!(
        plan.to_string(),
        "coalesce, aligned to 512 bytes: the device splits requests at joints not on a multiple of 4096 bytes"
    );
    let reason = BufferedReason::NotReported;
    assert_eq!(
        Plan::Buffered { reason }.to_string(),
        format!("buffered: {reason}")
    );
    assert_ne!(Access::Direct, Access::Buffered { reason });
}

fn reports() -> impl Strategy<Value = DeviceReport> {
    let align = || prop::sample::select(vec![0u32, 4, 512, 1024, 4096, 8192, 65_536, 1 << 20]);
    let boundary = prop::sample::select(vec![0u64, 511, 4095, 65_535]);
    let queue =
        prop::option::of(
            (boundary, 1u32..300).prop_map(|(virt_boundary, segments)| QueueLimits {
                virt_boundary,
                max_segments: segments,
                ..QUEUE
            }),
        );
    let block = prop::sample::select(vec![512u32, 1024, 4096, 16_384]);
    (align(), align(), align(), queue, block).prop_map(
        |(memory_align, offset_align, read_offset_align, queue, block)| DeviceReport {
            memory_align,
            offset_align,
            read_offset_align,
            queue,
            block,
            ..EXT4
        },
    )
}

fn intents() -> impl Strategy<Value = Intent> {
    prop::sample::select(vec![Intent::Read, Intent::Write, Intent::Update])
}

proptest! {
    /// Whatever the report, frames that go straight satisfy it, and joints that the device minds do not occur.
    #[test]
    fn layouts_obey_the_report(
        report in reports(),
        intent in intents(),
        offset in 0u64..300_000,
        sectors in any::<bool>(),
        lengths in prop::collection::vec(1usize..=3584, 1..140),
    ) {
        let (offset, lengths) = if sectors {
            (offset / 512 * 512, lengths.iter().map(|len| len.next_multiple_of(512)).collect())
        } else {
            (offset, lengths)
        };
        let plan = report.plan(intent);
        if matches!(plan, Plan::Buffered { .. }) {
            return Ok(());
        }
        let rules = report.rules(intent);
        let unit = u64::from(rules.unit);
        let align = if intent == Intent::Read && report.read_offset_align != 0 {
            report.read_offset_align
        } else {
            report.offset_align
        };
        prop_assert!(unit.is_multiple_of(u64::from(align)) && unit <= u64::from(UNIT_MAX));
        let total: u64 = lengths.iter().map(|len| *len as u64).sum();
        let layout = Layout::direct(&rules, offset, lengths.iter().copied());
        let layout = match layout {
            Ok(layout) => layout,
            Err(Unaligned) => {
                prop_assert!(rules.ends == Ends::Padded && !offset.is_multiple_of(unit));
                return Ok(());
            }
        };
        let Layout { head, gathered, copied, end } = layout;
        prop_assert!(head <= gathered && gathered <= copied && copied <= end && total <= end);
        // Direct parts start and end at units.
        if head < copied {
            prop_assert!((offset + head).is_multiple_of(unit) && (offset + copied).is_multiple_of(unit));
            prop_assert!(gathered == head || (offset + gathered).is_multiple_of(unit));
        }
        match rules.ends {
            Ends::Padded => prop_assert!(head == 0 && end == total.next_multiple_of(unit) && copied == end),
            // Exactly the whole units go direct.
            Ends::Shared => {
                prop_assert_eq!(end, total);
                prop_assert!(head < unit || head == total);
                prop_assert!(end - copied < unit);
            }
        }
        // Pieces of frames that are gathered start and end at sectors, in memory and in length.
        let mut start = 0;
        for (at, len) in lengths.iter().enumerate() {
            let last = at + 1 == lengths.len();
            let until = if last { end } else { start + *len as u64 };
            let (from, to) = (start.max(head), until.min(gathered));
            if from < to {
                prop_assert!((from - start).is_multiple_of(512) && (to - from).is_multiple_of(512));
                prop_assert!(to - start <= 3584);
            }
            start += *len as u64;
        }
    }

    /// Runs that cover a file, each byte once: a unit is written direct by the one run that has all of it, or through
    /// the page cache by all that have some of it; never both.
    #[test]
    fn no_unit_is_written_both_ways(
        offset_align in prop::sample::select(vec![512u32, 4096, 8192]),
        cuts in prop::collection::btree_set(1u64..100_000, 0..30),
        update in any::<bool>(),
    ) {
        let report = DeviceReport { offset_align, ..EXT4 };
        let intent = if update || offset_align == 512 { Intent::Update } else { Intent::Write };
        let rules = report.rules(intent);
        let unit = u64::from(rules.unit);
        prop_assert_eq!(rules.ends, Ends::Shared);
        let size = 100_000u64;
        let bounds: Vec<u64> = [0].into_iter().chain(cuts).chain([size]).collect();
        // Per unit: times written direct, and through the page cache.
        let mut ways = vec![(0u32, 0u32); size.div_ceil(unit) as usize];
        for pair in bounds.windows(2) {
            let (start, len) = (pair[0], pair[1] - pair[0]);
            let whole = (0..len / 3072).map(|_| 3072);
            let rest = (!len.is_multiple_of(3072)).then_some((len % 3072) as usize);
            let lengths: Vec<usize> = whole.chain(rest).collect();
            let layout = Layout::direct(&rules, start, lengths.into_iter());
            let layout = layout.expect("any offset will do");
            for at in (start / unit)..(start + len).div_ceil(unit) {
                let (from, to) = ((at * unit).max(start) - start, ((at + 1) * unit).min(start + len) - start);
                let overlaps = |a: u64, b: u64| a.max(from) < b.min(to);
                let ways = &mut ways[at as usize];
                ways.0 += u32::from(overlaps(layout.head, layout.copied));
                ways.1 += u32::from(overlaps(0, layout.head) || overlaps(layout.copied, layout.end));
            }
        }
        for (direct, cached) in ways {
            prop_assert!((direct, cached) == (1, 0) || (direct == 0 && cached > 0), "{direct} {cached}");
        }
    }
}

#[test]
fn blocks_of_any_size_are_planned() {
    for size in [0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX] {
        for intent in [Intent::Read, Intent::Write, Intent::Update] {
            let block = DeviceReport {
                block: size,
                ..EXT4
            };
            let page = DeviceReport { page: size, ..EXT4 };
            let offset = DeviceReport {
                offset_align: size,
                ..EXT4
            };
            for report in [block, page, offset] {
                let is_large = report.rules(intent).unit > UNIT_MAX;
                let is_buffered = matches!(report.plan(intent), Plan::Buffered { .. });
                assert!(is_buffered || !is_large, "{intent:?} {report}");
            }
        }
    }
}
