//! The committed object's shape. Needs neither root nor a kernel.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};

/// Bytes of a BPF instruction.
const INSTRUCTION: u64 = 8;

static OBJECT: &[u8] = include_bytes!("../blk_xdp.o");

fn elf() -> ElfFile64<'static, Endianness> {
    ElfFile64::parse(OBJECT).expect("an ELF64 object")
}

/// The section that a symbol is defined in, and the symbol's size.
fn defined(name: &str) -> (String, u64) {
    let elf = elf();
    let symbol = elf
        .symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .unwrap_or_else(|| panic!("no symbol {name}"));
    let section = symbol.section_index().expect("a defined symbol");
    let section = elf.section_by_index(section).unwrap();
    (section.name().unwrap().to_owned(), symbol.size())
}

#[test]
fn it_is_a_little_endian_bpf_object() {
    assert_eq!(elf().architecture(), object::Architecture::Bpf);
    assert!(elf().is_little_endian());
}

#[test]
fn the_program_takes_fragments_and_is_small() {
    // aya sets BPF_F_XDP_HAS_FRAGS for a program in this section.
    let (section, size) = defined("blk_xdp");
    assert_eq!(section, "xdp.frags");
    let instructions = size / INSTRUCTION;
    assert!((50..4096).contains(&instructions), "{instructions}");
    let elf = elf();
    let section = elf.section_by_name("xdp.frags").unwrap();
    assert_eq!(section.size(), size, "one program, no second one");
}

#[test]
fn the_program_calls_no_function_of_its_own() {
    // Relocations of the program are its maps, each an object symbol; a call into .text (memcpy) would be a
    // function symbol, and bytes moved one by one.
    let elf = elf();
    let section = elf.section_by_name("xdp.frags").unwrap();
    let mut names = Vec::new();
    for (_, relocation) in section.relocations() {
        let object::RelocationTarget::Symbol(index) = relocation.target() else {
            panic!("{relocation:?}");
        };
        let symbol = elf.symbol_by_index(index).unwrap();
        assert_ne!(symbol.kind(), object::SymbolKind::Text, "{symbol:?}");
        names.push(symbol.name().unwrap().to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names, MAPS);
}

/// The program's maps, sorted.
const MAPS: [&str; 9] = [
    "BUCKETS",
    "COUNTERS",
    "CPUS",
    "KERNEL_CPUS",
    "SERVICES",
    "SLOTS",
    "SOCKETS",
    "SOURCES_V4",
    "SOURCES_V6",
];

#[test]
fn maps_are_where_the_loader_looks() {
    for map in MAPS {
        // struct bpf_map_def of libbpf 0.x: type, key, value, entries, flags, id, pinning.
        assert_eq!(defined(map), ("maps".to_owned(), 28), "{map}");
    }
    // Tables are maps: a value built into the program could not be changed while it runs.
    for section in elf().sections() {
        let name = section.name().unwrap();
        let constants = [".rodata", ".data", ".bss"].contains(&name);
        assert!(!constants, "{name}");
    }
}

#[test]
fn the_program_calls_helpers_of_linux_6_1_and_older_only() {
    /// `bpf_map_lookup_elem`, `bpf_map_update_elem`, `bpf_ktime_get_ns` (all before 5.0), `bpf_redirect_map` (4.14)
    /// and `bpf_xdp_load_bytes` (5.18): `enum bpf_func_id` of include/uapi/linux/bpf.h.
    const HELPERS: [u32; 5] = [1, 2, 5, 51, 189];
    let elf = elf();
    let section = elf.section_by_name("xdp.frags").unwrap();
    let code = section.data().unwrap();
    assert_eq!(code.len() as u64 % INSTRUCTION, 0);
    let (mut called, mut is_second_half) = (Vec::new(), false);
    for (number, instruction) in code.chunks_exact(INSTRUCTION as usize).enumerate() {
        if std::mem::take(&mut is_second_half) {
            continue;
        }
        // Opcode, registers, 16 bits of offset, 32 bits of constant (Documentation/bpf/standardization).
        let &[opcode, registers, _, _, ref immediate @ ..] = instruction else {
            unreachable!("8 bytes");
        };
        match opcode {
            // BPF_LD | BPF_IMM | BPF_DW takes two.
            0x18 => is_second_half = true,
            // BPF_JMP | BPF_CALL; a source register of 0 means a helper by its number.
            0x85 => {
                assert_eq!(registers >> 4, 0, "instruction {number} calls no helper");
                called.push(u32::from_le_bytes(immediate.try_into().unwrap()));
            }
            // BPF_JMP32 | BPF_JA, and other instructions of version 4, came with Linux 6.6.
            0x06 => panic!("instruction {number}: a jump with a long offset"),
            _ => {}
        }
    }
    called.sort_unstable();
    called.dedup();
    assert_eq!(called, HELPERS);
}

#[test]
fn the_program_writes_whole_words_to_its_stack() {
    // Else Linux 6.1 refuses it to a process without CAP_PERFMON: see words.rs of the program.
    let elf = elf();
    let section = elf.section_by_name("xdp.frags").unwrap();
    let mut whole = 0;
    for (number, instruction) in section.data().unwrap().chunks_exact(8).enumerate() {
        let [opcode, registers, ..] = *instruction else {
            unreachable!("8 bytes");
        };
        // BPF_ST and BPF_STX with BPF_MEM and a size, to the frame pointer, R10. The second half of a BPF_LD has an opcode of 0.
        if matches!(opcode & 0xe7, 0x62 | 0x63) && registers & 0xf == 10 {
            assert_eq!(
                opcode & 0x18,
                0x18,
                "instruction {number}: less than 64 bits"
            );
            whole += 1;
        }
    }
    assert!(whole > 10, "{whole}");
}

#[test]
fn the_licence_is_compatible_with_the_gpl() {
    let elf = elf();
    let section = elf.section_by_name("license").unwrap();
    assert_eq!(section.data().unwrap(), b"Dual MIT/GPL\0");
}

#[test]
fn no_path_of_the_machine_that_built_it_is_inside() {
    for path in [&b"/home/"[..], b"/root/", b".cargo", b".rs"] {
        let found = OBJECT.windows(path.len()).any(|bytes| bytes == path);
        assert!(!found, "{}", String::from_utf8_lossy(path));
    }
}
