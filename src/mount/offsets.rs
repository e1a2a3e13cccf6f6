//! Where the entries of a variable-length series begin in its `raw` and `text` files.
//!
//! A sparse index: the offsets of every [`EVERY`]th entry, so that a size is exact and a read costs a walk over fewer
//! than that many entries and the bytes asked for. It is built in one pass when first needed, extended as the series
//! grows, and thrown away when the series is trimmed. 16 bytes of memory for each [`EVERY`] entries.

/// Entries from one remembered offset to the next.
pub const EVERY: u64 = 128;

/// Which of a series' two contiguous forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Packed records.
    Raw,
    /// Lines.
    Text,
}

/// A place in both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    raw: u64,
    text: u64,
}

impl Mark {
    fn of(self, form: Form) -> u64 {
        match form {
            Form::Raw => self.raw,
            Form::Text => self.text,
        }
    }
}

/// Sparse index of one series.
#[derive(Debug, Default)]
pub struct Offsets {
    marks: Vec<Mark>,
    entries: u64,
    end: Mark,
}

impl Offsets {
    /// How many entries are indexed.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds the next entry, which takes so many bytes in each form.
    pub fn push(&mut self, raw_bytes: u64, text_bytes: u64) {
        if self.entries.is_multiple_of(EVERY) {
            self.marks.push(self.end);
        }
        self.entries += 1;
        self.end.raw += raw_bytes;
        self.end.text += text_bytes;
    }

    /// Bytes of all indexed entries.
    pub fn size_bytes(&self, form: Form) -> u64 {
        self.end.of(form)
    }

    /// The last remembered entry that is not after entry `index`, and where it begins in bytes.
    pub fn before_entry(&self, form: Form, index: u64) -> (u64, u64) {
        if index >= self.entries {
            return (self.entries, self.end.of(form));
        }
        let slot = index / EVERY;
        let mark = usize::try_from(slot)
            .ok()
            .and_then(|i| self.marks.get(i))
            .copied()
            .unwrap_or_default();
        (slot * EVERY, mark.of(form))
    }

    /// The last remembered entry that begins at or before byte `offset`, and where it begins.
    pub fn before_offset(&self, form: Form, offset: u64) -> (u64, u64) {
        if offset >= self.end.of(form) {
            return (self.entries, self.end.of(form));
        }
        let slot = self
            .marks
            .partition_point(|mark| mark.of(form) <= offset)
            .saturating_sub(1);
        let mark = self.marks.get(slot).copied().unwrap_or_default();
        (slot as u64 * EVERY, mark.of(form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_from_the_mark_before_it() {
        let mut offsets = Offsets::default();
        let mut starts = Vec::new();
        for i in 0..1000u64 {
            starts.push((offsets.size_bytes(Form::Raw), offsets.size_bytes(Form::Text)));
            offsets.push(12 + i % 7, 22 + 2 * (i % 7));
        }
        let end = (offsets.size_bytes(Form::Raw), offsets.size_bytes(Form::Text));
        for (form, pick) in [(Form::Raw, 0), (Form::Text, 1)] {
            let start = |i: u64| {
                let (raw, text) = starts.get(usize::try_from(i).unwrap()).copied().unwrap_or(end);
                if pick == 0 { raw } else { text }
            };
            for i in 0..=1000 {
                let (entry, offset) = offsets.before_entry(form, i);
                assert!(entry <= i && i - entry < EVERY);
                assert_eq!(offset, start(entry));
                let (entry, offset) = offsets.before_offset(form, start(i));
                assert!(entry <= i && i - entry < EVERY);
                assert_eq!(offset, start(entry));
            }
        }
    }

    #[test]
    fn an_empty_series_has_no_bytes() {
        let offsets = Offsets::default();
        assert_eq!(offsets.before_entry(Form::Raw, 5), (0, 0));
        assert_eq!(offsets.before_offset(Form::Text, 5), (0, 0));
        assert_eq!(offsets.size_bytes(Form::Raw), 0);
    }
}
