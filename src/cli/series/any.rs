//! How a verb writes the values of a series of either kind.
//!
//! The format is the one that was asked for, where that suits the series; else the series' own.

use anyhow::Result;

use crate::{
    cli::exit::{Code, Failure},
    series::AnySeries,
    series::text::{Codec, Format},
};

/// How lines are written: in the format that is asked for, else the one of the series' metadata, else in hexadecimal.
/// They are those of the `text` file that a mount shows.
///
/// # Errors
/// [`Code::Usage`] for a format that does not suit the series.
pub fn codec(series: &AnySeries, asked: Option<Format>) -> Result<Codec> {
    let block_size = match series {
        AnySeries::Fixed(series) => Some(series.block_size()),
        AnySeries::Varlen(_) => None,
    };
    if let Some(format) = asked.filter(|format| !format.suits(block_size)) {
        let message = format!("--format {format} is for series of 8 byte values, which this is not");
        return Err(Failure::new(Code::Usage, message, "--format hex").into());
    }
    Ok(series.codec(asked))
}
