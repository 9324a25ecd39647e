//! The first bytes of a connection, whatever they are: an answer comes, without harm, and one that was given of a beginning holds for
//! all that begins so. A ClientHello means the same in records of any size.

use squall_net::detect::{LOOK_BYTES, Look, Spoken, detect};

/// Runs the target on these bytes; panics where the claim does not hold.
pub fn run(bytes: &[u8]) {
    let whole = detect(bytes);
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let beginning = detect(&bytes[..end]);
        assert!(beginning == Look::More || beginning == whole, "{beginning:?}, then {whole:?}");
    }
    if let Look::Is(Spoken::Tls(hello)) = &whole
        && let Some(name) = &hello.server_name
    {
        assert!(name.len() <= 253 && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Look::Is(Spoken::Tls(hello)) = &whole {
        let count = (0..=255).filter(|byte| hello.offers(&[*byte])).count();
        assert!(count <= LOOK_BYTES / 2 && !hello.offers(b""));
    }
    // As one handshake message, cut into small records: the same as in one record.
    let message = &bytes[..bytes.len().min(2000)];
    if !message.is_empty() {
        let record = |part: &[u8]| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat();
        let small: Vec<u8> = message.chunks(37).flat_map(record).collect();
        assert!(small.len() < LOOK_BYTES);
        assert_eq!(detect(&record(message)), detect(&small));
    }
}
