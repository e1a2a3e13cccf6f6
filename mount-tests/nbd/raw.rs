//! A client that sends bytes made by hand: what no decent client does, and what no peer here can do.
//!
//! Numbers are those of the protocol document, not the server's constants.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
};

use super::fixture::{LIMIT, Served};

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISC: u16 = 2;
pub const FLUSH: u16 = 3;
pub const RESIZE: u16 = 8;
pub const BLOCK_STATUS: u16 = 7;

/// A connection whose bytes are made by hand.
pub struct Raw {
    stream: UnixStream,
}

/// One chunk of an extended reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub flags: u16,
    pub kind: u16,
    pub cookie: u64,
    pub offset: u64,
    pub payload: Vec<u8>,
}

impl Raw {
    pub fn connect(served: &Served) -> Self {
        Self::connect_to(&served.socket())
    }

    fn connect_to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self { stream }
    }

    /// Reads the greeting and sends the flags of fixed newstyle without zeros.
    pub fn greeted(served: &Served) -> Self {
        Self::connect(served).greet()
    }

    fn greet(mut self) -> Self {
        assert_eq!(self.take(18), b"NBDMAGICIHAVEOPT\0\x03");
        self.send(&[0, 0, 0, 3]);
        self
    }

    /// In the transmission, with simple replies.
    pub fn simple(served: &Served) -> Self {
        Self::greeted(served).choose(b"disk")
    }

    /// The same with another server's export.
    pub fn simple_to(socket: &Path, export: &[u8]) -> Self {
        Self::connect_to(socket).greet().choose(export)
    }

    fn choose(mut self, export: &[u8]) -> Self {
        self.option(1, export);
        self.take(10);
        self
    }

    /// In the transmission, with extended headers and the context `base:allocation`.
    pub fn extended(served: &Served) -> Self {
        let mut raw = Self::greeted(served);
        raw.option(11, b"");
        assert_eq!(raw.option_reply(), (11, 1, Vec::new()));
        raw.option(10, b"\0\0\0\x04disk\0\0\0\x01\0\0\0\x0fbase:allocation");
        assert_eq!(raw.option_reply(), (10, 4, b"\0\0\0\x01base:allocation".to_vec()));
        assert_eq!(raw.option_reply(), (10, 1, Vec::new()));
        raw.option(7, b"\0\0\0\x04disk\0\0");
        while raw.option_reply().1 != 1 {}
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the server takes before it hangs up.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything until the server hangs up.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        bytes
    }

    pub fn send_no_more(&mut self) {
        // The server may have hung up already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn option(&mut self, option: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let head = [&b"IHAVEOPT"[..], &option.to_be_bytes(), &length.to_be_bytes()].concat();
        self.send(&[&head, data].concat());
    }

    /// Option, kind and data of one reply.
    pub fn option_reply(&mut self) -> (u32, u32, Vec<u8>) {
        let head = self.take(20);
        assert_eq!(head[..8], [0, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]);
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        (number(8), number(12), self.take(number(16) as usize))
    }

    pub fn request(&mut self, flags: u16, command: u16, cookie: u64, offset: u64, length: u32) {
        self.send(&request(flags, command, cookie, offset, length));
    }

    /// Cookie and error of one simple reply.
    pub fn reply(&mut self) -> (u64, u32) {
        let head = self.take(16);
        assert_eq!(head[..4], [0x67, 0x44, 0x66, 0x98]);
        let error = u32::from_be_bytes(head[4..8].try_into().unwrap());
        (u64::from_be_bytes(head[8..].try_into().unwrap()), error)
    }

    pub fn extended_request(&mut self, flags: u16, command: u16, cookie: u64, offset: u64, length: u64) {
        let mut head = vec![0x21, 0xe4, 0x1c, 0x71];
        head.extend(flags.to_be_bytes());
        head.extend(command.to_be_bytes());
        head.extend(cookie.to_be_bytes());
        head.extend(offset.to_be_bytes());
        head.extend(length.to_be_bytes());
        self.send(&head);
    }

    pub fn chunk(&mut self) -> Chunk {
        let head = self.take(32);
        assert_eq!(head[..4], [0x6e, 0x8a, 0x27, 0x8c]);
        let long = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().unwrap());
        Chunk {
            flags: u16::from_be_bytes([head[4], head[5]]),
            kind: u16::from_be_bytes([head[6], head[7]]),
            cookie: long(8),
            offset: long(16),
            payload: self.take(usize::try_from(long(24)).unwrap()),
        }
    }
}

/// A request of 28 bytes.
pub fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut head = vec![0x25, 0x60, 0x95, 0x13];
    head.extend(flags.to_be_bytes());
    head.extend(command.to_be_bytes());
    head.extend(cookie.to_be_bytes());
    head.extend(offset.to_be_bytes());
    head.extend(length.to_be_bytes());
    head
}
