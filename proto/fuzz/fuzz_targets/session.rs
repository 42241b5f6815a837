//! Two sessions and a hostile network, played from a script.
#![no_main]

use blk_proto_fuzz::memory;
use blk_proto_fuzz::script::Script;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fuzz_target!(|script: Script| script.play());
