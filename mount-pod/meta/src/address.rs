//! What the URLs of several engines have in common.

use carafe_types::Secret;

/// The password that stands apart (`META_PASSWORD`) goes above the URL's.
pub(crate) fn given(apart: Option<&Secret>, in_url: Option<String>) -> Option<Secret> {
    apart
        .filter(|password| !password.is_empty())
        .cloned()
        .or_else(|| in_url.map(Secret::new))
}

/// Undoes `%41`.
pub(crate) fn percent(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = if byte == b'%' {
            behind
                .get(..2)
                .and_then(|hex| std::str::from_utf8(hex).ok())
        } else {
            None
        };
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}
