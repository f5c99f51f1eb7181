//! The server that measurements are made against.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use super::network::{End, Network};
use crate::cgroup::{self, Group};
use crate::{machine, namespace};

/// nginx with one worker, pinned to CPU 0; it ends when this is dropped.
pub(super) struct Nginx {
    child: Child,
    pub port: u16,
    // Goes after what runs in it.
    _group: Group,
}

/// What nginx serves. It counts every request that it begins to read, in `/status`.
///
/// * `/` has 12 bytes, `/100k` and `/1m` are sent by sendfile.
/// * Of `/chunked` and `/chunked-20k` nobody knows the length beforehand, because `sub_filter` may change it; a file is read in
///   pieces of 4 kB, and each becomes a chunk.
/// * `/post` is answered when the whole body is there: `mirror` reads it for somebody who does nothing with it. `return` alone
///   answers before the body has come.
const LOCATIONS: &str = "\
    location = / { return 200 'hello world\\n'; }\n\
    location = /status { stub_status; }\n\
    location = /chunked { sub_filter_types *; sub_filter 'hello' 'HELLO'; return 200 'hello world\\n'; }\n\
    location = /chunked-20k { sendfile off; output_buffers 1 4k; sub_filter_types *; sub_filter 'X' 'Y'; }\n\
    location = /post { client_body_buffer_size 32k; mirror /nowhere; empty_gif; error_page 405 =200 @done; }\n\
    location = /nowhere { internal; return 204; }\n\
    location @done { return 200 'hello world\\n'; }\n";

/// Files that it serves.
const FILES: [(&str, usize); 3] = [
    ("100k", 100_000),
    ("1m", 1_000_000),
    ("chunked-20k", 20_000),
];

impl Nginx {
    /// Starts it on a free port, with its files in a folder.
    pub(super) fn start(folder: &Path, network: &Network) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, length) in FILES {
            fs::write(folder.join(name), vec![b'x'; length])?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(folder, network, port))?;
        let group = Group::new(
            &cgroup::mount_point()?,
            &format!("galileo-bench-{}-nginx-{port}", std::process::id()),
        )?;
        let child = group
            .enter(&mut network.command(End::Server, "TERM"))
            .arg(machine::program("nginx")?)
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self {
            child,
            port,
            _group: group,
        };
        namespace::wait_for_listener(&network.server_process(), port, || {
            nginx.must_run(&folder.join("error.log"))
        })?;
        Ok(nginx)
    }

    fn must_run(&mut self, log: &Path) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("nginx ended with {status}; see {}", log.display());
        }
        Ok(())
    }
}

fn configuration(folder: &Path, network: &Network, port: u16) -> String {
    let root = folder.display();
    let listen: String = network
        .listen()
        .iter()
        .map(|address| format!("listen {address}:{port} backlog=4096; "))
        .collect();
    // The worker stays who it is: it reads its files wherever the clone lies.
    format!(
        "user root; worker_processes 1; worker_cpu_affinity 01; daemon off; pid {root}/pid;\n\
         error_log {root}/error.log error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; sendfile on;\n\
         client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
         uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
         server {{ {listen}root {root};\n{LOCATIONS}}} }}\n"
    )
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::process;

    struct Site {
        nginx: Nginx,
        // Goes after the server that writes to it.
        _folder: tempfile::TempDir,
    }

    /// None, and says so, where no cgroup can be made for it.
    fn site() -> Option<Site> {
        if !machine::is_root().unwrap() {
            galileo_skips::skip("nginx runs in a cgroup of its own, which only root can make");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(folder.path(), &Network::Loopback).unwrap();
        Some(Site {
            nginx,
            _folder: folder,
        })
    }

    impl Site {
        fn connect(&self) -> TcpStream {
            TcpStream::connect(("127.0.0.1", self.nginx.port)).unwrap()
        }

        /// The whole answer to a request, whose connection is then closed.
        fn get(&self, path: &str) -> String {
            let mut connection = self.connect();
            write!(
                connection,
                "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer
        }
    }

    /// Lengths of the chunks of an answer.
    fn chunks(answer: &str) -> Vec<usize> {
        let (head, mut body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        let mut lengths = Vec::new();
        while let Some((length, rest)) = body.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap();
            lengths.push(length);
            body = rest.get(length + 2..).unwrap_or_default();
        }
        lengths
    }

    #[test]
    fn what_is_called_chunked_is_chunked() {
        let Some(site) = site() else { return };

        assert_eq!(chunks(&site.get("/chunked")), [12, 0]);
        let many = chunks(&site.get("/chunked-20k"));

        assert_eq!(many.iter().sum::<usize>(), 20_000);
        assert!(many.len() >= 5, "{many:?}");
    }

    #[test]
    fn what_listens_at_one_end_of_a_veth_pair_is_reached_from_the_other() {
        if !machine::is_root().unwrap() {
            return;
        }
        let network = Network::veth().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(folder.path(), &network).unwrap();
        let address = format!("http://{}:{}/", network.address(), nginx.port);
        let get = |end| {
            process::output(network.command(end, "KILL").args([
                "curl",
                "-s",
                "--max-time",
                "20",
                &address,
            ]))
        };

        assert_eq!(get(End::Client).unwrap(), "hello world");
        assert!(network.address() != "127.0.0.1");
        drop(nginx);
        assert!(get(End::Client).is_err());
    }

    #[test]
    fn a_post_is_answered_when_its_whole_body_has_been_read() {
        let Some(site) = site() else { return };
        let mut connection = site.connect();
        let half = [b'x'; 10_000];
        write!(
            connection,
            "POST /post HTTP/1.1\r\nHost: bench\r\nContent-Length: 20000\r\n\r\n"
        )
        .unwrap();
        connection.write_all(&half).unwrap();
        // A later request on another connection is answered: nginx has seen the half.
        assert!(site.get("/").ends_with("hello world\n"));
        connection.set_nonblocking(true).unwrap();
        let early = connection.read(&mut [0; 100]).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock);

        connection.set_nonblocking(false).unwrap();
        connection
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        connection.write_all(&half).unwrap();
        let mut answer = [0; 15];
        connection.read_exact(&mut answer).unwrap();

        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}
