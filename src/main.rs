//! The binary: hands the command line to [`headstack::cli`] and its exit code to the shell.
//!
//! Everything else is the library's, so that tests and benchmarks reach it too.

fn main() -> std::process::ExitCode {
    headstack::cli::run()
}
