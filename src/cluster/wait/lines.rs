//! A watch's body, line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

/// The most that one line may have. An event holds one object, of which the store takes a few megabytes.
const LONGEST: usize = 64 << 20;

pub(super) struct Lines<B> {
    body: B,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line's end.
    searched: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Lines<B> {
    pub fn of(body: B) -> Lines<B> {
        Lines { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// `None` at the end of the watch. A broken one, or one that sends no events, ends like any other: the caller looks
    /// again.
    pub async fn next(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                return Some(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LONGEST {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_are_sent() {
        let frames = ["{\"a\":", "1}\n{\"b\"", ":2}\n\n{", "\"c\":3}"];
        let frames = frames.map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
        let mut lines = Lines::of(StreamBody::new(stream::iter(frames)));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            found.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(found, ["{\"a\":1}\n", "{\"b\":2}\n", "\n"]);
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_given_up() {
        const PIECE: usize = 1 << 20;
        let (piece, sent) = (Bytes::from(vec![b'x'; PIECE]), AtomicUsize::new(0));
        let frames = std::iter::repeat_n(piece, 100).map(|piece| {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(piece))
        });
        assert_eq!(Lines::of(StreamBody::new(stream::iter(frames))).next().await, None);
        assert_eq!(sent.load(Ordering::Relaxed), LONGEST / PIECE + 1);
    }
}
