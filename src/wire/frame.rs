//! Frames: a length (4 bytes, big endian), then so many bytes of one MessagePack value.
//!
//! A reader gives nobody more memory than was really sent, and nobody more time than agreed: a frame that was begun must
//! be finished soon, however slowly its bytes drip.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::codec::{self, DecodeError};

/// The bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// So much room for a frame is made before it comes.
const ANNOUNCED_BYTES_MAX: usize = 1 << 13;

/// What one read may take off a socket, which is many small frames, or the beginning of a large one.
pub(crate) const READ_BYTES: usize = 1 << 13;

/// What a reader grants to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest frame, in bytes, its length not counted.
    pub bytes_max: usize,
    /// How long to wait for the length of the next frame.
    pub idle: Duration,
    /// How long the rest of a frame may take from then on.
    pub finish: Duration,
}

/// Why there is no next frame. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("the connection was closed")]
    Closed,
    /// It broke, or ended inside of a frame.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    /// A frame was begun and not finished in time.
    #[error("a frame was begun and not finished within {0:?}")]
    Slow(Duration),
    /// A frame of that many bytes is announced.
    #[error("a frame of {bytes} bytes is announced, {max} are allowed")]
    TooLong {
        /// As announced.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The frame holds something else than what is expected here.
    #[error("a frame is not understood: {0}")]
    Malformed(#[from] DecodeError),
}

/// Reads the bytes of the next frame.
///
/// # Errors
/// All of [`FrameError`] but [`FrameError::Malformed`].
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin), limits: &FrameLimits) -> Result<Vec<u8>, FrameError> {
    let FrameLimits { bytes_max, idle, finish } = *limits;
    let mut length = [0; LENGTH_BYTES];
    timeout(idle, read_length(from, &mut length)).await.map_err(|_| FrameError::Idle(idle))??;
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(FrameError::TooLong { bytes, max: bytes_max });
    }
    // Grows with what comes: an announced length alone takes no memory to speak of.
    let mut frame = Vec::with_capacity(bytes.min(ANNOUNCED_BYTES_MAX));
    let mut rest = from.take(bytes as u64);
    timeout(finish, rest.read_to_end(&mut frame)).await.map_err(|_| FrameError::Slow(finish))??;
    if frame.len() < bytes {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(frame)
}

async fn read_length(from: &mut (impl AsyncRead + Unpin), length: &mut [u8; LENGTH_BYTES]) -> Result<(), FrameError> {
    if from.read(&mut length[..1]).await? == 0 {
        return Err(FrameError::Closed);
    }
    from.read_exact(&mut length[1..]).await?;
    Ok(())
}

/// Reads and decodes the next frame.
///
/// # Errors
/// [`FrameError`].
pub async fn read_value<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    limits: &FrameLimits,
) -> Result<T, FrameError> {
    Ok(codec::decode(&read_frame(from, limits).await?)?)
}

/// The whole frame that holds `value`.
pub fn frame_of<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH_BYTES];
    codec::encode_into(&mut bytes, value);
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).expect("values are bounded far below 4 GiB");
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Encodes `value` and writes it as one frame.
///
/// # Errors
/// What the connection says.
pub async fn write_frame<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    to.write_all(&frame_of(value)).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits =
        FrameLimits { bytes_max: 64, idle: Duration::from_secs(60), finish: Duration::from_secs(5) };

    #[tokio::test]
    async fn frames_follow_each_other_until_the_connection_is_closed() {
        let mut bytes = frame_of(&"one");
        bytes.extend(frame_of(&"two"));
        let mut from = &bytes[..];
        assert_eq!(read_value::<String>(&mut from, &LIMITS).await.unwrap(), "one");
        assert_eq!(read_value::<String>(&mut from, &LIMITS).await.unwrap(), "two");
        assert!(matches!(read_frame(&mut from, &LIMITS).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
        let mut from = &[0xff, 0xff, 0xff, 0xff][..];
        let error = read_frame(&mut from, &LIMITS).await.unwrap_err();
        assert!(matches!(error, FrameError::TooLong { bytes: 0xffff_ffff, max: 64 }), "{error}");
    }

    #[tokio::test]
    async fn a_frame_that_ends_early_is_a_broken_connection() {
        let bytes = frame_of(&"something");
        for cut in 1..bytes.len() {
            let error = read_frame(&mut &bytes[..cut], &LIMITS).await.unwrap_err();
            assert!(matches!(error, FrameError::Io(_)), "{cut}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_silence_nor_one_byte_a_second_holds_a_connection_for_long() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let silent = read_frame(&mut server, &LIMITS).await.unwrap_err();
        assert!(matches!(silent, FrameError::Idle(_)), "{silent}");
        let drip = tokio::spawn(async move {
            for byte in frame_of(&"0123456789") {
                client.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            client
        });
        let slow = read_frame(&mut server, &LIMITS).await.unwrap_err();
        assert!(matches!(slow, FrameError::Slow(_)), "{slow}");
        drop(server);
        drip.abort();
    }
}
