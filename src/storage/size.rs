//! Numbers of bytes as people write them: digits, with a binary unit K, M, G or T of either case.
//!
//! For arguments, faults and whatever else takes a size as a word. What a size is for, and how large it may be, is not known
//! here.

/// Why a word is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSize {
    /// It is written otherwise.
    #[error("a size is a number of bytes, or one followed by K, M, G or T")]
    Malformed,
    /// It has more than 64 bits.
    #[error("the size is too large")]
    TooLarge,
}

/// Reads a number of bytes.
///
/// # Errors
/// [`NoSize`] says what is wrong with it.
pub fn parse(text: &str) -> Result<u64, NoSize> {
    let unit = text
        .char_indices()
        .last()
        .and_then(|(i, c)| Some((i, "KMGT".find(c.to_ascii_uppercase())?)));
    let (digits, shift) = match unit {
        Some((i, power)) => (&text[..i], 10 * (power + 1)),
        None => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoSize::Malformed);
    }
    let number: u64 = digits.parse().map_err(|_| NoSize::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(NoSize::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::{NoSize, parse};

    #[test]
    fn sizes_take_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("4K", 4096),
            ("4k", 4096),
            ("1M", 1 << 20),
            ("3G", 3 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "+1", "1.5M", "1KB", "1 K", "ż"] {
            assert_eq!(parse(text), Err(NoSize::Malformed), "{text:?}");
        }
        for text in ["99999999999999999999", "99999999999T"] {
            assert_eq!(parse(text), Err(NoSize::TooLarge), "{text:?}");
        }
    }
}
