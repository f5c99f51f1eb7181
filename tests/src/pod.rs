//! Processes in cgroups of their own, as pods are.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use galileo_probes::cgroup::{self, CgroupId};

use crate::{wait, wire::Namespace};

/// A cgroup; its processes and it itself end when this is dropped.
pub struct Pod {
    folder: PathBuf,
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mount = cgroup::mount_point().expect("a cgroup2 mount");
        let folder = mount.join(format!(
            "galileo-test-{}-{}-{name}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let id = cgroup::id(&folder).expect("the cgroup was just made");
        Self { folder, id }
    }

    /// Starts a program in it, with pipes for input and output. The shell joins and becomes the program, so that all that
    /// the program does is done in the cgroup.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(&self, command: &[&str]) -> Process {
        let mut child = Command::new("sh")
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
            .arg(&self.folder)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Process {
            child,
            input,
            output,
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
        let removed = wait::try_until(|| {
            // Kernels before 5.14 have no cgroup.kill; there `Process` ends what it started.
            let _ = fs::write(self.folder.join("cgroup.kill"), "1");
            fs::remove_dir(&self.folder).ok()
        });
        if removed.is_none() {
            eprintln!("cannot remove {}", self.folder.display());
        }
    }
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
        writeln!(self.input, "{line}").expect("the process reads its input");
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
        let path = format!("/proc/{}/stat", self.id());
        wait::until("the process sleeps", || {
            let stat = fs::read_to_string(&path).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            rest.starts_with('S').then_some(())
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
