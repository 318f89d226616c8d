//! The tokens of sends, by which a send that is repeated is recognised for a while.
//!
//! A token is kept beside its messages, not with them: it outlives a message that was consumed, and
//! keeps no body.

use crate::{
    id::Sequence,
    limits,
    moment::Moment,
    sorted::{SortedMap, by_value},
    time::Timestamp,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// By the first message: in the order of sending, in which they end.
    by_message: SortedMap<Sequence, Sent>,
    by_token: SortedMap<[u8; 16], Sequence>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    token: [u8; 16],
    at: Moment,
    messages: u8,
}

/// A send that had a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenSend {
    pub(super) token: [u8; 16],
    /// The first of its messages; the others follow it in the same entry.
    pub(super) first: Sequence,
    pub(super) messages: u8,
    pub(super) at: Timestamp,
}

impl TokenSend {
    /// From when on the token is as good as new.
    fn ends(&self) -> Timestamp {
        self.at + limits::TOKEN_WINDOW
    }

    /// When it is forgotten: at a whole second, so that one entry forgets those of a second instead of
    /// many an entry one each.
    fn forgotten(&self) -> Timestamp {
        Timestamp(self.ends().0.next_multiple_of(1000))
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = Sequence> + use<> {
        let (index, first) = (self.first.index(), self.first.ordinal());
        let ordinals = first..first + u32::from(self.messages);
        ordinals.map(move |ordinal| Sequence::new(index, ordinal))
    }
}

impl Tokens {
    pub(super) fn len(&self) -> usize {
        self.by_message.len()
    }

    pub(super) fn knows(&self, token: [u8; 16]) -> bool {
        self.by_token.contains(&token)
    }

    /// The send that had this token, unless its time is up.
    pub(super) fn find(&self, token: [u8; 16], now: Timestamp) -> Option<TokenSend> {
        let first = self.by_token.get(&token)?;
        let send = unpack((*first, *self.by_message.get(first)?));
        (now < send.ends()).then_some(send)
    }

    /// Remembers a send, in the place of an older one with the same token. Its messages come after
    /// those of all others.
    pub(super) fn add(&mut self, send: TokenSend) {
        if let Some(old) = self.by_token.remove(&send.token) {
            self.by_message.remove(&old);
        }
        self.by_token.insert(send.token, send.first);
        let sent = Sent {
            token: send.token,
            at: send.at.into(),
            messages: send.messages,
        };
        self.by_message.insert(send.first, sent);
    }

    /// When the oldest is forgotten.
    pub(super) fn first_end(&self) -> Option<Timestamp> {
        Some(unpack(by_value(self.by_message.first()?)).forgotten())
    }

    pub(super) fn forget_first(&mut self) {
        if let Some((_, sent)) = self.by_message.pop_first() {
            self.by_token.remove(&sent.token);
        }
    }

    /// In the order of sending.
    pub(super) fn iter(&self) -> impl Iterator<Item = TokenSend> {
        self.by_message.iter().map(by_value).map(unpack)
    }

    /// For tests: each token stands in both orders.
    ///
    /// # Panics
    /// If not.
    pub(super) fn check(&self) {
        let mut latest = Timestamp(0);
        for send in self.iter() {
            assert_eq!(self.by_token.get(&send.token), Some(&send.first));
            assert!(latest <= send.at, "tokens do not end in their order");
            latest = send.at;
        }
        assert_eq!(self.by_message.len(), self.by_token.len());
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_message.memory_bytes() + self.by_token.memory_bytes()
    }
}

fn unpack((first, sent): (Sequence, Sent)) -> TokenSend {
    TokenSend {
        token: sent.token,
        first,
        messages: sent.messages,
        at: sent.at.into(),
    }
}
