//! The only place that prints: data to standard output, everything else to standard error.
//!
//! A verb hands over facts ([`Cell`]s, tables, entries); this file gives them the form that was asked for: aligned text
//! for people, tab-separated text (`-H`) for scripts, JSON (`--json`) for programs. In JSON and with `-H` sizes are raw
//! bytes and times are ISO-8601 UTC.

mod progress;
mod table;

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::exit::{Code, Failure, ReaderGone, Report};

pub use progress::{Progress, Unit};
pub use table::{Cell, Column, Table, printable};

/// What a process says on its standard output when it is ready.
pub const READY: &[u8; 6] = b"ready\n";
/// True once the log goes into a file, whose readers want to know when things happened.
static LOG_HAS_TIMES: AtomicBool = AtomicBool::new(false);
/// Bytes that standard output is written in.
const BUFFER_BYTES: usize = 1 << 20;

/// How facts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Aligned, for people.
    Text,
    /// Tab-separated without a header, for scripts.
    Tabs,
    /// One JSON document.
    Json,
}

/// The `--json` and `-H` options of verbs that print.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct FormOptions {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print fields separated by tabs, without a header, sizes in bytes
    #[arg(short = 'H', conflicts_with = "json")]
    pub tabs: bool,
}

/// The `--json` option of verbs whose text is not a table.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct JsonOption {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Standard output of one verb.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    command: &'static str,
    form: Form,
}

impl Output {
    /// Output of the verb `command` in the form that its options ask for.
    pub fn new(command: &'static str, options: FormOptions) -> Self {
        let form = match options {
            FormOptions { json: true, .. } => Form::Json,
            FormOptions { tabs: true, .. } => Form::Tabs,
            FormOptions { .. } => Form::Text,
        };
        Self { command, form }
    }

    /// Output of a verb that knows text and JSON only.
    pub fn of_json(command: &'static str, options: JsonOption) -> Self {
        let JsonOption { json } = options;
        Self::new(command, FormOptions { json, tabs: false })
    }

    /// True where one JSON document was asked for.
    pub fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Prints a document of JSON: the version of its shape, then `body`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn document(&self, body: Map<String, Value>) -> Result<()> {
        let mut document = self.version();
        document.extend(body);
        let mut data = Data::open()?;
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        data.write(&text)?;
        data.finish()
    }

    /// Prints one thing's facts, one `key value` a line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn record(&self, facts: &[(&str, Cell)]) -> Result<()> {
        if self.form == Form::Json {
            return self.document(
                facts
                    .iter()
                    .map(|(key, cell)| ((*key).to_owned(), cell.json()))
                    .collect(),
            );
        }
        let mut data = Data::open()?;
        data.write(table::record_text(facts, self.form).as_bytes())?;
        data.finish()
    }

    /// Prints a table; in JSON it is a list of objects under `key`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn table(&self, key: &str, table: &Table) -> Result<()> {
        if self.form == Form::Json {
            return self.document(Map::from_iter([(key.to_owned(), table.json())]));
        }
        let mut data = Data::open()?;
        data.write(table.text(self.form).as_bytes())?;
        data.finish()
    }

    /// Tells that a verb did what it was asked: nothing as text unless `-v`, the facts in JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn done(&self, sentence: &str, facts: &[(&str, Cell)]) -> Result<()> {
        log::info!("{sentence}");
        self.facts(facts)
    }

    /// Prints facts in JSON, and nothing as text.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn facts(&self, facts: &[(&str, Cell)]) -> Result<()> {
        if self.form == Form::Json {
            self.record(facts)
        } else {
            Ok(())
        }
    }

    /// Prints the one thing that a verb made, or all facts of it in JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn told(&self, thing: &str, facts: &[(&str, Cell)]) -> Result<()> {
        if self.form == Form::Json {
            return self.record(facts);
        }
        let mut data = Data::open()?;
        data.write(format!("{}\n", table::printable(thing)).as_bytes())?;
        data.finish()
    }

    /// Prints a text of several lines as it is.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn text(&self, text: &str) -> Result<()> {
        let mut data = Data::open()?;
        data.write(text.as_bytes())?;
        data.finish()
    }

    /// The head of every JSON document.
    pub fn version(&self) -> Map<String, Value> {
        let version = json!({"command": self.command, "major": 1, "minor": 0});
        Map::from_iter([("output_version".to_owned(), version)])
    }
}

/// Standard output for data, in large writes.
#[derive(Debug)]
pub struct Data {
    file: File,
    buffer: Vec<u8>,
}

