use super::*;

const SECTORS: Rules = Rules {
    unit: 512,
    joint: 512,
    ends: Ends::Padded,
    max_segments: 254,
    max_request: 1 << 20,
};
const BLOCKS: Rules = Rules {
    unit: 4096,
    ends: Ends::Shared,
    ..SECTORS
};

fn layout(rules: &Rules, offset: u64, lengths: &[usize]) -> [u64; 4] {
    let layout = Layout::direct(rules, offset, lengths.iter().copied()).expect("aligned");
    [layout.head, layout.gathered, layout.copied, layout.end]
}

#[test]
fn whole_sectors_are_gathered_up_to_the_first_frame_that_is_not() {
    assert_eq!(
        layout(&SECTORS, 512, &[3072; 280]),
        [0, 860_160, 860_160, 860_160]
    );
    // The tail of the file is padded.
    assert_eq!(layout(&SECTORS, 0, &[1024, 100]), [0, 1536, 1536, 1536]);
    assert_eq!(layout(&SECTORS, 0, &[100]), [0, 512, 512, 512]);
    assert_eq!(
        layout(&SECTORS, 0, &[1024, 100, 1024]),
        [0, 1024, 2560, 2560]
    );
    assert_eq!(layout(&SECTORS, 0, &[]), [0; 4]);
    assert_eq!(
        Layout::direct(&SECTORS, 100, [512].into_iter()),
        Err(Unaligned)
    );
}

#[test]
fn whole_blocks_go_direct_and_the_pieces_around_them_do_not() {
    // Aligned, of frames that are whole sectors.
    assert_eq!(
        layout(&BLOCKS, 4096, &[3072; 4]),
        [0, 12_288, 12_288, 12_288]
    );
    // A run from within a block to within another.
    assert_eq!(
        layout(&BLOCKS, 1024, &[3072; 4]),
        [3072, 11_264, 11_264, 12_288]
    );
    // Frames of odd lengths are copied.
    assert_eq!(layout(&BLOCKS, 0, &[3000; 4]), [0, 0, 8192, 12_000]);
    // As far as they are not, and only to the last whole block of that.
    assert_eq!(
        layout(&BLOCKS, 0, &[3072, 3072, 3072, 1000, 3072]),
        [0, 8192, 12_288, 13_288]
    );
    // No whole block in it.
    assert_eq!(layout(&BLOCKS, 1, &[3000; 2]), [6000; 4]);
    assert_eq!(layout(&BLOCKS, 4095, &[4]), [4; 4]);
    // Memory within a frame that is not at a sector.
    assert_eq!(
        layout(&BLOCKS, 1000, &[3072; 4]),
        [3096, 3096, 11_288, 12_288]
    );
}

#[test]
fn what_the_cache_gave_counts_to_the_head() {
    let layout = Layout::direct(&SECTORS, 0, [3072; 4].into_iter()).expect("aligned");
    let rest = layout.after(5120);
    assert_eq!((rest.head, rest.gathered, rest.end), (5120, 12_288, 12_288));
    assert_eq!(rest.gathered_bytes(), 7168);
    assert_eq!(rest.coalesced().gathered, 5120);
}
