//! The command line: one file a verb; `output.rs` is the only place that prints.

/// Runs the command line of this process and returns its exit code.
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
