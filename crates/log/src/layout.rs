//! Little-endian fields at fixed places in headers.
//!
//! Every header on disk has a fixed size and is read only after its length was checked, so a field
//! outside the slice is a bug and panics.

/// What the system reads and writes at once: to write less it reads the rest first, so what cannot be read can be written
/// as a whole only.
pub(crate) const PAGE_BYTES: u64 = 4096;

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(field)
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes[at..at + 8].try_into().expect("eight bytes");
    u64::from_le_bytes(field)
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Records and payloads begin at multiples of eight bytes.
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// A length that limits elsewhere keep below 4 GiB.
pub(crate) fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("lengths stay below 4 GiB")
}

/// A place in a file or buffer; this crate runs on 64-bit machines only.
pub(crate) fn wide(length: u64) -> usize {
    usize::try_from(length).expect("a 64-bit machine")
}
