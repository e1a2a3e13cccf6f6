//! A series of either kind, for those who do not care which.
//!
//! The two kinds differ in how they append and read; what a database does with all its series is the same for both, and
//! stands here.

use std::sync::Arc;

use crate::series::{Result, Series, SeriesId, Timestamp, VarlenSeries};

/// An open series of either kind.
#[derive(Debug, Clone)]
pub enum AnySeries {
    /// Every value has the same length.
    Fixed(Arc<Series>),
    /// Values differ in length.
    Varlen(Arc<VarlenSeries>),
}

impl AnySeries {
    pub(in crate::series) fn is_closed(&self) -> bool {
        match self {
            Self::Fixed(series) => series.part().is_closed(),
            Self::Varlen(series) => series.is_closed(),
        }
    }

    /// How many entries were appended since it was opened.
    pub(super) fn appended(&self) -> u64 {
        match self {
            Self::Fixed(series) => series.part().appended(),
            Self::Varlen(series) => series.appended(),
        }
    }

    pub(super) fn abandon(&self) {
        match self {
            Self::Fixed(series) => series.part().abandon(),
            Self::Varlen(series) => series.abandon(),
        }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// As [`Series::sync`].
    pub fn sync(&self) -> Result<()> {
        match self {
            Self::Fixed(series) => series.sync(),
            Self::Varlen(series) => series.sync(),
        }
    }

    /// Makes everything appended so far durable, but leaves it to the caller to note that.
    pub(super) fn sync_unnoted(&self) -> Result<(SeriesId, Option<Timestamp>)> {
        match self {
            Self::Fixed(series) => Ok((series.id(), series.part().sync()?)),
            Self::Varlen(series) => Ok((series.id(), series.sync_parts()?)),
        }
    }

    /// Syncs and closes the series.
    ///
    /// # Errors
    /// As [`Series::close`].
    pub fn close(&self) -> Result<()> {
        match self {
            Self::Fixed(series) => series.close(),
            Self::Varlen(series) => series.close(),
        }
    }

    /// Syncs and closes the series, but leaves it to the caller to note that.
    pub(super) fn close_unnoted(&self) -> Result<(SeriesId, Option<Timestamp>)> {
        match self {
            Self::Fixed(series) => Ok((series.id(), series.part().close()?)),
            Self::Varlen(series) => Ok((series.id(), series.close_parts()?)),
        }
    }
}
