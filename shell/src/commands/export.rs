//! `galileo export`: the records of a run as files for other programs.

use std::path::PathBuf;

use galileo_expdb::{Error, Format};
use galileo_report::numbers;

use crate::exit::Exit;
use crate::failure::Advise;
use crate::output;
use crate::session::Session;

/// Write the records of a run as files for other programs
///
/// traces: every request as its client saw it; hops: as the balancer saw it; exchanges: as the kernel saw it at the
/// sockets. Times are nanoseconds since boot (CLOCK_BOOTTIME), the same clock in all three.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo export last --format csv --out ./records
  galileo export 2026112502 --format ndjson --out ./records --force")]
pub struct Args {
    /// The run: its id, the beginning of its id, or `last`
    #[arg(value_name = "ID")]
    id: String,

    /// A line of JSON, or of comma-separated values (RFC 4180), for each record
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: FileFormat,

    /// The folder for traces, hops and exchanges; it is made if it does not exist
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,

    /// Replace files that exist
    #[arg(long, short)]
    force: bool,
}

/// What the files look like.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FileFormat {
    Ndjson,
    Csv,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let database = session.existing_database().await?;
    let id = database.resolve(&args.id).await?;
    let format = match args.format {
        FileFormat::Ndjson => Format::Ndjson,
        FileFormat::Csv => Format::Csv,
    };
    let exported = match database.export(&id, format, &args.out, args.force).await {
        Err(error @ Error::FileExists(_)) => Err(error).help("--force replaces it")?,
        done => done?,
    };
    let mut text = String::new();
    for file in &exported.files {
        let records = if file.rows == 1 { "record" } else { "records" };
        let count = numbers::count(file.rows);
        text.push_str(&format!("{}: {count} {records}\n", file.path.display()));
    }
    output::print(text)?;
    Ok(Exit::Success)
}
