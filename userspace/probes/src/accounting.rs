//! How the kernel's own CPU accounting (`cpu.stat`, `getrusage`, /proc) differs from what the probes see.
//!
//! The probes count from switch to switch, by the clock on the wall: what interrupts and a hypervisor took meanwhile is in
//! it. The kernel may take either off a task's time, depending on how it was built:
//!
//! * `CONFIG_IRQ_TIME_ACCOUNTING` takes off the time of interrupts and softirqs,
//! * `CONFIG_PARAVIRT_TIME_ACCOUNTING` that of steal, if the hypervisor tells it.
//!
//! Which holds decides how far the two may be apart, so it is found out and named, not assumed.

use std::{collections::BTreeMap, fmt, fs, io, ops};

/// What the kernel takes off a task's CPU time that the probes leave in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// The time of interrupts.
    pub interrupts: TakenOff,
    /// The time that a hypervisor gave to others.
    pub steal: TakenOff,
}

/// Whether something is taken off, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenOff {
    /// It is.
    Yes(String),
    /// It is not.
    No(String),
    /// Nothing tells: the two may be apart by as much.
    Unknown(String),
}

impl fmt::Display for TakenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes(how) => write!(f, "taken off ({how})"),
            Self::No(how) => write!(f, "left in ({how})"),
            Self::Unknown(why) => write!(f, "not known ({why})"),
        }
    }
}

/// CPU time since boot by /proc/stat, in ticks of `sysconf(_SC_CLK_TCK)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// All kinds together.
    pub all: u64,
    /// Hardware interrupts.
    pub irq: u64,
    /// Soft interrupts.
    pub softirq: u64,
    /// Given to others by the hypervisor.
    pub steal: u64,
}

/// What was taken from the tasks of CPUs between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// By a hypervisor, as it is told.
    pub steal_ns: u64,
    /// By a hypervisor, at most.
    pub most_steal_ns: u64,
    /// By interrupts and softirqs, at most.
    pub most_interrupts_ns: u64,
}

impl ops::Add for Taken {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            steal_ns: self.steal_ns + other.steal_ns,
            most_steal_ns: self.most_steal_ns + other.most_steal_ns,
            most_interrupts_ns: self.most_interrupts_ns + other.most_interrupts_ns,
        }
    }
}

impl Ticks {
    /// Reads those of all CPUs together.
    ///
    /// # Errors
    ///
    /// If /proc/stat cannot be read or has another form.
    pub fn read() -> io::Result<Self> {
        fs::read_to_string("/proc/stat")?
            .lines()
            .find_map(|line| Self::parse(line.strip_prefix("cpu ")?))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no CPU line"))
    }

    /// Reads those of each CPU, by its number.
    ///
    /// # Errors
    ///
    /// If /proc/stat cannot be read.
    pub fn read_each() -> io::Result<BTreeMap<u32, Self>> {
        Ok(Self::each(&fs::read_to_string("/proc/stat")?))
    }

    fn each(stat: &str) -> BTreeMap<u32, Self> {
        let of_cpu = |line: &str| {
            let (cpu, numbers) = line.strip_prefix("cpu")?.split_once(' ')?;
            Some((cpu.parse().ok()?, Self::parse(numbers)?))
        };
        stat.lines().filter_map(of_cpu).collect()
    }

    /// User, nice, system, idle, iowait, irq, softirq, steal, guest, … (`proc_stat(5)`).
    fn parse(numbers: &str) -> Option<Self> {
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let [.., irq, softirq, steal] = numbers.get(..8)? else {
            return None;
        };
        Some(Self {
            all: numbers[..8].iter().sum(),
            irq: *irq,
            softirq: *softirq,
            steal: *steal,
        })
    }

    /// What was taken since an earlier reading. The kernel counts nanoseconds and tells whole ticks, so a difference may be one tick
    /// more than it seems; where it never told any there are none.
    #[must_use]
    pub fn since(&self, before: &Self) -> Taken {
        self.since_at(before, rustix::param::clock_ticks_per_second())
    }

