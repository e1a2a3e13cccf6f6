//! The handshake: which export a client wants, in which dialect, with or without TLS.
//!
//! [`Negotiation`] answers one option after the other and does no I/O; [`greet`] and [`negotiate`] move the bytes. What
//! both sides agreed on is an [`Agreement`], with which the transmission begins.

use std::{sync::Arc, time::Instant};

use zerocopy::{FromZeros, IntoBytes};

use super::{
    exports::{Context, Export, Exports},
    protocol::{
        handshake::{self, Choice, ContextQuery, Greeting, Malformed, OPTION_MAGIC, OptionHeader},
        handshake_flag, info, option, option_reply,
        transmission::Dialect,
    },
    tls::Tls,
    transport::{Lost, Stream},
};

/// Longest data of an option that are looked at, in bytes.
const OPTION_MAX_BYTES: u32 = 64 << 10;
/// Longest data of an option that are skipped, in bytes; who announces more is cut off.
const SKIP_MAX_BYTES: u32 = 1 << 20;
/// Options that a client may send; who sends more is cut off.
const OPTIONS_MAX: usize = 4096;

/// What both sides agreed on.
pub(super) struct Agreement {
    pub(super) export: Arc<Export>,
    /// Size that the client was told.
    pub(super) size_bytes: u64,
    pub(super) dialect: Dialect,
    pub(super) contexts: Vec<Context>,
}

/// What comes after an option.
pub(super) enum Next {
    /// Another option.
    Option,
    /// TLS, then another option.
    StartTls,
    /// The transmission.
    Transmit(Agreement),
    /// Nothing: the session is over.
    End,
}

/// State of one handshake.
pub(super) struct Negotiation<'a> {
    exports: &'a Exports,
    tls: &'a Tls,
    maximum_request_bytes: u32,
    fixed: bool,
    no_zeroes: bool,
    secure: bool,
    dialect: Dialect,
    /// Contexts that were chosen, and the export that they were chosen for.
    contexts: Option<(String, Vec<Context>)>,
}

impl<'a> Negotiation<'a> {
    /// Begins with the client's flags; none where they are not those of a client that speaks newstyle.
    pub(super) fn new(exports: &'a Exports, tls: &'a Tls, maximum_request_bytes: u32, flags: u32) -> Option<Self> {
        let known = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        if flags & !u32::from(known) != 0 {
            return None;
        }
        Some(Self {
            exports,
            tls,
            maximum_request_bytes,
            fixed: flags & u32::from(handshake_flag::FIXED_NEWSTYLE) != 0,
            no_zeroes: flags & u32::from(handshake_flag::NO_ZEROES) != 0,
            secure: false,
            dialect: Dialect::Simple,
            contexts: None,
        })
    }

    /// Answers one option; replies are appended to `out`.
    pub(super) fn answer(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        if option == option::ABORT {
            handshake::reply(out, option, option_reply::ACK, &[]);
            return Next::End;
        }
        if self.tls.is_required() && !self.secure && option != option::STARTTLS {
            if option == option::EXPORT_NAME {
                return Next::End;
            }
            return refuse(out, option, option_reply::ERR_TLS_REQD, "this server speaks TLS only");
        }
        let answered = match option {
            option::EXPORT_NAME => return self.export_name(data, out),
            option::LIST => self.list(data, out),
            option::STARTTLS => return self.start_tls(data, out),
            option::INFO | option::GO => return self.go(option, data, out),
            option::STRUCTURED_REPLY => {
                if self.dialect == Dialect::Extended {
                    let kind = option_reply::ERR_EXT_HEADER_REQD;
                    return refuse(out, option, kind, "extended headers are in force already");
                }
                self.speak(Dialect::Structured, option, data, out)
            }
            option::EXTENDED_HEADERS => self.speak(Dialect::Extended, option, data, out),
            option::LIST_META_CONTEXT => self.list_contexts(data, out),
            option::SET_META_CONTEXT => self.set_contexts(data, out),
            _ => return refuse(out, option, option_reply::ERR_UNSUP, "unknown option"),
        };
        match answered {
            Ok(next) => next,
            Err(Malformed(reason)) => refuse(out, option, option_reply::ERR_INVALID, reason),
        }
    }

    /// All that was agreed on before TLS is forgotten with it.
    pub(super) fn became_secure(&mut self) {
        self.secure = true;
        self.dialect = Dialect::Simple;
        self.contexts = None;
    }

