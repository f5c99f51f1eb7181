//! The real servers: how they are started, and what they cannot do.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::case::{Case, Listener};
use super::place::{self, Process, free_ports, log_file};
use crate::cgroup::Group;
use crate::namespace::Namespace;
use crate::{machine, process};

/// A server program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Server {
    Nginx,
    Apache,
    Haproxy,
    Node,
    PythonHttp,
    Asyncio,
    Go,
    Java,
    Hyper,
}

/// Ports of a server.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    /// On 127.0.0.1.
    pub plain: u16,
    /// On \[::\], for both families.
    pub both: u16,
    /// On 127.0.0.1 with `TCP_DEFER_ACCEPT`.
    pub deferred: u16,
}

impl Ports {
    /// Free ones.
    pub(super) fn new() -> Result<Self> {
        let ports = free_ports(3)?;
        Ok(Self {
            plain: ports[0],
            both: ports[1],
            deferred: ports[2],
        })
    }

    pub(super) fn all(self) -> [u16; 3] {
        [self.plain, self.both, self.deferred]
    }

    pub(super) fn of(self, listener: Listener) -> u16 {
        match listener {
            Listener::Plain => self.plain,
            Listener::Both => self.both,
            Listener::Deferred => self.deferred,
        }
    }
}

/// Where the programs lie.
pub(super) struct Programs {
    /// `xtask/corpus`.
    pub assets: PathBuf,
    /// The compiled server in Go, if there is one.
    pub go: PathBuf,
    /// The compiled server with hyper.
    pub hyper: PathBuf,
}

