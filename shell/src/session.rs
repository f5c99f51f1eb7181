//! What all commands of one invocation share: the database, the terminal, the log.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use galileo_expdb::Database;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

use crate::cli::{Colour, Global};
use crate::failure::Advise;

/// Widest lines of text; longer ones are hard to read.
const WIDEST: usize = 100;

/// One invocation.
pub struct Session {
    named_database: Option<PathBuf>,
    colour: Colour,
    screen: MultiProgress,
}

impl Session {
    /// Sets up the log, too. To be called once.
    pub fn new(global: &Global) -> Self {
        let session = Self {
            named_database: global.db.clone().or_else(|| {
                env::var_os("GALILEO_DB")
                    .filter(|path| !path.is_empty())
                    .map(PathBuf::from)
            }),
            colour: global.color,
            screen: MultiProgress::new(),
        };
        let screen = session.screen.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter(global.verbose))
            .with_ansi(session.colour_errors())
            .with_writer(move || BesideBars(screen.clone()));
        // A program that uses the library may have set up its own.
        let _ = log.try_init();
        session
    }

    /// Where progress is shown and what else goes to standard error meanwhile must pass through.
    pub fn screen(&self) -> MultiProgress {
        self.screen.clone()
    }

    /// The file of the experiment database.
    pub fn database_path(&self) -> anyhow::Result<PathBuf> {
        match &self.named_database {
            Some(path) => Ok(path.clone()),
            None => Ok(galileo_expdb::default_path()?),
        }
    }

    /// Opens the database, which is made if it does not exist.
    pub async fn database(&self) -> anyhow::Result<Database> {
        Ok(Database::open(self.database_path()?).await?)
    }

    /// Opens the database if it exists.
    pub async fn database_if_any(&self) -> anyhow::Result<Option<Database>> {
        let path = self.database_path()?;
        // A link to nowhere is no database either; what cannot be looked at is for SQLite to tell.
        match path.try_exists() {
            Ok(false) => Ok(None),
            _ => Ok(Some(Database::open(path).await?)),
        }
    }

    /// Opens the database, which has to exist.
    pub async fn existing_database(&self) -> anyhow::Result<Database> {
        let path = self.database_path()?;
        self.database_if_any()
            .await?
            .ok_or_else(|| anyhow!("there is no experiment database {}", path.display()))
            .help("`galileo run FILE` makes it; `--db FILE` names another one")
    }

    /// Whether the user named the database.
    pub fn database_is_named(&self) -> bool {
        self.named_database.is_some()
    }

    /// The folder that has a folder for each run: `runs` beside the database.
    pub fn runs_folder(&self) -> anyhow::Result<PathBuf> {
        let database = self.database_path()?;
        let folder = match database.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Ok(std::path::absolute(folder)?.join("runs"))
    }

    /// The folder of one run: output of its replicas, its report.
    pub fn run_folder(&self, id: &str) -> anyhow::Result<PathBuf> {
        Ok(self.runs_folder()?.join(id))
    }

    /// Columns of text on standard output.
    #[allow(
        clippy::unused_self,
        reason = "a fact about the session, even if it is looked up anew"
    )]
    pub fn width(&self) -> usize {
        terminal_width().unwrap_or(80).min(WIDEST)
    }

    /// Whether standard output gets colours.
    pub fn colour(&self) -> bool {
        self.colour_on(io::stdout().is_terminal())
    }

    /// Whether standard error gets colours.
    pub fn colour_errors(&self) -> bool {
        self.colour_on(io::stderr().is_terminal())
    }

    fn colour_on(&self, is_terminal: bool) -> bool {
        match self.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                // https://no-color.org: any value but an empty one.
                let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
                is_terminal && !refused && !dumb
            }
        }
    }
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// `GALILEO_LOG` if it is set and valid, else by the number of `-v`.
fn filter(verbose: u8) -> EnvFilter {
    let default = match verbose {
        0 => "error,galileo=warn",
        1 => "warn,galileo=info",
        2 => "info,galileo=debug",
        _ => "trace",
    };
    match env::var("GALILEO_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            crate::output::tell(format!("warning: GALILEO_LOG={text} is not used: {error}"));
            EnvFilter::new(default)
        }),
        _ => EnvFilter::new(default),
    }
}

/// Standard error, with progress bars out of the way while something is written.
struct BesideBars(MultiProgress);

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
