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
    // Relocations of the program are its two maps and the read-only data, each an object symbol; a call
    // into .text (memcpy) would be a function symbol, and bytes moved one by one.
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
    assert_eq!(names, ["COUNTERS", "PORT_COUNT", "PORT_FIRST", "SOCKETS"]);
}

#[test]
fn maps_and_globals_are_where_the_loader_looks() {
    // struct bpf_map_def of libbpf 0.x: type, key, value, entries, flags, id, pinning.
    for map in ["SOCKETS", "COUNTERS"] {
        assert_eq!(defined(map), ("maps".to_owned(), 28));
    }
    for global in ["PORT_FIRST", "PORT_COUNT"] {
        assert_eq!(defined(global), (".rodata".to_owned(), 2));
    }
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
