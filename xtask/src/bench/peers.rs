//! The server and the load generator that measurements are made against.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::machine;
use crate::process::{self, Running};

/// nginx with one worker, pinned to CPU 0; it ends when this is dropped.
pub(super) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub port: u16,
}

impl Nginx {
    /// Starts it on a free port with `/` (12 bytes), `/100k`, and `/status` (`stub_status`).
    pub(super) fn start(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("100k"), vec![b'x'; 100_000])?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = folder.display();
        let configuration = format!(
            "worker_processes 1; worker_cpu_affinity 01; daemon off; pid {root}/pid; error_log {root}/error.log warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; sendfile on;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {root};\n\
             location = / {{ return 200 'hello world\\n'; }} location = /status {{ stub_status; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        let child = Command::new(machine::program("nginx")?)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self {
            child,
            folder,
            port,
        };
        nginx.wait_until_ready()?;
        Ok(nginx)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "nginx ended with {status}; see {}",
                    self.folder.join("error.log").display()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("nginx does not answer on port {}", self.port)
    }

    /// Its own count of requests, this one included.
    pub(super) fn requests(&self) -> Result<u64> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection
            .write_all(b"GET /status HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("nginx's status has no body")?;
        let count = body
            .lines()
            .nth(2)
            .and_then(|line| line.split_whitespace().nth(2));
        count
            .context("nginx's status has no count")?
            .parse()
            .context("nginx's count is no number")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; what remains is its folder, which is in the build folder.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// A load of wrk on CPU 1.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// What it is called in the table.
    pub name: &'static str,
    /// Path that is asked for.
    pub path: &'static str,
    /// A new connection for each request.
    pub new_connections: bool,
}

impl Load {
    /// Starts it for some seconds, with 64 connections.
    pub(super) fn start(self, port: u16, seconds: u64) -> Result<Running> {
        let mut command = Command::new("taskset");
        command.args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s")]);
        if self.new_connections {
            command.args(["-H", "Connection: close"]);
        }
        command
            .arg(format!("http://127.0.0.1:{port}{}", self.path))
            .stdout(Stdio::piped());
        Running::start(&mut command)
    }

    /// Waits for its end; returns the requests a second that wrk saw.
    pub(super) fn finish(mut wrk: Running) -> Result<f64> {
        let mut text = String::new();
        wrk.stdout()?
            .read_to_string(&mut text)
            .context("cannot read from wrk")?;
        wrk.wait()?;
        let rate = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        rate.context("wrk names no rate")?
            .trim()
            .parse()
            .context("wrk's rate is no number")
    }
}

/// Builds an example in release and returns its path.
pub(super) fn example(
    repository: &crate::repository::Repository,
    package: &str,
    name: &str,
) -> Result<PathBuf> {
    process::run(Command::new("cargo").current_dir(repository.root()).args([
        "build",
        "--release",
        "--package",
        package,
        "--example",
        name,
    ]))?;
    Ok(repository
        .target()
        .join("release")
        .join("examples")
        .join(name))
}