    fn since_at(&self, before: &Self, ticks_a_second: u64) -> Taken {
        let tick_ns = 1_000_000_000 / ticks_a_second.max(1);
        let told = |before: u64, now: u64| now.saturating_sub(before) * tick_ns;
        let most = |before, now| match now {
            0 => 0,
            _ => told(before, now) + tick_ns,
        };
        Taken {
            steal_ns: told(before.steal, self.steal),
            most_steal_ns: most(before.steal, self.steal),
            most_interrupts_ns: most(before.irq, self.irq) + most(before.softirq, self.softirq),
        }
    }
}

impl Accounting {
    /// Finds out how this kernel accounts.
    #[must_use]
    pub fn find() -> Self {
        let ticks = Ticks::read().unwrap_or_default();
        let ticks_a_second = rustix::param::clock_ticks_per_second();
        Self::from(kernel_config().as_ref(), ticks, ticks_a_second)
    }

    /// The part of what was taken that this kernel may have taken off tasks' accounts, at most: of steal and of interrupts, in
    /// nanoseconds.
    #[must_use]
    pub fn taken_off_ns(&self, taken: Taken) -> (u64, u64) {
        let unless_left_in = |how: &TakenOff, ns| match how {
            TakenOff::No(_) => 0,
            TakenOff::Yes(_) | TakenOff::Unknown(_) => ns,
        };
        (
            unless_left_in(&self.steal, taken.most_steal_ns),
            unless_left_in(&self.interrupts, taken.most_interrupts_ns),
        )
    }

    fn from(config: Option<&(String, String)>, ticks: Ticks, ticks_a_second: u64) -> Self {
        let built = |option: &str| {
            let (file, text) = config?;
            let set = format!("{option}=y");
            let is_set = text.lines().any(|line| line == set);
            let how = format!(
                "{file}: {option} is {}set",
                if is_set { "" } else { "not " }
            );
            Some((is_set, how))
        };
        Self {
            interrupts: match built("CONFIG_IRQ_TIME_ACCOUNTING") {
                Some((true, how)) => TakenOff::Yes(how),
                Some((false, how)) => TakenOff::No(how),
                None => interrupts_by_behaviour(ticks, ticks_a_second),
            },
            steal: match built("CONFIG_PARAVIRT_TIME_ACCOUNTING") {
                Some((true, how)) => TakenOff::Yes(how),
                Some((false, how)) => TakenOff::No(how),
                None if ticks.steal == 0 => {
                    TakenOff::No("no hypervisor ever took any, by /proc/stat".to_owned())
                }
                None => TakenOff::Unknown(
                    "the kernel's configuration is not to be found, and /proc/stat tells of steal"
                        .to_owned(),
                ),
            },
        }
    }
}

/// Without the option the kernel looks at ticks what they interrupt, and never finds a hardware interrupt, in which ticks
/// are held off. With it, the tick's own interrupts alone come to some milliseconds a minute.
fn interrupts_by_behaviour(ticks: Ticks, ticks_a_second: u64) -> TakenOff {
    if ticks.irq > 0 {
        TakenOff::Yes("/proc/stat tells time of hardware interrupts".to_owned())
    } else if ticks.all > 600 * ticks_a_second {
        TakenOff::No("/proc/stat tells no time of hardware interrupts".to_owned())
    } else {
        TakenOff::Unknown(
            "the kernel's configuration is not to be found, and the machine has only started"
                .to_owned(),
        )
    }
}

/// Where the running kernel's configuration was found, and its text.
fn kernel_config() -> Option<(String, String)> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let plain = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ];
    let plain = plain
        .into_iter()
        .find_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)));
    plain.or_else(|| {
        let path = "/proc/config.gz";
        let text = gunzip(&fs::read(path).ok()?)?;
        Some((path.to_owned(), String::from_utf8(text).ok()?))
    })
}

/// Configurations are some 200 kB.
const LARGEST_CONFIG: usize = 16 << 20;

