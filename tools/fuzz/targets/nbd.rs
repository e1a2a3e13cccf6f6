//! Fuzzes what an NBD client sends: option data and the heads of requests, in each dialect.
//!
//! What is taken must be no more than what was sent; a head that is taken has its dialect's magic number.
#![no_main]

use headstack::nbd::protocol::{
    STRING_MAX_BYTES,
    handshake::{Choice, ContextQuery},
    transmission::{Dialect, Request},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(choice) = Choice::decode(bytes) {
        assert_eq!(choice.name.len() + 2 * choice.wanted.len() + 6, bytes.len());
        assert!(choice.name.len() <= STRING_MAX_BYTES);
    }
    if let Ok(query) = ContextQuery::decode(bytes) {
        let strings: usize = query.queries.iter().map(|query| query.len() + 4).sum();
        assert_eq!(query.name.len() + 8 + strings, bytes.len());
    }
    for dialect in [Dialect::Simple, Dialect::Structured, Dialect::Extended] {
        match Request::decode(dialect, bytes) {
            Ok(taken) => assert_eq!(taken.is_some(), bytes.len() >= dialect.request_bytes()),
            Err(bad) => assert_eq!(bad.found.to_be_bytes(), bytes[..4]),
        }
    }
});
