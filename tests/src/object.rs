//! The committed eBPF object with a program in it that no kernel takes.

use std::{fs, path::Path};

use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, read::elf::ElfFile64};

/// The variable that names an object to load in place of the one that is built in.
pub const VARIABLE: &str = "GALILEO_EBPF_OBJECT";

/// `r0 = *(u64 *)(r9 + 0)`: reads a register that nothing was written to, which every verifier refuses (`check_reg_arg` in
/// kernel/bpf/verifier.c: `R9 !read_ok`).
const REFUSED: [u8; 8] = [0x79, 0x90, 0, 0, 0, 0, 0, 0];

/// Writes the committed object to `path`, with this first instruction in place of that of `program`.
///
/// # Panics
///
/// If there is no such program, or the file cannot be written.
pub fn write_refused(path: &Path, program: &str) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf/prebuilt/galileo.bpf.o");
    let mut bytes = fs::read(committed).expect("the object is committed");
    let at = begin_of(&bytes, program);
    bytes[at..at + REFUSED.len()].copy_from_slice(&REFUSED);
    fs::write(path, bytes).expect("the folder can be written to");
}

/// Where the code of a program begins.
fn begin_of(object: &[u8], program: &str) -> usize {
    let object = ElfFile64::<LittleEndian>::parse(object).expect("an ELF file");
    let symbol = object
        .symbols()
        .find(|symbol| symbol.name() == Ok(program))
        .unwrap_or_else(|| panic!("the object has no program {program}"));
    let section = symbol.section_index().expect("a program lies in a section");
    let section = object.section_by_index(section).expect("it is there");
    let (begin, _) = section.file_range().expect("code lies in the file");
    usize::try_from(begin + symbol.address()).expect("the file is in memory")
}