impl Server {
    /// Every server, in the order of the page.
    pub(super) const ALL: [Self; 9] = [
        Self::Nginx,
        Self::Apache,
        Self::Haproxy,
        Self::Node,
        Self::PythonHttp,
        Self::Asyncio,
        Self::Go,
        Self::Java,
        Self::Hyper,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "Apache",
            Self::Haproxy => "HAProxy",
            Self::Node => "Node",
            Self::PythonHttp => "http.server",
            Self::Asyncio => "asyncio",
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Hyper => "hyper",
        }
    }

    /// The program that it needs of the machine; none if it is built from this repository alone.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some("nginx"),
            Self::Apache => Some("apache2"),
            Self::Haproxy => Some("haproxy"),
            Self::Node => Some("node"),
            Self::PythonHttp | Self::Asyncio => Some("python3"),
            Self::Go => Some("go"),
            Self::Java => Some("java"),
            Self::Hyper => None,
        }
    }

    /// What it is, in which version.
    pub(super) fn version(self, repository: &Path) -> String {
        let (arguments, prefix): (&[&str], _) = match self {
            Self::Nginx => (&["nginx", "-v"], ""),
            Self::Apache => (&["apache2", "-v"], ""),
            Self::Haproxy => (&["haproxy", "-v"], ""),
            Self::Node => (&["node", "--version"], "Node's http, "),
            Self::PythonHttp => (&["python3", "--version"], "Python's http.server, "),
            Self::Asyncio => (
                &["python3", "--version"],
                "a program of our own on Python's asyncio streams, ",
            ),
            Self::Go => (&["go", "version"], "Go's net/http, "),
            Self::Java => (&["java", "-version"], "com.sun.net.httpserver, "),
            Self::Hyper => return hyper_version(repository),
        };
        let program = system_program(arguments[0]);
        let said = program.and_then(|program| {
            let output = Command::new(program).args(&arguments[1..]).output()?;
            // nginx and Java tell it on standard error.
            let text = [output.stdout, output.stderr].concat();
            Ok(String::from_utf8_lossy(&text)
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned())
        });
        let said = said.unwrap_or_else(|error| error.to_string());
        format!(
            "{prefix}{}",
            said.trim_start_matches("Server version: ")
                .trim_start_matches("nginx version: ")
        )
    }

    /// Why it cannot do a case; none if it can.
    pub(super) fn lacks(self, case: &Case) -> Option<&'static str> {
        match (self, case.kind) {
            (Self::Nginx, "interim") => Some("nginx 1.22 passes no interim answers on"),
            (Self::Nginx, "trailers") => Some("nginx 1.22 passes no trailers on"),
            (Self::Nginx, "connect") => Some("nginx is no forward proxy"),
            (Self::Apache | Self::Haproxy | Self::Asyncio | Self::Go, _)
                if case.kind != "split" =>
            {
                None
            }
            (Self::Haproxy | Self::Asyncio | Self::Go, _) => None,
            (Self::Nginx | Self::Apache, "split") => Some("it gathers what it writes"),
            (_, "split") => Some("its interface has no way to write an answer by bytes"),
            (Self::PythonHttp, "chunked" | "trailers" | "chunked-body") => {
                Some("http.server has no chunked coding")
            }
            (Self::Java, "trailers") => Some("com.sun.net.httpserver has no trailers"),
            (Self::Java | Self::Hyper, "close") => {
                Some("it sends every answer of unknown length in chunks")
            }
            (Self::Java | Self::Hyper, "interim") => Some("its interface has no interim answers"),
            (Self::Java, "upgrade" | "connect") => {
                Some("com.sun.net.httpserver does not hand out its connections")
            }
            (Self::Node | Self::Java | Self::Hyper, "deferred") => {
                Some("its interface does not reach the option")
            }
            _ => None,
        }
    }

    /// Whether its 304 says how long the answer to a GET would be (RFC 9110, 15.4.5).
    pub(super) fn announces_in_304(self) -> bool {
        !matches!(self, Self::Nginx | Self::Apache | Self::Go | Self::Java)
    }

    /// What a CONNECT to it asks for, if not any host that does not exist.
    pub(super) fn tunnel_target(self, origin: u16) -> Option<String> {
        (self == Self::Apache).then(|| format!("127.0.0.1:{origin}"))
    }

    /// Whether a proxy: then an origin server stands behind it for some or all paths.
    pub(super) fn has_origin(self) -> bool {
        matches!(self, Self::Nginx | Self::Apache | Self::Haproxy)
    }

    fn command(
        self,
        group: &Group,
        namespace: &Namespace,
        programs: &Programs,
        folder: &Path,
        ports: Ports,
        origin: u16,
    ) -> Result<Command> {
        let assets = programs.assets.join("servers");
        let log = folder.join("log");
        let configured = |name: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            let text = fs::read_to_string(assets.join(name))?
                .replace("@FOLDER@", &folder.display().to_string())
                .replace("@LOG@", &log.display().to_string())
                .replace("@PLAIN@", &ports.plain.to_string())
                .replace("@BOTH@", &ports.both.to_string())
                .replace("@DEFERRED@", &ports.deferred.to_string())
                .replace("@BACKEND@", &origin.to_string())
                .replace("@PAD@", &"p".repeat(3_000));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let program = match self.program() {
            Some(name) if self != Self::Go => system_program(name)?,
            Some(_) => programs.go.clone(),
            None => programs.hyper.clone(),
        };
        let mut command = place::command(group, namespace, &program);
        match self {
            Self::Nginx => {
                command.arg("-c").arg(configured("nginx.conf")?);
            }
            Self::Apache => {
                command
                    .arg("-DFOREGROUND")
                    .arg("-f")
                    .arg(configured("apache.conf")?);
            }
            Self::Haproxy => {
                command.arg("-db").arg("-f").arg(configured("haproxy.cfg")?);
            }
            Self::Node => {
                command.arg(assets.join("node.js"));
            }
            Self::PythonHttp => {
                command.arg(assets.join("http_server.py"));
            }
            Self::Asyncio => {
                command.arg(assets.join("asyncio_server.py"));
            }
            Self::Java => {
                // Head and body are two writes; the second would wait 40 ms for the first one's acknowledgement.
                command
                    .arg("-Dsun.net.httpserver.nodelay=true")
                    .arg(assets.join("Server.java"));
            }
            Self::Go | Self::Hyper => {}
        }
        if !self.has_origin() {
            command
                .args(ports.all().map(|port| port.to_string()))
                .arg(&log)
                .arg(folder);
        }
        Ok(command)
    }
}

