//! The three functions that SCRAM is made of: H, HMAC and Hi, over SHA-256 (RFC 5802 section 2.2, RFC 7677).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Length of a SHA-256 digest, and so of every SCRAM key.
pub(super) const KEY_BYTES: usize = 32;

/// A SCRAM key, signature or proof.
pub(super) type Key = [u8; KEY_BYTES];

/// SHA-256's block, the length up to which HMAC takes a key as it is (RFC 2104).
const BLOCK_BYTES: usize = 64;

/// H(data).
pub(super) fn hash(data: &[u8]) -> Key {
    Sha256::digest(data).into()
}

/// HMAC(key, parts joined).
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Hi(password, salt, iterations): PBKDF2 with one block. Slow on purpose, a millisecond or more.
pub(super) fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    // The key is absorbed once, each round starts from a copy: half the work of keying anew.
    let mac = keyed(password);
    let mut last: Key = round(&mac, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = round(&mac, &[&last]);
        sum = xor(&sum, &last);
    }
    sum
}

/// Both, byte by byte.
pub(super) fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|at| left[at] ^ right[at])
}

fn round(mac: &Hmac<Sha256>, parts: &[&[u8]]) -> Key {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HMAC under a key of any length. Filling the block here leaves nothing that could fail.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; BLOCK_BYTES];
    if key.len() <= BLOCK_BYTES {
        block[..key.len()].copy_from_slice(key);
    } else {
        block[..KEY_BYTES].copy_from_slice(&hash(key));
    }
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_give_the_hmac_of_the_library() {
        for length in [0, 1, 63, 64, 65, 200] {
            let key = vec![0x5a; length];
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(b"left right");
            let expected: Key = mac.finalize().into_bytes().into();
            assert_eq!(hmac(&key, &[b"left ", b"right"]), expected, "{length}");
        }
    }

    /// RFC 7914 section 11 gives PBKDF2-HMAC-SHA-256 of "passwd" / "salt" / 1.
    #[test]
    fn hi_is_pbkdf2() {
        assert_eq!(
            salted_password(b"passwd", b"salt", 1)[..8],
            [0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f]
        );
    }
}
