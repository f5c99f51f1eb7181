use super::*;

/// A reading of groups beside cgroup2: path, what its own quota held, what any did.
fn reading(groups: &[(&str, u64, Option<u64>)], members: &[(&str, &str)]) -> Throttling {
    let group = |(path, own_ns, any_ns): &(&str, u64, Option<u64>)| {
        let group = Group {
            id: 7,
            own_ns: Some(*own_ns),
            any_ns: *any_ns,
        };
        ((*path).to_owned(), group)
    };
    let member = |(cgroup, group): &(&str, &str)| Member {
        cgroup: (*cgroup).to_owned(),
        group: (*group).to_owned(),
    };
    let mut all: BTreeMap<String, Group> = groups.iter().map(group).collect();
    all.entry("/".to_owned()).or_default();
    Throttling {
        groups: Some(all),
        is_whole: true,
        members: members.iter().map(member).collect(),
        cgroups: members
            .iter()
            .map(|(cgroup, _)| (*cgroup).to_owned())
            .collect(),
        is_unified: false,
    }
}

fn held(after: &Throttling, of: &[&str]) -> Throttled {
    let of = of.iter().map(|path| (*path).to_owned()).collect();
    let before = Throttling {
        groups: Some(BTreeMap::new()),
        ..Throttling::default()
    };
    assert!(after.since(&Throttling::default()).of(&of).incomplete);
    after.since(&before).of(&of)
}

const WEB: (&str, &str) = ("/web", "/pod/web");

#[test]
fn time_is_that_since_the_earlier_reading_of_the_same_group() {
    let before = reading(&[("/pod", 0, None), ("/pod/web", 40, None)], &[WEB]);
    let mut after = reading(&[("/pod", 0, None), ("/pod/web", 100, None)], &[WEB]);
    let web = || BTreeSet::from(["/web".to_owned()]);
    assert_eq!(after.since(&before).of(&web()), Throttled::alone(60));
    // Another one of that name was made meanwhile.
    let groups = after.groups.as_mut().unwrap();
    groups.get_mut("/pod/web").unwrap().id = 8;
    assert_eq!(after.since(&before).of(&web()), Throttled::alone(100));
}

#[test]
fn of_quotas_one_above_the_other_the_longest_counts() {
    let groups = [("/pod", 50, None), ("/pod/web", 70, None)];
    assert_eq!(
        held(&reading(&groups, &[WEB]), &["/web"]),
        Throttled::alone(70)
    );
    let groups = [("/pod", 90, None), ("/pod/web", 70, None)];
    assert_eq!(
        held(&reading(&groups, &[WEB]), &["/web"]),
        Throttled::alone(90)
    );
}

#[test]
fn a_parents_quota_that_may_have_held_others_is_no_lower_bound() {
    let groups = [
        ("/pod", 90, None),
        ("/pod/other", 0, None),
        ("/pod/web", 70, None),
    ];
    let members = [WEB, ("/other", "/pod/other")];
    let shared = Throttled {
        alone_ns: 70,
        shared_ns: 90,
        ..Throttled::default()
    };
    assert_eq!(held(&reading(&groups, &members), &["/web"]), shared);
}

#[test]
fn a_kernel_that_tells_of_every_quota_is_believed_about_the_parents() {
    let groups = [
        ("/pod", 90, Some(90)),
        ("/pod/other", 0, Some(90)),
        ("/pod/web", 0, Some(15)),
    ];
    let members = [WEB, ("/other", "/pod/other")];
    let told = |of: &[&str]| held(&reading(&groups, &members), of);
    assert_eq!(told(&["/web"]), Throttled::alone(15));
    assert_eq!(told(&["/other"]), Throttled::alone(90));
}

#[test]
fn of_quotas_side_by_side_the_sum_counts_and_each_holds_a_part() {
    let groups = [
        ("/pod", 10, None),
        ("/pod/a", 30, None),
        ("/pod/b", 50, None),
    ];
    let members = [("/web", "/pod"), ("/web/a", "/pod/a"), ("/web/b", "/pod/b")];
    let parts = Throttled {
        in_part: true,
        ..Throttled::alone(80)
    };
    let all = ["/web", "/web/a", "/web/b"];
    assert_eq!(held(&reading(&groups, &members), &all), parts);
}

#[test]
fn a_group_shared_with_others_tells_of_all_in_it() {
    let groups = [("/pod", 60, Some(60))];
    let members = [("/web", "/pod"), ("/galileo", "/pod")];
    let shared = Throttled {
        shared_ns: 60,
        ..Throttled::default()
    };
    assert_eq!(held(&reading(&groups, &members), &["/web"]), shared);
}