/// A program of the system, before one of a version manager, whose shim costs a start of its own.
pub(super) fn system_program(name: &str) -> Result<PathBuf> {
    let system = Path::new("/usr/bin").join(name);
    if system.is_file() {
        return Ok(system);
    }
    machine::program(name)
}

/// hyper's version from the lock file.
fn hyper_version(repository: &Path) -> String {
    let lock = fs::read_to_string(repository.join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"hyper\"");
    let version = lines.nth(1).unwrap_or_default();
    format!(
        "hyper {}",
        version.trim_start_matches("version = ").trim_matches('"')
    )
}

/// A server that runs; it ends when this is dropped.
pub(super) struct Running {
    pub server: Server,
    pub ports: Ports,
    /// Id of its cgroup.
    pub cgroup: u64,
    log: Log,
    // In this order: the processes end before their cgroup goes.
    _process: Process,
    _group: Group,
}

impl Running {
    /// Starts a server and waits until it listens.
    #[expect(clippy::too_many_arguments, reason = "they are all different things")]
    pub(super) fn start(
        server: Server,
        name: &str,
        mount: &Path,
        namespace: &Namespace,
        programs: &Programs,
        folder: &Path,
        ports: Ports,
        origin: u16,
    ) -> Result<Self> {
        write_files(folder)?;
        let said = folder.join("said");
        let group = place::group(mount, name)?;
        let log = folder.join("log");
        let mut command = server.command(&group, namespace, programs, folder, ports, origin)?;
        // HAProxy writes its log where it says everything.
        let output = if server == Server::Haproxy {
            &log
        } else {
            &said
        };
        command
            .stdin(Stdio::null())
            .stdout(log_file(output)?)
            .stderr(log_file(&said)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", server.name()))?;
        let mut process = Process(child);
        for port in [ports.plain, ports.both] {
            namespace
                .wait_for_listener(port, || process.must_run(&said))
                .with_context(|| format!("{} does not come up", server.name()))?;
        }
        Ok(Self {
            server,
            ports,
            cgroup: group.id,
            log: Log::new(log),
            _process: process,
            _group: group,
        })
    }

    /// What it noted: the status of each id.
    pub(super) fn noted(&mut self) -> &HashMap<String, u16> {
        self.log.read()
    }
}

/// A server's log, of which each line is `id method path status`.
struct Log {
    path: PathBuf,
    /// Bytes that are read.
    read: u64,
    noted: HashMap<String, u16>,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: 0,
            noted: HashMap::new(),
        }
    }

    /// Reads what was appended, but for an unfinished line. An error shows as what is missing.
    fn read(&mut self) -> &HashMap<String, u16> {
        let mut added = Vec::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(self.read)).is_ok()
        {
            let _ = file.read_to_end(&mut added);
        }
        let whole = added.iter().rposition(|byte| *byte == b'\n');
        let text = String::from_utf8_lossy(&added[..whole.map_or(0, |at| at + 1)]).into_owned();
        self.read += whole.map_or(0, |at| at as u64 + 1);
        self.noted.extend(text.lines().filter_map(|line| {
            let (id, rest) = line.split_once(' ')?;
            Some((id.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
        }));
        &self.noted
    }
}

/// The files that the servers hand out.
fn write_files(folder: &Path) -> Result<()> {
    let lookalike =
        "HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
    fs::write(folder.join("large"), vec![b'l'; 1 << 20])?;
    fs::write(folder.join("small"), "fine\n".repeat(40))?;
    fs::write(folder.join("lookalike"), lookalike)?;
    Ok(())
}

/// Compiles the programs in Go, if there is a Go.
pub(super) fn build_go(assets: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    for (source, name) in [
        ("servers/server.go", "go-server"),
        ("clients/client.go", "go-client"),
    ] {
        process::run(
            Command::new(machine::program("go")?)
                .arg("build")
                .arg("-o")
                .arg(target.join(name))
                .arg(assets.join(source))
                .env("GO111MODULE", "off")
                // Go asks nobody for the revision of a checkout that belongs to someone else.
                .env("GOFLAGS", "-buildvcs=false"),
        )?;
    }
    Ok(())
}
