//! What the probes say of memory, against what the kernel says.

use galileo_probes::Config;
use galileo_tests::{maps::told, turn, watch::Watch};

#[test]
fn the_kernels_memory_of_each_map_is_what_the_kernel_says_of_it() {
    let _turn = turn();
    for cgroups in [100, 1_024, 4_096] {
        let Some(watch) = Watch::start(&Config {
            cgroups: Some(cgroups),
            ..Config::default()
        }) else {
            return;
        };
        let told = told();
        let memory = watch.probes.memory();
        assert!(memory.maps.len() > 20);
        let mut differences = Vec::new();
        let (mut computed, mut whole) = (0, 0);
        for map in &memory.maps {
            let Some(bytes) = told.get(&map.id) else {
                differences.push(format!("{} is not there", map.name));
                continue;
            };
            // A socket's storage is allocated with the socket: the kernel counts it with neither.
            if map.bytes == 0 {
                continue;
            }
            computed += map.bytes;
            whole += bytes;
            // The head of a map, and what an allocator rounds up to: a page at most, and 1 %.
            if map.bytes.abs_diff(*bytes) > 4_096 + bytes / 100 {
                differences.push(format!(
                    "{}: {} computed, {bytes} told",
                    map.name, map.bytes
                ));
            }
        }
        assert!(differences.is_empty(), "{differences:#?}");
        assert!(
            computed.abs_diff(whole) * 100 < whole,
            "{computed} computed, {whole} told of {cgroups} cgroups"
        );
    }
}
