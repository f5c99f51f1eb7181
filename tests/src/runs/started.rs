//! A program under way, what it says meanwhile, and how it ends.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::wait::until;

/// A process whose output is taken as it comes. It is killed if it is dropped before its end.
#[derive(Debug)]
pub struct Started {
    child: Child,
    out: Taken,
    err: Taken,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
}

#[derive(Debug)]
struct Taken {
    text: Arc<Mutex<Vec<u8>>>,
    taker: Option<JoinHandle<()>>,
}

impl Started {
    /// Starts a program.
    ///
    /// # Panics
    ///
    /// If that is not possible.
    #[must_use]
    pub fn new(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // As a shell does it, for `interrupt`.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let out = Taken::from(child.stdout.take().expect("piped"));
        let err = Taken::from(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        self.err.text()
    }

    /// Waits until it has said this on standard error.
    ///
    /// # Panics
    ///
    /// If it ends without, or does not say it in time.
    pub fn says(&mut self, text: &str) {
        until(&format!("galileo says '{text}'"), || {
            if self.err().contains(text) {
                return Some(());
            }
            if let Some(status) = self.ended() {
                // What it said last may just have come.
                self.err.finish();
                let err = self.err();
                assert!(err.contains(text), "ended ({status}) and said: {err}");
            }
            None
        });
    }

    /// Sends it SIGINT as a terminal does on Ctrl-C: to all processes of its group.
    ///
    /// # Panics
    ///
    /// If it has been waited for.
    pub fn interrupt(&self) {
        kill_process_group(self.pid(), Signal::INT).expect("the group is ours");
    }

    /// Sends a signal to it alone.
    ///
    /// # Panics
    ///
    /// If it has been waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is ours");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id().cast_signed()).expect("a process id is positive")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// If it does not end in time.
    #[must_use]
    pub fn end(mut self) -> Said {
        let status = until("galileo ends", || self.ended());
        self.out.finish();
        self.err.finish();
        Said {
            out: self.out.text(),
            err: self.err.text(),
            code: status.code(),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is ours")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Taken {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let taken = Arc::clone(&text);
        let taker = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A pipe that fails has ended.
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                taken.extend(&bytes[..count]);
            }
        });
        Self {
            text,
            taker: Some(taker),
        }
    }

    /// Waits for the end of the pipe: that of the last process that has it.
    fn finish(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.join().expect("it does not panic");
        }
    }

    fn text(&self) -> String {
        let bytes = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Said {
    /// Its standard output as JSON.
    ///
    /// # Panics
    ///
    /// If that is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// It went well; what it printed.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[must_use]
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// It ended with this code; what it said on standard error.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[must_use]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}
