//! `headstack completions`: completion scripts for shells.
//!
//! They are generated from the tree of verbs, so they know every option there is and none that is not.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use super::{exit::Code, output::Data};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack completions bash > ~/.local/share/bash-completion/completions/headstack
  headstack completions zsh > ~/.zfunc/_headstack
  headstack completions fish > ~/.config/fish/completions/headstack.fish")]
pub struct Arguments {
    /// Shell that reads the script
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Arguments {
    /// Prints the script.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(self) -> Result<Code> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "headstack", &mut script);
        let mut data = Data::open()?;
        data.write(&script)?;
        data.finish()?;
        Ok(Code::Success)
    }
}
