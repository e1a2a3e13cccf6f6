//! The binary: hands the command line to [`headstack::cli`] and its exit code to the shell.

fn main() -> std::process::ExitCode {
    headstack::cli::run()
}
