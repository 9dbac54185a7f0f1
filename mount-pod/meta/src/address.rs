//! What the URLs of several engines have in common.

use carafe_types::Secret;
use percent_encoding::percent_decode_str;

/// The password that stands apart (`META_PASSWORD`) goes above the URL's.
pub(crate) fn given(apart: Option<&Secret>, in_url: Option<String>) -> Option<Secret> {
    apart
        .filter(|password| !password.is_empty())
        .cloned()
        .or_else(|| in_url.map(Secret::new))
}

/// Undoes `%41`.
pub(crate) fn percent(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
