//! How a restore from tapes is done.
//!
//! What it is told of its target is the same as for a copy; here is what is about the tape, and whether anything is done at all.

use anyhow::Result;
use clap::Args;

use crate::cli::{
    exit::{Code, Failure},
    restoring::TargetOptions,
};

/// How a restore is done.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) target: TargetOptions,
    /// Blocking factor that the tape is expected to have
    #[arg(short, long, value_name = "FACTOR")]
    blocks: Option<u32>,
    /// Tell what the restore needs and what is missing, and restore nothing; of names alone the tapes are not read to their end
    #[arg(long, value_name = "OF", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub(super) dry_run: Option<Look>,
}

/// What a plan is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Look {
    /// Everything on the tapes
    All,
    /// The names, which come first on a tape
    Names,
}

impl Options {
    /// Checks the blocking factor that a tape tells against the one that is expected.
    ///
    /// # Errors
    /// They differ.
    pub(super) fn check_factor(&self, told: u32) -> Result<()> {
        match self.blocks {
            Some(expected) if told > 0 && told != expected => {
                let message = format!("the dump was written with blocking factor {told}, not {expected}");
                Err(Failure::new(Code::Usage, message, format!("'-b {told}', or none")).into())
            }
            _ => Ok(()),
        }
    }
}
