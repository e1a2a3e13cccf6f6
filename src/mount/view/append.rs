//! Entries into a series: what a write on `raw` or `text` commits.
//!
//! The stream is cut into entries by [`Appending`]; here whole entries in one of the two forms become appends to the
//! engine, in one call where that can be, so that no other writer comes between the entries of one write.

use super::{SeriesView, varlen_range};
use crate::{
    mount::{
        appending::{Appending, Framing},
        errno::{Refusal, Result},
        nodes::Item,
        offsets::Form,
    },
    series::{AnyContents, AnySeries, Series, Timestamp, VarlenSeries},
};

/// Bytes before the value in a record.
const TIMESTAMP_BYTES: usize = 8;

impl SeriesView {
    /// The state of a file of this form that is newly opened for appending.
    pub fn appending(&self, form: Form) -> Appending {
        Appending::new(match (form, self.contents()) {
            (Form::Text, _) => Framing::Lines {
                limit: self.codec().longest_line(),
            },
            (Form::Raw, AnyContents::Fixed(contents)) => Framing::Records {
                record: contents.record_size(),
            },
            (Form::Raw, AnyContents::Varlen(contents)) => Framing::Varlen {
                limit: contents.maximum_length(),
            },
        })
    }

    /// Appends the next bytes of a stream; returns how many were taken. With `must_be_at` the stream has to go on at
    /// that byte of the file, which counts what the open file holds.
    ///
    /// # Errors
    /// The first entry is bad, the disk is full, or `must_be_at` is not the end; then nothing was taken.
    pub fn append(&self, form: Form, state: &mut Appending, data: &[u8], must_be_at: Option<u64>) -> Result<usize> {
        let series = self.live().ok_or(Refusal::Frozen)?;
        let _seat = self.seat();
        if let Some(offset) = must_be_at {
            let end = self.size_bytes(Item::Entries(form))?.unwrap_or(0) + state.held() as u64;
            if offset != end {
                return Err(Refusal::NotAtEnd { offset, end });
            }
        }
        state.write(data, &mut |entries| self.commit(series, form, entries))
    }

    /// Ends a stream: see [`Appending::finish`].
    ///
    /// # Errors
    /// The last line is bad, or part of a record is left over.
    pub fn finish(&self, form: Form, state: &mut Appending) -> Result<()> {
        let series = self.live().ok_or(Refusal::Frozen)?;
        let _seat = self.seat();
        let outcome = state.finish(&mut |entries| self.commit(series, form, entries));
        if let Err(Refusal::HeldFragment { .. }) = outcome {
            self.count_held_fragment();
        }
        outcome
    }

    fn commit(&self, series: &AnySeries, form: Form, entries: &[u8]) -> (usize, Result<()>) {
        let (committed, outcome) = match (form, series) {
            (Form::Raw, AnySeries::Fixed(series)) => commit_records(series, entries),
            (Form::Raw, AnySeries::Varlen(series)) => commit_varlen(series, entries),
            (Form::Text, series) => self.commit_lines(series, entries),
        };
        if committed > 0 {
            self.appended();
        }
        (committed, outcome)
    }

    fn commit_lines(&self, series: &AnySeries, lines: &[u8]) -> (usize, Result<()>) {
        let codec = self.codec();
        let mut values: Vec<(Timestamp, Vec<u8>)> = Vec::new();
        let mut ends = Vec::new();
        let (mut end, mut bad) = (0, None);
        for line in lines.split_inclusive(|&b| b == b'\n') {
            match codec.parse_line(line.strip_suffix(b"\n").unwrap_or(line)) {
                Ok(entry) => values.push(entry),
                Err(error) => {
                    bad = Some(error);
                    break;
                }
            }
            end += line.len();
            ends.push(end);
        }
        let (stored, outcome) = match series {
            AnySeries::Fixed(series) => {
                let block_size = series.block_size();
                let mut packed = Vec::with_capacity(values.len() * (TIMESTAMP_BYTES + block_size));
                for (timestamp, value) in &values {
                    packed.extend_from_slice(&timestamp.0.to_le_bytes());
                    packed.extend_from_slice(value);
                    packed.resize(packed.len() + block_size.saturating_sub(value.len()), 0);
                }
                series.append_records(&packed)
            }
            AnySeries::Varlen(series) => series.append_all(values.iter().map(|(t, v)| (*t, v.as_slice()))),
        };
        let committed = stored
            .checked_sub(1)
            .and_then(|last| ends.get(last))
            .copied()
            .unwrap_or(0);
        let outcome = outcome.map_err(Refusal::from);
        (committed, outcome.and(bad.map_or(Ok(()), |error| Err(error.into()))))
    }
}

fn commit_records(series: &Series, records: &[u8]) -> (usize, Result<()>) {
    let (stored, outcome) = series.append_records(records);
    (
        stored * (TIMESTAMP_BYTES + series.block_size()),
        outcome.map_err(Refusal::from),
    )
}

fn commit_varlen(series: &VarlenSeries, records: &[u8]) -> (usize, Result<()>) {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some((_, value)) = varlen_range(records, at) {
        at = value.end;
        ends.push(at);
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let values = starts
        .filter_map(|start| varlen_range(records, start))
        .map(|(t, value)| (t, &records[value]));
    let (stored, outcome) = series.append_all(values);
    let committed = stored
        .checked_sub(1)
        .and_then(|last| ends.get(last))
        .copied()
        .unwrap_or(0);
    (committed, outcome.map_err(Refusal::from))
}
