//! Takes out of an object what neither the kernel nor a loader reads: four fifths of the file.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf;

/// Beginnings of the names of sections that go: DWARF, and the relocations of BTF, whose targets hold the same offsets in
/// place already, so that libbpf and aya pass over them.
const SUPERFLUOUS: [&[u8]; 3] = [b".debug_", b".rel.debug_", b".rel.BTF"];

/// The object without DWARF and without the symbols and relocations that nothing needs then; BTF stays.
///
/// # Errors
///
/// If `object` is no ELF file.
pub(crate) fn prune(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the compiled object cannot be read as ELF")?;
    for section in &mut builder.sections {
        let name: &[u8] = &section.name;
        section.delete = SUPERFLUOUS
            .iter()
            .any(|beginning| name.starts_with(beginning));
    }
    builder.delete_orphans();
    // LLVM keeps the sections' names in the symbols' string table, which the writer does not do.
    let has_names = builder
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString));
    if !has_names {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.set_section_sizes();
    let mut pruned = Vec::new();
    builder
        .write(&mut pruned)
        .context("the pruned object cannot be written")?;
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Endianness;

    fn object(sections: &[(&'static str, &'static [u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = elf::ET_REL;
        builder.header.e_machine = elf::EM_BPF;
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = elf::SHT_STRTAB;
        names.data = SectionData::SectionString;
        for &(name, contents) in sections {
            let section = builder.sections.add();
            section.name = name.into();
            section.sh_type = elf::SHT_PROGBITS;
            section.sh_addralign = 8;
            section.data = SectionData::Data(contents.into());
        }
        builder.set_section_sizes();
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        bytes
    }

    fn contents(object: &[u8]) -> Vec<(String, Vec<u8>)> {
        let builder = Builder::read(object).unwrap();
        let mut found = Vec::new();
        for section in &builder.sections {
            if let SectionData::Data(data) = &section.data {
                found.push((section.name.to_string(), data.to_vec()));
            }
        }
        found
    }

    #[test]
    fn debug_sections_go_and_programs_and_btf_stay() {
        let whole = object(&[
            (".debug_info", b"dwarf"),
            ("cgroup_skb/egress", b"program"),
            (".BTF", b"types"),
            (".BTF.ext", b"lines"),
        ]);

        let kept = contents(&prune(&whole).unwrap());

        let expected = [
            ("cgroup_skb/egress", &b"program"[..]),
            (".BTF", b"types"),
            (".BTF.ext", b"lines"),
        ]
        .map(|(name, data)| (name.to_owned(), data.to_vec()));
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let error = prune(b"no object").unwrap_err();

        assert!(
            error.to_string().contains("cannot be read as ELF"),
            "{error}"
        );
    }
}