    fn export_name(&mut self, data: &[u8], out: &mut Vec<u8>) -> Next {
        // This option cannot be refused but by hanging up, and knows no extended headers.
        let export = handshake::string(data).ok().and_then(|name| self.exports.find(name));
        let Some(export) = export.filter(|_| self.dialect != Dialect::Extended) else {
            return Next::End;
        };
        let agreement = self.agree(export);
        let flags = agreement.export.flags(self.dialect, !agreement.contexts.is_empty());
        handshake::reply_export_name(out, agreement.size_bytes, flags, !self.no_zeroes);
        Next::Transmit(agreement)
    }

    fn list(&self, data: &[u8], out: &mut Vec<u8>) -> Result<Next, Malformed> {
        nothing_in(data)?;
        for export in self.exports.list() {
            handshake::reply_server(out, option::LIST, export.name(), export.description());
        }
        handshake::reply(out, option::LIST, option_reply::ACK, &[]);
        Ok(Next::Option)
    }

    fn start_tls(&mut self, data: &[u8], out: &mut Vec<u8>) -> Next {
        let (kind, reason) = if !self.tls.is_offered() {
            (option_reply::ERR_POLICY, "this server has no TLS")
        } else if !self.fixed {
            (option_reply::ERR_POLICY, "TLS needs fixed newstyle")
        } else if self.secure {
            (option_reply::ERR_INVALID, "TLS is in force already")
        } else if !data.is_empty() {
            (option_reply::ERR_INVALID, "the option has no data")
        } else {
            handshake::reply(out, option::STARTTLS, option_reply::ACK, &[]);
            return Next::StartTls;
        };
        refuse(out, option::STARTTLS, kind, reason)
    }

