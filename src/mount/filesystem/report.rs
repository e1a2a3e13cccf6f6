//! The text of `stats` and `.stats`.
//!
//! `stats` is `key value` lines that change with the series alone, so that its size can be told beforehand; `.stats`
//! is Prometheus' text format.

use std::fmt::Write;

use super::Filesystem;
use crate::{
    mount::{errno::Result, view::SeriesView},
    series::{AnyContents, AnySeries},
};

impl Filesystem {
    /// `stats` of one series: `key value` lines that change with the series, not with being looked at.
    pub(super) fn series_report(&self, view: &SeriesView) -> Result<String> {
        let mut out = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{key} {value}");
        };
        line("id", &view.node().id.0);
        line("entries", &view.entries()?);
        let range = match view.contents() {
            AnyContents::Fixed(contents) => (contents.chunk_names().first().copied(), contents.last_timestamp()?),
            AnyContents::Varlen(contents) => (
                contents.root().chunk_names().first().copied(),
                contents.last_timestamp()?,
            ),
        };
        if let (Some(first), Some(last)) = range {
            line("first_timestamp", &first);
            line("last_timestamp", &last);
        }
        line("last_entry_synced", &view.last_entry_synced());
        match view.contents() {
            AnyContents::Fixed(contents) => {
                let parameters = contents.parameters();
                line("kind", &"fixed");
                line("block_size", &parameters.block_size);
                line("entries_per_chunk", &parameters.entries_per_chunk);
                line("page_size", &parameters.page_size);
                line("chunks", &contents.chunk_count());
            }
            AnyContents::Varlen(contents) => {
                let parameters = contents.parameters();
                let profile: Vec<String> = parameters.length_profile.iter().map(u32::to_string).collect();
                line("kind", &"varlen");
                line("length_profile", &profile.join(","));
                line("size_struct", &parameters.size_struct);
                line("entries_per_chunk", &parameters.entries_per_chunk);
                line("maximum_length", &contents.maximum_length());
                line("chunks", &contents.root().chunk_count());
                line("parts", &contents.parts().len());
            }
        }
        line("format", &view.codec().format());
        line("allocated_bytes", &view.allocated_bytes()?);
        if let Some(series) = view.live() {
            let by_descriptor = match series {
                AnySeries::Fixed(series) => series.descriptor_based_access(),
                AnySeries::Varlen(series) => series.descriptor_based_access(),
            };
            line("access", &if by_descriptor { "descriptor" } else { "mmap" });
            line("held_fragments", &view.held_fragments());
        }
        line("reads", &if self.passthrough() { "passthrough" } else { "cached" });
        Ok(out)
    }

    /// `.stats`: counts of the whole mount in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let engine = self.database.statistics();
        let of = |number: usize| number as u64;
        let mut text = self.counters.render(&[
            ("nodes", "Nodes that the kernel holds.", of(self.nodes.len())),
            ("open_files", "Open files and directories.", of(self.handles.len())),
            ("open_series", "Series that are open.", of(engine.open_series)),
            ("open_chunks", "Closed chunks that are open.", of(engine.open_chunks)),
            (
                "open_writers",
                "Last chunks that are open for appending.",
                of(engine.open_writers),
            ),
            ("mapped_bytes", "Bytes of mapped closed chunks.", engine.mapped_bytes),
            ("appended_entries", "Entries appended since mounting.", engine.appended),
            ("recoveries", "Repairs since mounting.", of(engine.recovered.len())),
            (
                "passthrough",
                "1 where the kernel reads closed chunks by itself.",
                u64::from(self.passthrough()),
            ),
        ]);
        if let Some(more) = self.more_metrics.get() {
            text.push_str(&(more.0)());
        }
        text
    }
}
