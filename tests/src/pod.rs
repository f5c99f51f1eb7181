//! Processes in cgroups of their own, as pods are.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use galileo_probes::{
    cgroup::{self, CgroupId},
    mounts::{self, Hierarchies},
};

use crate::{leftovers, wait, wire::Namespace};

/// A cgroup; its processes and it itself end when this is dropped.
pub struct Pod {
    folder: PathBuf,
    /// The folder that limits its CPU time, if that is another one.
    limited: Option<PathBuf>,
    /// The kernel's id of the cgroup.
    pub id: CgroupId,
}

impl Pod {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// If there is no cgroup2 mount, or it may not be written to: call it only where probes could be loaded.
    pub fn new(name: &str) -> Self {
        Self::inside(&cgroup::mount_point().expect("a cgroup2 mount"), name)
    }

    /// Makes one in the folder of another cgroup.
    ///
    /// # Panics
    ///
    /// As [`Pod::new`].
    pub fn inside(parent: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        leftovers::sweep();
        let folder = parent.join(format!(
            "{}{}-{}-{name}",
            leftovers::PREFIX,
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        Self::made(folder)
    }

    fn made(folder: PathBuf) -> Self {
        fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let id = cgroup::id(&folder).expect("the cgroup was just made");
        Self {
            folder,
            limited: None,
            id,
        }
    }

    /// Makes one below this one.
    ///
    /// # Panics
    ///
    /// As [`Pod::new`].
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self::made(self.folder.join(name))
    }

    /// Makes one that may use so many hundredths of a CPU: by `cpu.max`, or by a folder of cgroup version 1 where that
    /// has the controller.
    ///
    /// # Panics
    ///
    /// As [`Pod::new`], or if the limit cannot be set.
    pub fn limited(name: &str, percent: u32) -> Self {
        let mut pod = Self::new(name);
        let quota = percent * PERIOD_USEC / 100;
        let set = |folder: &Path, file: &str, value: String| {
            let path = folder.join(file);
            fs::write(&path, value)
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        };
        if let Some(mount) = v1_cpu_controller() {
            let folder = mount.join(pod.folder.file_name().expect("a folder below the mount"));
            fs::create_dir(&folder)
                .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
            set(&folder, "cpu.cfs_period_us", PERIOD_USEC.to_string());
            set(&folder, "cpu.cfs_quota_us", quota.to_string());
            pod.limited = Some(folder);
        } else {
            let mount = cgroup::mount_point().expect("a cgroup2 mount");
            set(&mount, "cgroup.subtree_control", "+cpu".to_owned());
            set(&pod.folder, "cpu.max", format!("{quota} {PERIOD_USEC}"));
        }
        pod
    }

    /// Its name: that of its folder.
    ///
    /// # Panics
    ///
    /// If it has none, which is not so.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.folder.file_name().and_then(|name| name.to_str());
        name.expect("it was made of a text")
    }

    /// CPU time by the kernel's own accounting of the cgroup, in nanoseconds.
    ///
    /// # Panics
    ///
    /// If `cpu.stat` cannot be read or does not tell.
    pub fn accounted_ns(&self) -> u64 {
        number(&self.folder.join("cpu.stat"), "usage_usec").expect("usage_usec") * 1_000
    }

    /// How long the kernel throttled it on its CPUs, in nanoseconds.
    ///
    /// # Panics
    ///
    /// As [`Pod::accounted_ns`].
    pub fn throttled_ns(&self) -> u64 {
        let stat = self
            .limited
            .as_ref()
            .unwrap_or(&self.folder)
            .join("cpu.stat");
        number(&stat, "throttled_usec")
            .map(|usec| usec * 1_000)
            .or_else(|| number(&stat, "throttled_time"))
            .expect("a time of throttling")
    }

