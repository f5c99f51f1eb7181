//! Random but legal HTTP/1.x conversations.
//!
//! A conversation is kept in its parts, so that a failing one can be made smaller part by part; [`Conversation::script`]
//! makes the two byte streams of it, and says which byte of one way must wait for which of the other.

mod conversation;
mod message;
mod script;

pub use conversation::{Conversation, Finish, Pair};
pub use message::{Body, Chunk, Message};
pub use script::{Script, Side};

/// What is legal and seldom met. Each can be left out, so that the rest is still held against readers that do not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oddities {
    /// `Content-Length` twice, with the same number (RFC 9110, 8.6).
    pub equal_lengths: bool,
    /// Empty lines before the first request of a connection (RFC 9112, 2.2).
    pub empty_lines_first: bool,
    /// Empty lines before later requests.
    pub empty_lines: bool,
    /// Methods of more than 15 letters, two of which are registered.
    pub long_methods: bool,
    /// Blanks behind values, and more than one before an id (RFC 9112, 5.1).
    pub blanks_behind: bool,
    /// Fields whose names begin like that of our id or of a coding.
    pub like_id: bool,
    /// Chunk extensions of some hundred bytes (RFC 9112, 7.1.1).
    pub long_extensions: bool,
    /// Many chunks in a body whose size lines are not plain digits.
    pub many_extensions: bool,
    /// Fields and targets of more than 1,500 bytes.
    pub long_lines: bool,
    /// A FIN that arrives before bytes in front of it.
    pub hasty_fin: bool,
    /// Methods that begin like the name of the protocol.
    pub methods_like_http: bool,
    /// Several requests that are never answered.
    pub many_unanswered: bool,
}

impl Oddities {
    /// The longest line.
    pub(crate) fn longest(self) -> usize {
        if self.long_lines { 6000 } else { 1500 }
    }

    /// All of them.
    pub const ALL: Self = Self {
        equal_lengths: true,
        empty_lines_first: true,
        empty_lines: true,
        long_methods: true,
        blanks_behind: true,
        like_id: true,
        long_extensions: true,
        many_extensions: true,
        long_lines: true,
        hasty_fin: true,
        methods_like_http: true,
        many_unanswered: true,
    };
}