/// The one member of a gzip file (RFC 1952).
fn gunzip(file: &[u8]) -> Option<Vec<u8>> {
    const NAME: u8 = 1 << 3;
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = file else {
        return None;
    };
    // The kernel's build writes no optional field, or the name.
    let deflated = match *flags {
        0 => rest,
        NAME => rest.splitn(2, |byte| *byte == 0).nth(1)?,
        _ => return None,
    };
    miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, LARGEST_CONFIG).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Ticks = Ticks {
        all: 1_000_000,
        irq: 0,
        softirq: 70,
        steal: 9,
    };

    #[test]
    fn the_kernels_configuration_decides() {
        let config = |text: &str| Some(("config".to_owned(), text.to_owned()));
        let built =
            config("CONFIG_IRQ_TIME_ACCOUNTING=y\n# CONFIG_PARAVIRT_TIME_ACCOUNTING is not set\n");
        let found = Accounting::from(built.as_ref(), LONG, 100);
        assert_eq!(
            found.interrupts.to_string(),
            "taken off (config: CONFIG_IRQ_TIME_ACCOUNTING is set)"
        );
        assert_eq!(
            found.steal.to_string(),
            "left in (config: CONFIG_PARAVIRT_TIME_ACCOUNTING is not set)"
        );
    }

    #[test]
    fn without_a_configuration_behaviour_tells_what_it_can() {
        let find = |ticks| Accounting::from(None, ticks, 100);
        let long = find(LONG);
        assert!(matches!(long.interrupts, TakenOff::No(_)));
        assert!(matches!(long.steal, TakenOff::Unknown(_)));
        let with_irq = find(Ticks { irq: 1, ..LONG });
        assert!(matches!(with_irq.interrupts, TakenOff::Yes(_)));
        let bare = find(Ticks { steal: 0, ..LONG });
        assert!(matches!(bare.steal, TakenOff::No(_)));
        let young = find(Ticks { all: 5_000, ..LONG });
        assert!(matches!(young.interrupts, TakenOff::Unknown(_)));
    }

    #[test]
    fn ticks_are_read_from_the_line_of_each_cpu() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 60 70 80 9 10\ncpu12 0 0 0 0 0 0 0 3 0 0\ncpu13 1 2\nintr 5 6\n";
        let ticks = |all, irq, softirq, steal| Ticks {
            all,
            irq,
            softirq,
            steal,
        };
        assert_eq!(
            Ticks::each(stat),
            [(0, ticks(225, 60, 70, 80)), (12, ticks(3, 0, 0, 3))].into()
        );
    }

    #[test]
    fn what_is_told_in_ticks_may_be_one_tick_more_unless_there_never_was_any() {
        let ticks = |irq, softirq, steal| Ticks {
            all: 1_000,
            irq,
            softirq,
            steal,
        };
        let second = 100_000_000;
        let taken = ticks(0, 4, 7).since_at(&ticks(0, 1, 7), second);
        let expected = Taken {
            steal_ns: 0,
            most_steal_ns: 10,
            most_interrupts_ns: 40,
        };
        assert_eq!(taken, expected);
        assert_eq!(
            ticks(0, 0, 0).since_at(&ticks(0, 0, 0), second),
            Taken::default()
        );
        let kernel = |steal| Accounting {
            interrupts: TakenOff::No(String::new()),
            steal,
        };
        let how = String::new;
        for steal in [TakenOff::Yes(how()), TakenOff::Unknown(how())] {
            assert_eq!(kernel(steal).taken_off_ns(expected), (10, 0));
        }
        assert_eq!(kernel(TakenOff::No(how())).taken_off_ns(expected), (0, 0));
    }

    #[test]
    fn a_gzip_file_is_unpacked_with_and_without_a_name() {
        let body = miniz_oxide::deflate::compress_to_vec(b"CONFIG_BPF=y\n", 6);
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let bare = [&head[..], &body].concat();
        assert_eq!(gunzip(&bare).unwrap(), b"CONFIG_BPF=y\n");
        let mut named = [&head[..], b"config\0", &body].concat();
        named[3] = 8;
        assert_eq!(gunzip(&named).unwrap(), b"CONFIG_BPF=y\n");
        assert_eq!(gunzip(b"CONFIG_BPF=y\n"), None);
        assert_eq!(gunzip(&head[..6]), None);
    }
}