#[test]
fn who_was_not_found_in_any_group_may_have_been_held_if_somebody_was() {
    let unknown = Throttled {
        incomplete: true,
        ..Throttled::default()
    };
    let mut after = reading(&[("/pod", 5, None), ("/pod/web", 0, None)], &[WEB]);
    after.cgroups.insert("/ended".to_owned());
    assert_eq!(held(&after, &["/ended"]), unknown);
    assert_eq!(held(&after, &["/gone"]), unknown);
    let groups = after.groups.as_mut().unwrap();
    groups.get_mut("/pod").unwrap().own_ns = Some(0);
    assert_eq!(held(&after, &["/ended"]), Throttled::default());
    assert_eq!(held(&after, &["/gone"]), unknown, "its limit went with it");
    assert_eq!(held(&Throttling::default(), &["/web"]), unknown);
}

#[test]
fn a_cgroup_whose_processes_have_ended_was_in_the_group_of_its_path() {
    let mut after = reading(&[("/run", 0, None), ("/run/web", 30, None)], &[]);
    after.cgroups.insert("/run/web".to_owned());
    assert_eq!(held(&after, &["/run/web"]), Throttled::alone(30));
}

#[test]
fn a_twin_that_holds_strangers_is_no_lower_bound_for_who_was_found_elsewhere() {
    let groups = [
        ("/run", 0, None),
        ("/run/web", 30, None),
        ("/slow", 50, None),
    ];
    let members = [("/run/web", "/slow"), ("/stranger", "/run/web")];
    let shared = Throttled {
        alone_ns: 50,
        shared_ns: 80,
        in_part: true,
        ..Throttled::default()
    };
    assert_eq!(held(&reading(&groups, &members), &["/run/web"]), shared);
    let alone = Throttled {
        in_part: true,
        ..Throttled::alone(80)
    };
    assert_eq!(held(&reading(&groups, &members[..1]), &["/run/web"]), alone);
}

#[test]
fn what_lies_above_a_mounted_part_is_told_by_those_below_or_not_at_all() {
    let told = |any_ns| {
        let mut after = reading(&[("/web", 20, any_ns)], &[("/web", "/web")]);
        after.is_whole = false;
        held(&after, &["/web"])
    };
    let unseen = Throttled {
        incomplete: true,
        ..Throttled::alone(20)
    };
    assert_eq!(told(None), unseen);
    assert_eq!(told(Some(45)), Throttled::alone(45));
}

#[test]
fn in_one_hierarchy_a_cgroup_without_the_controller_is_part_of_the_next_one_with_it() {
    let mut after = reading(&[("/pod", 25, None)], &[("/pod/web", "/pod")]);
    after.is_unified = true;
    let groups = after.groups.as_mut().unwrap();
    groups.insert("/pod/web".to_owned(), Group::default());
    assert_eq!(held(&after, &["/pod/web"]), Throttled::alone(25));
}

#[test]
fn a_folder_of_either_version_is_read_with_those_below() {
    let tree = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(tree.path().join(path), text).unwrap();
    fs::create_dir_all(tree.path().join("pod/web")).unwrap();
    write("cpu.stat", "usage_usec 5\n");
    write("pod/cpu.stat", "usage_usec 5\nthrottled_usec 7\n");
    write("pod/web/cpu.stat", "nr_throttled 1\nthrottled_time 11\n");
    write("pod/web/cpu.stat.local", "throttled_time 12\n");
    let mount = Mount {
        point: tree.path().to_owned(),
        root: "/".to_owned(),
    };
    let told: Vec<_> = groups(&mount)
        .into_iter()
        .map(|(path, group)| (path, group.own_ns, group.any_ns))
        .collect();
    let expected = [
        ("/".to_owned(), None, None),
        ("/pod".to_owned(), Some(7_000), None),
        ("/pod/web".to_owned(), Some(11), Some(12)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_process_is_in_a_group_of_each_hierarchy() {
    let mount = |point: &str| Mount {
        point: PathBuf::from(point),
        root: "/".to_owned(),
    };
    let (unified, cpu) = (mount("/cg/unified"), mount("/cg/cpu"));
    let text = "4:memory:/m\n1:cpu,cpuacct:/pod/web\n0::/web\n";
    let expected = Member {
        cgroup: "/web".to_owned(),
        group: "/pod/web".to_owned(),
    };
    assert_eq!(member(text, &unified, &cpu), Some(expected));
    assert_eq!(member("4:memory:/m\n0::/web\n", &unified, &cpu), None);
}
