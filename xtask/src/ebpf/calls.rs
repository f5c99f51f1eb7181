//! Whether programs that make tail calls call functions too: kernels before 6.0 refuse such programs on arm64, and say so nowhere
//! but there.

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData, Symbol};
use object::elf;

/// The programs that make tail calls lie in this section.
const PROGRAMS: &[u8] = b"cgroup/skb";

/// Looks through the relocations of a compiled object.
///
/// # Errors
///
/// If one of these programs calls a function, or if `object` is no ELF file.
pub(crate) fn none_beside_tail_calls(object: &[u8]) -> Result<()> {
    let builder = Builder::read(object).context("the object cannot be read as ELF")?;
    let is_programs =
        |section: &object::build::elf::Section<'_>| section.name.as_slice() == PROGRAMS;
    if !builder.sections.iter().any(is_programs) {
        bail!(
            "the object has no section cgroup/skb, in which the programs with tail calls are to be"
        );
    }
    let mut calls = Vec::new();
    for section in &builder.sections {
        let name: &[u8] = &section.name;
        let SectionData::Relocation(relocations) = &section.data else {
            continue;
        };
        if name.strip_prefix(b".rel") != Some(PROGRAMS) {
            continue;
        }
        for relocation in relocations {
            if relocation.r_type == elf::R_BPF_64_32
                && let Some(symbol) = relocation.symbol
            {
                let program = program_at(&builder, relocation.r_offset);
                let called = text(builder.symbols.get(symbol));
                calls.push(format!("{program} calls {called}"));
            }
        }
    }
    if calls.is_empty() {
        return Ok(());
    }
    calls.dedup();
    bail!(
        "{}: a program that makes tail calls may call no function on arm64 before 6.0. What the compiler makes of its own \
         accord (memset, memcpy) goes away if the words are written one by one, see `words` in ebpf/core",
        calls.join(", ")
    )
}

/// Name of the program that an offset of the section lies in.
fn program_at(builder: &Builder<'_>, offset: u64) -> String {
    let program = builder.symbols.iter().find(|symbol| {
        let in_section = symbol
            .section
            .is_some_and(|section| builder.sections.get(section).name.as_slice() == PROGRAMS);
        in_section
            && symbol.st_type() == elf::STT_FUNC
            && (symbol.st_value..symbol.st_value + symbol.st_size).contains(&offset)
    });
    program.map_or_else(|| "a program".to_owned(), text)
}

fn text(symbol: &Symbol<'_>) -> String {
    String::from_utf8_lossy(symbol.name.as_slice()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Endianness;
    use object::build::elf::Relocation;

    /// An object whose one packet program has a relocation of this type, to `memset`.
    fn object(r_type: u32) -> Vec<u8> {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = elf::ET_REL;
        builder.header.e_machine = elf::EM_BPF;
        let mut add = |name: &'static str, kind, data| {
            let section = builder.sections.add();
            section.name = name.into();
            section.sh_type = kind;
            section.sh_addralign = 8;
            section.data = data;
            section.id()
        };
        add(".shstrtab", elf::SHT_STRTAB, SectionData::SectionString);
        add(".strtab", elf::SHT_STRTAB, SectionData::String);
        let symbols = add(".symtab", elf::SHT_SYMTAB, SectionData::Symbol);
        let code = SectionData::Data(vec![0; 32].into());
        let programs = add("cgroup/skb", elf::SHT_PROGBITS, code);
        let mut symbol = |name: &'static str, section| {
            let symbol = builder.symbols.add();
            symbol.name = name.into();
            symbol.section = section;
            symbol.set_st_info(elf::STB_GLOBAL, elf::STT_FUNC);
            symbol.st_size = 32;
            symbol.id()
        };
        symbol("egress", Some(programs));
        let memset = symbol("memset", None);
        let relocations = builder.sections.add();
        relocations.name = ".relcgroup/skb".into();
        relocations.sh_type = elf::SHT_REL;
        relocations.sh_link_section = Some(symbols);
        relocations.sh_info_section = Some(programs);
        relocations.sh_addralign = 8;
        relocations.data = SectionData::Relocation(vec![Relocation {
            r_offset: 8,
            symbol: Some(memset),
            r_type,
            r_addend: 0,
        }]);
        builder.set_section_sizes();
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_call_beside_tail_calls_is_told_with_both_names() {
        let error = none_beside_tail_calls(&object(elf::R_BPF_64_32)).unwrap_err();
        assert!(
            error.to_string().starts_with("egress calls memset: "),
            "{error}"
        );
    }

    #[test]
    fn the_address_of_a_map_is_no_call() {
        none_beside_tail_calls(&object(elf::R_BPF_64_64)).unwrap();
    }
}
