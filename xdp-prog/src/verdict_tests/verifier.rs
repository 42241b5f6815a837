//! What the kernel's verifier says to the program.

use super::*;

/// Instructions that the verifier follows before it gives up: `BPF_COMPLEXITY_LIMIT_INSNS` of include/linux/bpf.h.
const LIMIT: u32 = 1_000_000;

#[test]
fn the_verifier_takes_the_program_with_much_room_left() {
    if !crate::netns::is_root("the_verifier_takes_the_program_with_much_room_left") {
        return;
    }
    let loaded = load(1);
    let info = loaded.program().unwrap().info().unwrap();
    let followed = info.verified_instruction_count().expect("Linux 5.16");
    let bytes = info.size_translated().expect("the right to see it");
    // scripts/vm-lab --verify shows this line, from each kernel.
    println!(
        "verifier: followed {followed} instructions of at most {LIMIT}, {} in the program",
        bytes / 8
    );
    // Kernels follow different numbers of paths. One that follows ten times as many as this one would still take it.
    assert!(followed < LIMIT / 10, "{followed}");
}
