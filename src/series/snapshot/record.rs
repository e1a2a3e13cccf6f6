//! The stored form of one snapshot.
//!
//! Stand-in.

use crate::series::{Damage, Kind, SeriesId, SeriesKey, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// Part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRecord {
    /// .
    pub block_size: u32,
    /// .
    pub page_size: u32,
    /// .
    pub max_entries_per_chunk: u32,
    /// .
    pub first_chunk: Option<Timestamp>,
    /// .
    pub last_chunk: Option<Timestamp>,
    /// .
    pub last_chunk_entries: u32,
}
/// Series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRecord {
    /// .
    pub id: SeriesId,
    /// .
    pub kind: Kind,
    /// .
    pub name: String,
    /// .
    pub parts: Vec<PartRecord>,
    /// .
    pub metadata: String,
}
impl SeriesRecord {
    /// Key.
    pub fn key(&self) -> SeriesKey {
        SeriesKey {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}
/// Snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// .
    pub number: u32,
    /// .
    pub name: String,
    /// .
    pub created: SystemTime,
    /// .
    pub tags: BTreeSet<String>,
    /// .
    pub series: Vec<SeriesRecord>,
}
impl SnapshotRecord {
    /// File.
    pub fn file_name(&self) -> String {
        format!(".headstack.snapshot.{}", self.number)
    }
    /// Needs.
    pub fn needs(&self, id: SeriesId, part: u32, first: Timestamp) -> bool {
        self.series
            .iter()
            .filter(|s| s.id == id)
            .filter_map(|s| s.parts.get(part as usize))
            .any(|p| matches!((p.first_chunk, p.last_chunk), (Some(a), Some(b)) if a <= first && first <= b))
    }
    /// Encode.
    pub fn encode(&self) -> Vec<u8> {
        let d = self
            .created
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        serde_json::to_vec(&json!({"version":1,"number":self.number,"name":self.name,"secs":d.as_secs(),"nanos":d.subsec_nanos(),"tags":self.tags,
          "series": self.series.iter().map(|s| json!({"id":s.id.0,"varlen":s.kind==Kind::Varlen,"name":s.name,"metadata":s.metadata,
            "parts": s.parts.iter().map(|p| json!([p.block_size,p.page_size,p.max_entries_per_chunk,p.first_chunk.map(|t|t.0),p.last_chunk.map(|t|t.0),p.last_chunk_entries])).collect::<Vec<_>>() })).collect::<Vec<_>>() })).unwrap_or_default()
    }
    /// Decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let bad = || Damage::Metadata("snapshot".to_owned());
        let v: Value = serde_json::from_slice(bytes).map_err(|_| bad())?;
        let u = |v: &Value| v.as_u64();
        let mut series = Vec::new();
        for s in v["series"].as_array().ok_or_else(bad)? {
            let mut parts = Vec::new();
            for p in s["parts"].as_array().ok_or_else(bad)? {
                let g = |i: usize| u(&p[i]).and_then(|x| u32::try_from(x).ok()).ok_or_else(bad);
                parts.push(PartRecord {
                    block_size: g(0)?,
                    page_size: g(1)?,
                    max_entries_per_chunk: g(2)?,
                    first_chunk: u(&p[3]).map(Timestamp),
                    last_chunk: u(&p[4]).map(Timestamp),
                    last_chunk_entries: g(5)?,
                });
            }
            series.push(SeriesRecord {
                id: SeriesId(u(&s["id"]).and_then(|x| u32::try_from(x).ok()).ok_or_else(bad)?),
                kind: if s["varlen"] == true { Kind::Varlen } else { Kind::Fixed },
                name: s["name"].as_str().ok_or_else(bad)?.to_owned(),
                metadata: s["metadata"].as_str().ok_or_else(bad)?.to_owned(),
                parts,
            });
        }
        Ok(Self {
            number: u(&v["number"]).and_then(|x| u32::try_from(x).ok()).ok_or_else(bad)?,
            name: v["name"].as_str().ok_or_else(bad)?.to_owned(),
            created: SystemTime::UNIX_EPOCH
                + Duration::new(
                    u(&v["secs"]).ok_or_else(bad)?,
                    u32::try_from(u(&v["nanos"]).ok_or_else(bad)?).map_err(|_| bad())?,
                ),
            tags: v["tags"]
                .as_array()
                .ok_or_else(bad)?
                .iter()
                .filter_map(|t| t.as_str().map(str::to_owned))
                .collect(),
            series,
        })
    }
}
/// Pin.
pub fn pin_name(id: SeriesId, part: u32, first: Timestamp) -> String {
    format!(".headstack.pin.{}.{part}.{first}", id.0)
}
/// Parse.
pub fn parse_pin_name(name: &str) -> Option<(SeriesId, u32, Timestamp)> {
    let mut it = name.strip_prefix(".headstack.pin.")?.split('.');
    Some((
        SeriesId(it.next()?.parse().ok()?),
        it.next()?.parse().ok()?,
        it.next()?.parse().ok()?,
    ))
}
/// Number.
pub fn snapshot_number_of(name: &str) -> Option<u32> {
    name.strip_prefix(".headstack.snapshot.")?.parse().ok()
}