    fn speak(&mut self, dialect: Dialect, option: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Next, Malformed> {
        nothing_in(data)?;
        self.dialect = dialect;
        handshake::reply(out, option, option_reply::ACK, &[]);
        Ok(Next::Option)
    }

    fn go(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        let choice = match Choice::decode(data) {
            Ok(choice) => choice,
            Err(Malformed(reason)) => return refuse(out, option, option_reply::ERR_INVALID, reason),
        };
        let Some(export) = self.exports.find(choice.name) else {
            return refuse(out, option, option_reply::ERR_UNKNOWN, &self.unknown(choice.name));
        };
        let agreement = self.agree(export);
        let export = &agreement.export;
        let flags = export.flags(self.dialect, !agreement.contexts.is_empty());
        let maximum = self.maximum_request_bytes;
        let preferred = export.preferred_block_bytes(maximum);
        handshake::reply_info_export(out, option, agreement.size_bytes, flags);
        handshake::reply_info_block_size(out, option, export.minimum_block_bytes(), preferred, maximum);
        if choice.wanted.contains(&info::NAME) {
            handshake::reply_info_text(out, option, info::NAME, export.name());
        }
        if choice.wanted.contains(&info::DESCRIPTION) && !export.description().is_empty() {
            handshake::reply_info_text(out, option, info::DESCRIPTION, export.description());
        }
        handshake::reply(out, option, option_reply::ACK, &[]);
        if option == option::GO {
            Next::Transmit(agreement)
        } else {
            Next::Option
        }
    }

    fn list_contexts(&self, data: &[u8], out: &mut Vec<u8>) -> Result<Next, Malformed> {
        let option = option::LIST_META_CONTEXT;
        let query = ContextQuery::decode(data)?;
        check_queries(&query)?;
        if self.exports.find(query.name).is_none() {
            return Ok(refuse(
                out,
                option,
                option_reply::ERR_UNKNOWN,
                &self.unknown(query.name),
            ));
        }
        for context in Context::ALL {
            let matches = |wanted: &&str| {
                let namespace = context.name().split_once(':').map_or("", |(space, _)| space);
                *wanted == context.name() || wanted.strip_suffix(':') == Some(namespace)
            };
            if query.queries.is_empty() || query.queries.iter().any(matches) {
                handshake::reply_context(out, option, 0, context.name());
            }
        }
        handshake::reply(out, option, option_reply::ACK, &[]);
        Ok(Next::Option)
    }

    fn set_contexts(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Next, Malformed> {
        let option = option::SET_META_CONTEXT;
        // A choice that fails takes the earlier one with it.
        self.contexts = None;
        let query = ContextQuery::decode(data)?;
        check_queries(&query)?;
        if self.dialect == Dialect::Simple {
            return Err(Malformed("contexts need structured replies"));
        }
        let Some(export) = self.exports.find(query.name) else {
            return Ok(refuse(
                out,
                option,
                option_reply::ERR_UNKNOWN,
                &self.unknown(query.name),
            ));
        };
        let mut chosen = Context::ALL.to_vec();
        chosen.retain(|context| query.queries.contains(&context.name()));
        for context in &chosen {
            handshake::reply_context(out, option, context.id(), context.name());
        }
        handshake::reply(out, option, option_reply::ACK, &[]);
        self.contexts = Some((export.name().to_owned(), chosen));
        Ok(Next::Option)
    }

    fn agree(&self, export: Arc<Export>) -> Agreement {
        let chosen = self.contexts.as_ref().filter(|(name, _)| name == export.name());
        Agreement {
            size_bytes: export.size_bytes(),
            dialect: self.dialect,
            contexts: chosen.map(|(_, contexts)| contexts.clone()).unwrap_or_default(),
            export,
        }
    }

    fn unknown(&self, name: &str) -> String {
        match (name, self.exports.list().len()) {
            (_, 0) => "nothing is exported".to_owned(),
            ("", several) => format!("there are {several} exports and none is the default: give a name"),
            (name, _) => format!("no export is named {name:?}"),
        }
    }
}

fn refuse(out: &mut Vec<u8>, option: u32, kind: u32, reason: &str) -> Next {
    let end = reason.floor_char_boundary(super::protocol::STRING_MAX_BYTES);
    handshake::reply(out, option, kind, &[&reason.as_bytes()[..end]]);
    Next::Option
}

fn nothing_in(data: &[u8]) -> Result<(), Malformed> {
    if data.is_empty() {
        Ok(())
    } else {
        Err(Malformed("the option has no data"))
    }
}

fn check_queries(query: &ContextQuery<'_>) -> Result<(), Malformed> {
    if query.queries.iter().all(|query| query.contains(':')) {
        Ok(())
    } else {
        Err(Malformed("a context's name has a colon"))
    }
}

/// Sends the greeting and reads the client's flags.
fn greet(stream: &Stream, until: Instant) -> Result<u32, Lost> {
    let greeting = Greeting::new(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
    stream.send_all(greeting.as_bytes(), until)?;
    let mut flags = [0; 4];
    stream.receive_exact(&mut flags, until)?;
    Ok(u32::from_be_bytes(flags))
}

/// Leads the handshake until the transmission or the session's end; none where it ends in good order.
///
/// # Errors
/// [`Lost`] where the client is gone, breaks the protocol, or is not done before `until`.
pub(super) fn negotiate(
    stream: &mut Stream,
    exports: &Exports,
    tls: &Tls,
    maximum_request_bytes: u32,
    until: Instant,
) -> Result<Option<Agreement>, Lost> {
    let flags = greet(stream, until)?;
    let mut negotiation = Negotiation::new(exports, tls, maximum_request_bytes, flags).ok_or(Lost::Protocol(
        "its flags are not those of newstyle; an oldstyle client?",
    ))?;
    let mut out = Vec::new();
    for _ in 0..OPTIONS_MAX {
        let mut header = OptionHeader::new_zeroed();
        stream.receive_exact(header.as_mut_bytes(), until)?;
        if header.magic.get() != OPTION_MAGIC {
            return Err(Lost::Protocol("an option without its magic number"));
        }
        let option = header.option.get();
        let next = match receive_data(stream, header.length.get(), until)? {
            Some(data) => negotiation.answer(option, &data, &mut out),
            None if option == option::EXPORT_NAME => return Err(Lost::Protocol("an endless export name")),
            None => refuse(&mut out, option, option_reply::ERR_TOO_BIG, "the option is too long"),
        };
        stream.send_all(&out, until)?;
        out.clear();
        match next {
            Next::Option => {}
            Next::StartTls => {
                stream.start_tls(tls)?;
                negotiation.became_secure();
            }
            Next::Transmit(agreement) => return Ok(Some(agreement)),
            Next::End => return Ok(None),
        }
    }
    Err(Lost::Protocol("too many options"))
}

/// An option's data; none where they are too long and were skipped.
fn receive_data(stream: &Stream, length: u32, until: Instant) -> Result<Option<Vec<u8>>, Lost> {
    if length > SKIP_MAX_BYTES {
        return Err(Lost::Protocol("an endless option"));
    }
    let keep = length <= OPTION_MAX_BYTES;
    let mut left = usize::try_from(length).map_err(|_| Lost::Protocol("an endless option"))?;
    let mut data = vec![0; left.min(OPTION_MAX_BYTES as usize)];
    while left > 0 {
        let part = left.min(data.len());
        stream.receive_exact(&mut data[..part], until)?;
        left -= part;
    }
    Ok(keep.then_some(data))
}

#[cfg(test)]
mod tests;