    /// Starts a program in it, with pipes for input and output.
    ///
    /// The shell that becomes the program is moved while it sleeps: what a process has run when it is moved is its new cgroup's by
    /// the probes, which count when it leaves the CPU, and its old one's by the kernel, as far as that was accounted.
    ///
    /// # Panics
    ///
    /// If it cannot be started or moved.
    pub fn start(&self, command: &[&str]) -> Process {
        let mut child = Command::new("sh")
            .args(["-c", r#"read -r _ || exit; exec "$@""#, "moved"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Process {
            child,
            input,
            output,
        };
        process.sleeps();
        self.adopt(&process);
        process.say("go");
        process
    }

    /// Moves a process into it.
    ///
    /// # Panics
    ///
    /// If the kernel refuses that.
    pub fn adopt(&self, process: &Process) {
        for folder in [&self.folder].into_iter().chain(&self.limited) {
            fs::write(folder.join("cgroup.procs"), process.id().to_string())
                .unwrap_or_else(|error| panic!("cannot move {}: {error}", process.id()));
        }
    }

    /// Starts a Python program in it and in a network namespace.
    pub fn python_inside(
        &self,
        namespace: &Namespace,
        program: &str,
        arguments: &[&str],
    ) -> Process {
        let mut command = vec!["python3", "-u", "-c", program];
        command.extend(arguments);
        let command = namespace.command(&command);
        self.start(&command.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// Starts a Python program in it.
    pub fn python(&self, program: &str, arguments: &[&str]) -> Process {
        let mut command = vec!["python3", "-u", "-c", program];
        command.extend(arguments);
        self.start(&command)
    }

    /// Starts nginx with one worker and this `server` block's contents, and waits until it answers on `port`.
    ///
    /// # Panics
    ///
    /// If its files cannot be written, or it does not come up.
    pub fn nginx(&self, folder: &Path, port: u16, server: &str) -> Process {
        let path = folder.join("nginx.conf");
        let here = folder.display();
        let text = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {here}/body;\n\
             proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi;\n\
             scgi_temp_path {here}/scgi; server {{ listen 127.0.0.1:{port}; {server} }} }}\n"
        );
        fs::write(&path, text).expect("the folder can be written to");
        let process = self.start(&["nginx", "-c", &path.display().to_string()]);
        listens(port);
        process
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for folder in [&self.folder].into_iter().chain(&self.limited) {
            let removed = wait::try_until(|| {
                // Kernels before 5.14 and version 1 have no cgroup.kill; there `Process` ends what it started.
                let kill = folder.join("cgroup.kill");
                if kill.exists() {
                    let _ = fs::write(kill, "1");
                }
                fs::remove_dir(folder).ok()
            });
            if removed.is_none() {
                eprintln!("cannot remove {}", folder.display());
            }
        }
    }
}

/// The time over which limits hold.
const PERIOD_USEC: u32 = 100_000;

/// Where version 1 of cgroups has the `cpu` controller; none if version 2 may have it.
#[must_use]
pub fn v1_cpu_controller() -> Option<PathBuf> {
    let mount = Hierarchies::read().ok()?.v1.remove("cpu")?;
    Some(mount.point)
}

/// The number behind a key in a file of `key number` lines.
fn number(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// Waits until somebody listens on a port.
pub fn listens(port: u16) {
    wait::until("a server listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

/// A process that ends when this is dropped.
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn say(&mut self, line: &str) {
        // In one piece: of two it may read the first, and sleep until the second.
        let line = format!("{line}\n");
        self.input
            .write_all(line.as_bytes())
            .expect("the process reads its input");
    }

    /// The next line of its output.
    ///
    /// # Panics
    ///
    /// If it has ended, or writes what is no text.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "the process has ended: {line:?}");
        line.truncate(line.len() - 1);
        line
    }

    /// Says something and returns the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.line()
    }

    /// Waits until it sleeps, so that all it used is counted.
    pub fn sleeps(&self) {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        wait::until("the process sleeps", || {
            let stat = fs::read_to_string(folder.join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            // It says so before it leaves its CPU. The kernel tells the call that it waits in once it has left
            // (`task_current_syscall`).
            let call = fs::read_to_string(folder.join("syscall")).ok()?;
            (rest.starts_with('S') && !call.starts_with("running")).then_some(())
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of the cgroup that this process is in.
///
/// # Panics
///
/// If there is no cgroup2.
#[must_use]
pub fn own_folder() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").expect("procfs is mounted");
    let mount = Hierarchies::read().ok().and_then(|all| all.unified);
    mounts::unified_path(&text)
        .and_then(|path| mount?.folder(path))
        .expect("a cgroup2 mount that shows this process' cgroup")
}

/// The cgroup that this process is in.
///
/// # Panics
///
/// If there is no cgroup2.
pub fn own_cgroup() -> CgroupId {
    cgroup::id(&own_folder()).expect("this process' cgroup")
}
