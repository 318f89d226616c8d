//! The protocol by hand, from `docs/formats/transport.md`: for peers that do what no node does.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anser_transport::Identity;
use aws_lc_rs::hmac;

use crate::rig::PATIENCE;

pub(crate) const MESSAGE: u8 = 1;
pub(crate) const REQUEST: u8 = 2;
pub(crate) const ANSWER: u8 = 3;
pub(crate) const CANCEL: u8 = 4;
pub(crate) const PING: u8 = 5;
pub(crate) const PONG: u8 = 6;
pub(crate) const REFUSE: u8 = 7;

const SECRET: &[u8] = b"the secret of the tests";
const CHALLENGE: [u8; 32] = [0x5a; 32];

/// What a dialler says; changed at will before it is said.
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) cluster: [u8; 16],
    pub(crate) from: u64,
    pub(crate) incarnation: [u8; 16],
    pub(crate) to: u64,
    pub(crate) run: u64,
    pub(crate) start: u64,
    pub(crate) address: String,
    pub(crate) secret: Vec<u8>,
}

pub(crate) struct Raw(pub(crate) TcpStream);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    pub(crate) kind: u8,
    pub(crate) number: u64,
    pub(crate) payload: Vec<u8>,
}

impl Hello {
    pub(crate) fn new(own: Identity, to: u64) -> Self {
        Self {
            version: 2,
            cluster: own.cluster,
            from: own.node,
            incarnation: own.incarnation,
            to,
            run: 1,
            start: 1,
            address: "raw:1".into(),
            secret: SECRET.to_vec(),
        }
    }
}

pub(crate) fn frame(kind: u8, number: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    frame_of(length, kind, 0, number, payload)
}

/// A frame whose length may be a lie.
pub(crate) fn frame_of(length: u32, kind: u8, flags: u8, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(crc32c::crc32c(payload).to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn proof(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, &parts.concat()).as_ref().to_vec()
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// A right handshake as a dialler.
    pub(crate) fn dial(address: SocketAddr, own: Identity, to: u64) -> Self {
        let mut raw = Self::connect(address);
        assert_eq!(raw.shake(&Hello::new(own, to)), 0);
        raw
    }

    /// A handshake as a dialler; gives the listener's status.
    pub(crate) fn shake(&mut self, hello: &Hello) -> u8 {
        let greeting = self.read(40);
        assert_eq!(&greeting[..8], b"ATGR\x02\0\x02\0");
        let challenge = &greeting[8..];
        let mut bytes = b"ATHE".to_vec();
        bytes.extend(hello.version.to_le_bytes());
        let length = u16::try_from(hello.address.len()).unwrap();
        bytes.extend(length.to_le_bytes());
        bytes.extend(hello.cluster);
        bytes.extend(hello.from.to_le_bytes());
        bytes.extend(hello.incarnation);
        bytes.extend(hello.to.to_le_bytes());
        bytes.extend(CHALLENGE);
        bytes.extend(hello.run.to_le_bytes());
        bytes.extend(hello.start.to_le_bytes());
        bytes.extend([7; 16]);
        assert_eq!(bytes.len(), 120);
        bytes.extend(hello.address.as_bytes());
        bytes.extend(proof(
            &hello.secret,
            &[b"anser transport hello", challenge, &bytes],
        ));
        self.0.write_all(&bytes).unwrap();
        let mut welcome = self.read(64);
        assert_eq!(&welcome[..4], b"ATWE");
        let text = u16::from_le_bytes([welcome[6], welcome[7]]);
        welcome.extend(self.read(text.into()));
        let status = welcome[4];
        if matches!(status, 0 | 5..) {
            let (proved, given) = welcome.split_at(welcome.len() - 32);
            let parts: [&[u8]; 4] = [b"anser transport welcome", challenge, &bytes, proved];
            assert_eq!(proof(&hello.secret, &parts), given);
        } else {
            assert_eq!(welcome[5..], [0; 59]);
        }
        status
    }

    /// A right handshake as the listener with this identity.
    pub(crate) fn accept(listener: &TcpListener, own: Identity) -> Self {
        Self::accept_with(listener, own, SECRET)
    }

    pub(crate) fn accept_with(listener: &TcpListener, own: Identity, secret: &[u8]) -> Self {
        let mut raw = Self::on(listener.accept().unwrap().0);
        let mut greeting = b"ATGR\x02\0\x02\0".to_vec();
        greeting.extend(CHALLENGE);
        raw.0.write_all(&greeting).unwrap();
        let mut hello = raw.read(120);
        let address = u16::from_le_bytes([hello[6], hello[7]]);
        hello.extend(raw.read(usize::from(address) + 32));
        let mut welcome = b"ATWE\0\0\0\0".to_vec();
        welcome.extend(own.node.to_le_bytes());
        welcome.extend(own.incarnation);
        let parts: [&[u8]; 4] = [b"anser transport welcome", &CHALLENGE, &hello, &welcome];
        welcome.extend(proof(secret, &parts));
        raw.0.write_all(&welcome).unwrap();
        raw
    }

    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next frame, of whatever kind.
    pub(crate) fn any_frame(&mut self) -> RawFrame {
        let header = self.read(22);
        let length = u32::from_le_bytes(header[..4].try_into().unwrap());
        RawFrame {
            kind: header[4],
            number: u64::from_le_bytes(header[6..14].try_into().unwrap()),
            payload: self.read(length as usize),
        }
    }

    /// The next frame that is no ping.
    pub(crate) fn frame(&mut self) -> RawFrame {
        loop {
            let frame = self.any_frame();
            if frame.kind != PING {
                return frame;
            }
        }
    }

    /// Waits until the other side has closed.
    pub(crate) fn closed(self) {
        assert!(self.closes(), "it is still open");
    }

    /// Whether the other side closes in time.
    pub(crate) fn closes(mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}
