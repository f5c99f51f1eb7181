//! How the kernel's own CPU accounting (`cpu.stat`, `getrusage`, /proc) differs from what the probes see.
//!
//! The probes count from switch to switch, by the clock on the wall: what interrupts and a hypervisor took meanwhile is in
//! it. The kernel may take either off a task's time, depending on how it was built:
//!
//! * `CONFIG_IRQ_TIME_ACCOUNTING` takes off the time of interrupts and softirqs,
//! * `CONFIG_PARAVIRT_TIME_ACCOUNTING` that of steal, if the hypervisor tells it.
//!
//! Which holds decides how far the two may be apart, so it is found out and named, not assumed.

use std::{fmt, fs, io};

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

impl Ticks {
    /// Reads those of all CPUs together.
    ///
    /// # Errors
    ///
    /// If /proc/stat cannot be read or has another form.
    pub fn read() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no CPU line"))
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal, guest, … (`proc_stat(5)`).
    fn parse(stat: &str) -> Option<Self> {
        let numbers: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
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
}

impl Accounting {
    /// Finds out how this kernel accounts.
    #[must_use]
    pub fn find() -> Self {
        let ticks = Ticks::read().unwrap_or_default();
        let ticks_a_second = rustix::param::clock_ticks_per_second();
        Self::from(kernel_config().as_ref(), ticks, ticks_a_second)
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
    fn ticks_are_read_from_the_line_of_all_cpus() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let expected = Ticks {
            all: 36,
            irq: 6,
            softirq: 7,
            steal: 8,
        };
        assert_eq!(Ticks::parse(stat), Some(expected));
        assert_eq!(Ticks::parse("cpu  1 2 3"), None);
        assert_eq!(Ticks::parse("intr 1"), None);
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