impl Data {
    /// Takes standard output.
    ///
    /// # Errors
    /// It is closed.
    pub fn open() -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().context("standard output")?;
        Ok(Self {
            file: File::from(file),
            buffer: Vec::new(),
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`ReaderGone`] where the other end is closed, else standard output cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= BUFFER_BYTES {
            self.flush()?;
            return put(&mut self.file, bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    /// Lets `fill` add bytes to the buffer, which is written once it is full.
    ///
    /// # Errors
    /// As [`Data::write`], and those of `fill`.
    pub fn write_with(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        fill(&mut self.buffer)?;
        self.flush_if_full()
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// As [`Data::write`].
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what is held, for a reader that waits for it.
    ///
    /// # Errors
    /// As [`Data::write`].
    pub fn flush(&mut self) -> Result<()> {
        let result = put(&mut self.file, &self.buffer);
        self.buffer.clear();
        result
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // A verb that fails half way still gives what it had; it has its own error to tell.
        let _ = self.flush();
    }
}

fn put(file: &mut File, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match file.write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        result => result.context("standard output"),
    }
}

/// Text of a time: ISO-8601 in UTC, to the second.
pub fn time_text(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => String::new(),
    }
}

/// Tells a failure on standard error and gives its exit code.
pub fn failure(error: &anyhow::Error) -> Code {
    let report = Report::of(error);
    if let Some(message) = report.message {
        complain(&format!("headstack: {}", table::printable(&message)));
    }
    report.code
}

/// Prints a line on standard error; one that cannot be written is lost.
pub fn complain(line: &str) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// Starts the log on standard error; `RUST_LOG` overrides the level.
pub fn start_log(level: log::LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).parse_default_env().format(|out, record| {
        let message = table::printable(&record.args().to_string());
        if LOG_HAS_TIMES.load(Ordering::Relaxed) {
            write!(out, "{} ", time_text(SystemTime::now()))?;
        }
        match record.level() {
            log::Level::Info | log::Level::Error => writeln!(out, "headstack: {message}"),
            level => writeln!(out, "headstack: {}: {message}", level.as_str().to_lowercase()),
        }
    });
    // A second start in one process keeps the first log.
    drop(builder.try_init());
}

/// Flags that give another process of this program the same log.
pub fn verbosity_flags() -> &'static [&'static str] {
    match log::max_level() {
        log::LevelFilter::Off | log::LevelFilter::Error => &["-q"],
        log::LevelFilter::Warn => &[],
        log::LevelFilter::Info => &["-v"],
        log::LevelFilter::Debug | log::LevelFilter::Trace => &["-vv"],
    }
}

/// Opens a file that the log is added to.
///
/// # Errors
/// It cannot be made or written.
pub fn open_log(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())
}

/// Sends the log into a file from now on.
///
/// # Errors
/// The process has too many files open.
pub fn log_into(file: &File) -> Result<()> {
    LOG_HAS_TIMES.store(true, Ordering::Relaxed);
    rustix::stdio::dup2_stderr(file).context("standard error")
}

/// Tells the process that waits on standard output that this one is ready, and lets go of all standard streams; the log
/// goes into `log` from then on, or nowhere.
///
/// # Errors
/// The waiting process went away, or `/dev/null` cannot be opened.
pub fn leave_standard_streams(log: Option<File>) -> Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("/dev/null")?;
    let mut waiting = File::from(io::stdout().as_fd().try_clone_to_owned().context("standard output")?);
    log_into(log.as_ref().unwrap_or(&null))?;
    rustix::stdio::dup2_stdin(&null).context("standard input")?;
    rustix::stdio::dup2_stdout(&null).context("standard output")?;
    put(&mut waiting, READY)
}

/// Prints what the parser of the command line has to say: help and version as data, errors as usage errors.
pub fn usage(error: &clap::Error) -> Code {
    let printed = error.print();
    if error.use_stderr() {
        Code::Usage
    } else if printed.is_err() {
        Code::ReaderGone
    } else {
        Code::Success
    }
}

/// Asks for a confirmation before data is lost: `--yes`, or the typed name on a terminal.
///
/// # Errors
/// [`Code::Refused`] where neither was given.
pub fn confirm(loss: &str, name: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let refused = || {
        Failure::new(
            Code::Refused,
            format!("{loss}; nothing was removed"),
            "--dry-run to look, --yes to do it",
        )
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused().into());
    }
    prompt(&format!(
        "{}.\nType {} to go on: ",
        table::printable(loss),
        table::printable(name)
    ))?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).context("standard input")?;
    if typed.trim_end_matches('\n') == name {
        return Ok(());
    }
    Err(refused().into())
}

/// Asks a user for something, on standard error.
///
/// # Errors
/// It cannot be written.
pub fn prompt(text: &str) -> Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).context("standard error")?;
    stderr.flush().context("standard error")
}
