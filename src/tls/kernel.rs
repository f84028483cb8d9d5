//! What the kernel knows of a TCP connection: when bytes came, how the network is, what it still takes. And what it
//! can have back: pages of memory whose content nobody needs.
//!
//! The one file with unsafe code: no crate in the tree wraps `SO_TIMESTAMPING`, `TCP_INFO`,
//! `TCP_DEFER_ACCEPT`, `SO_MEMINFO`, `SIOCOUTQNSD`, a `recvmsg` whose control data holds time stamps, or
//! an `madvise` of a slice. Everything it exports is safe, and each unsafe call states what makes it so.

#![allow(
    unsafe_code,
    reason = "a few system calls on buffers of our own that no crate in the tree wraps"
)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::ReadBuf;

/// What `TCP_INFO` tells of a connection. Counts are those of the connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFacts {
    /// The smoothed round trip time; `None` before the first sample.
    pub rtt: Option<Duration>,
    /// Its mean deviation.
    pub rtt_variance: Option<Duration>,
    /// The shortest round trip time seen; the first sample is that of the SYN and ACK.
    pub min_rtt: Option<Duration>,
    /// Segments that were sent again.
    pub retransmissions: u32,
    /// The congestion window, in segments.
    pub congestion_window: u32,
    /// The most bytes that a segment of ours carries.
    pub segment_size: u32,
    /// Segments with data that came.
    pub segments_in: u32,
    /// Segments with data that went, repetitions included.
    pub segments_out: u32,
}

impl TcpFacts {
    /// How many round trips more than one so many bytes take from now on, if nothing is lost:
    /// slow start doubles the window with each (RFC 5681 section 3.1).
    pub(super) fn round_trips_beyond_the_first(&self, bytes: usize) -> u8 {
        let mut window = u64::from(self.congestion_window) * u64::from(self.segment_size);
        if window == 0 {
            return 0;
        }
        let mut left = bytes as u64;
        let mut more = 0;
        while left > window && more < u8::MAX {
            left -= window;
            window = window.saturating_mul(2);
            more += 1;
        }
        more
    }
}

/// Room for the time stamps' control message (64 bytes where pointers have 8) and for one that
/// the kernel might add.
const CONTROL: usize = 128;
/// Up to the last field that is read. Newer kernels have more, and fill as much as there is room.
const INFO: usize = 160;

/// Makes the kernel stamp what this socket receives; sockets that a listening one accepts inherit
/// it, and with it the stamps of what came before they were accepted. Where no socket of the
/// machine had it yet, the kernel takes a moment to begin.
///
/// # Errors
/// The system's.
pub fn stamp_arrivals(socket: &impl AsFd) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is a `c_uint`
    // that outlives the call, whose length is the one given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const flags).cast(),
            length_of(size_of_val(&flags)),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a listening socket keeps connections from `accept` until their first bytes are there
/// (`TCP_DEFER_ACCEPT`); one that sends nothing is accepted after a second all the same.
///
/// # Errors
/// The system's.
pub fn defer_accept(socket: &impl AsFd, defer: bool) -> io::Result<()> {
    let seconds = libc::c_int::from(defer);
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is a `c_int` that
    // outlives the call, whose length is the one given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length_of(size_of_val(&seconds)),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives into what is unfilled of `buffer`, and tells how many bytes these are and when the last
/// of them came where the kernel has stamped it. Of several segments that are read at once only the
/// last one's stamp is known.
///
/// The stamp is of the wall clock. It is converted by reading both clocks, the monotonic one
/// first: what passes between the readings (some 50 ns, or a preemption) makes the arrival
/// earlier, never later. A stamp in the future, after a step of the wall clock, is none.
///
/// # Errors
/// The system's; [`io::ErrorKind::WouldBlock`] when nothing is there.
pub(super) fn receive(
    socket: &impl AsFd,
    buffer: &mut ReadBuf<'_>,
) -> io::Result<(usize, Option<Instant>)> {
    let mut control = [0_u8; CONTROL];
    // SAFETY: nothing but bytes that are initialised is written there, by the kernel.
    let space = unsafe { buffer.unfilled_mut() };
    let mut vector = libc::iovec {
        iov_base: space.as_mut_ptr().cast(),
        iov_len: space.len(),
    };
    // SAFETY: all zeroes are a valid `msghdr`: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: the descriptor is open while it is borrowed. The message names one vector of bytes
    // and a control buffer, both borrowed mutably, alive until after the call, and no longer than
    // given; the kernel writes plain bytes, for which every value is valid.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
    // Negative is the one way in which this fails.
    let Ok(received) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has written so many bytes at the start of what is unfilled.
    unsafe { buffer.assume_init(received) };
    buffer.advance(received);
    #[allow(
        clippy::useless_conversion,
        reason = "its type differs between C libraries"
    )]
    let filled = usize::try_from(message.msg_controllen).unwrap_or(0);
    let stamp = control.get(..filled).and_then(stamp);
    Ok((received, stamp.and_then(to_monotonic)))
}

/// What `TCP_INFO` tells; `None` where the socket is none of TCP, or the kernel tells too little.
pub(super) fn tcp_facts(socket: &impl AsFd) -> Option<TcpFacts> {
    let mut info = [0_u8; INFO];
    let mut length = length_of(INFO);
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length`
    // bytes into `info`, which is as long, and how many it wrote into `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let filled = info.get(..usize::try_from(length).ok()?)?;
    if result != 0 {
        return None;
    }
    parse_info(filled)
}

/// How many bytes more the kernel takes of what is sent, about: each also costs it some memory of
/// its own. `unsent` is how many it takes that it cannot send yet (`TCP_NOTSENT_LOWAT`). `None` where
/// it does not tell (`SO_MEMINFO` and `SIOCOUTQNSD`).
pub fn send_room(socket: &impl AsFd, unsent: usize) -> Option<usize> {
    // linux/sockios.h; libc has it for no target.
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    // Places in what the kernel writes (linux/sock_diag.h).
    const LIMIT: usize = 3;
    const QUEUED: usize = 5;
    let mut memory = [0_u32; 9];
    let mut length = length_of(size_of_val(&memory));
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length`
    // bytes into `memory`, which is as long, and how many it wrote into `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let needed = length_of((QUEUED + 1) * size_of::<u32>());
    if result != 0 || length < needed {
        return None;
    }
    let mut waiting: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes one `int`.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCOUTQNSD, &raw mut waiting) };
    if result != 0 {
        return None;
    }
    let room = usize::try_from(memory[LIMIT].saturating_sub(memory[QUEUED])).ok()?;
    Some(room.min(unsent.saturating_sub(usize::try_from(waiting).ok()?)))
}

/// Gives the whole pages within `bytes` back to the kernel, where there are any: they hold zeroes
/// then, or what they held, and cost nothing until they are touched again. Bytes on pages that
/// `bytes` covers in part stay as they are.
///
/// Costs a system call, and the next use of each page a fault. Nothing happens where the kernel
/// does not want them back (locked or huge pages).
pub(super) fn give_back(bytes: &mut [u8]) {
    let Some(page) = page_size() else { return };
    let before = bytes.as_ptr().align_offset(page);
    let Some(pages) = bytes.get_mut(before..) else {
        return;
    };
    let length = pages.len() - pages.len() % page;
    if length == 0 {
        return;
    }
    // SAFETY: the range lies within a slice that is borrowed mutably, so nobody else reads or
    // writes it meanwhile, and it covers its first and last page whole, so no byte outside of the
    // slice changes. The pages stay mapped, and whatever they read as afterwards (zeroes, if they
    // are private and anonymous, as the allocator's are) is a valid value of a `u8`.
    let result = unsafe { libc::madvise(pages.as_mut_ptr().cast(), length, libc::MADV_DONTNEED) };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::trace!(%error, "madvise failed");
    }
}

/// The size of a page, where the system tells one that makes sense.
fn page_size() -> Option<usize> {
    // SAFETY: no pointer is involved.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two())
}

/// The offsets are those of `struct tcp_info` in `linux/tcp.h`, which only ever grows at its end.
fn parse_info(info: &[u8]) -> Option<TcpFacts> {
    let field = |at: usize| {
        let bytes = info.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    // 0 and all ones stand for "not known yet".
    let time = |at| {
        let micros = field(at).filter(|&micros| micros != 0 && micros != u32::MAX)?;
        Some(Duration::from_micros(micros.into()))
    };
    Some(TcpFacts {
        rtt: time(68),
        rtt_variance: time(72),
        min_rtt: time(148),
        retransmissions: field(100)?,
        congestion_window: field(80)?,
        segment_size: field(16)?,
        segments_in: field(152)?,
        segments_out: field(156)?,
    })
}

/// The software stamp of a control buffer (cmsg(3)): three `timespec`s, of which it is the first.
fn stamp(mut control: &[u8]) -> Option<SystemTime> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    let int = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(i32::from_ne_bytes(bytes))
    };
    // Of another size where words have 32 bits: then nothing is known.
    let long = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        u64::try_from(i64::from_ne_bytes(bytes)).ok()
    };
    loop {
        let length = usize::from_ne_bytes(control.get(..WORD)?.try_into().ok()?);
        let message = control.get(..length)?;
        let (level, kind) = (int(message, WORD)?, int(message, WORD + 4)?);
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING)
            && message.len() == HEADER + 3 * 16
        {
            let seconds = long(message, HEADER)?;
            let nanos = u32::try_from(long(message, HEADER + 8)?).ok()?;
            let since =
                Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()));
            return UNIX_EPOCH.checked_add(since.filter(|since| !since.is_zero())?);
        }
        // A length below that of a header would be read again for ever.
        control = control.get(length.max(HEADER).next_multiple_of(WORD)..)?;
    }
}

fn to_monotonic(stamp: SystemTime) -> Option<Instant> {
    let monotonic = Instant::now();
    let age = SystemTime::now().duration_since(stamp).ok()?;
    monotonic.checked_sub(age)
}

fn length_of(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).expect("options have a few bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair(stamped: bool) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if stamped {
            stamp_arrivals(&listener).unwrap();
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let mut pair = (client, listener.accept().unwrap().0);
        // Where no socket had stamps before, the kernel begins with them in its own time.
        while stamped && !comes_stamped(&mut pair) {}
        pair
    }

    fn comes_stamped((client, server): &mut (TcpStream, TcpStream)) -> bool {
        client.write_all(b"?").unwrap();
        read(server, &mut [0]).unwrap().1.is_some()
    }

    fn read(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<Instant>)> {
        receive(socket, &mut ReadBuf::new(buffer))
    }

    #[test]
    fn accepted_sockets_tell_when_bytes_came() {
        let (mut client, server) = pair(true);
        let mut buffer = [0; 16];
        for _ in 0..10 {
            let before = Instant::now();
            client.write_all(b"hello").unwrap();
            let (count, arrival) = read(&server, &mut buffer).unwrap();
            let after = Instant::now();
            assert_eq!(&buffer[..count], b"hello");
            let arrival = arrival.unwrap();
            // The clocks are read within microseconds of one another; a busy machine may be slower.
            let slack = Duration::from_millis(20);
            assert!(arrival + slack >= before, "{:?} early", before - arrival);
            assert!(arrival <= after);
        }
    }

    #[test]
    fn connections_are_kept_from_accept_until_they_say_something() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        defer_accept(&listener, true).unwrap();
        let mut silent = TcpStream::connect(address).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        silent.write_all(b"hello").unwrap();
        // Over loopback it has come when the write returns.
        let (accepted, _) = listener.accept().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(&accepted, &mut buffer).unwrap().0, 5);
        defer_accept(&listener, false).unwrap();
        let _silent = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn bytes_that_lay_unread_are_as_old_as_they_are() {
        let (mut client, server) = pair(true);
        client.write_all(b"hello").unwrap();
        let written = Instant::now();
        let mut peeked = [0; 5];
        while server.peek(&mut peeked).unwrap() < 5 {}
        while written.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let (count, arrival) = read(&server, &mut peeked).unwrap();
        assert_eq!(count, 5);
        assert!(arrival.unwrap().elapsed() >= Duration::from_millis(29));
    }

    #[test]
    fn without_stamps_and_at_the_end_nothing_is_known() {
        let (mut client, server) = pair(false);
        client.write_all(b"hello").unwrap();
        assert_eq!(read(&server, &mut [0; 5]).unwrap(), (5, None));
        let (client, server) = pair(true);
        drop(client);
        assert_eq!(read(&server, &mut [0; 5]).unwrap(), (0, None));
        let (_client, server) = pair(true);
        server.set_nonblocking(true).unwrap();
        let error = read(&server, &mut [0; 5]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn tcp_tells_its_round_trip_and_other_sockets_nothing() {
        let (mut client, server) = pair(true);
        client.write_all(b"hello").unwrap();
        read(&server, &mut [0; 5]).unwrap();
        let sent = tcp_facts(&client).unwrap().segments_out;
        let facts = tcp_facts(&server).unwrap();
        assert!(facts.rtt.unwrap() < Duration::from_secs(5), "{facts:?}");
        assert!(facts.min_rtt.unwrap() < Duration::from_secs(5), "{facts:?}");
        assert_eq!(facts.segments_in, sent, "{facts:?}");
        assert_eq!(facts.segments_out, 0, "{facts:?}");
        assert!(facts.congestion_window >= 2, "{facts:?}");
        assert!(facts.segment_size >= 500, "{facts:?}");
        assert!(sent >= 2, "{sent}");
        assert_eq!(tcp_facts(&UnixStream::pair().unwrap().0), None);
    }

    #[test]
    fn pages_given_back_read_as_zeroes_and_their_neighbours_stay() {
        let page = page_size().unwrap();
        // Larger than what the allocator might put on a page with others.
        let mut bytes = vec![7_u8; 16 * page];
        let start = bytes.as_ptr().align_offset(page);
        let given = start + 1..start + 10 * page - 1;
        give_back(&mut bytes[given]);
        // The first and the last page are not covered whole.
        let (before, rest) = bytes.split_at(start + page);
        let (inner, after) = rest.split_at(8 * page);
        assert!(before.iter().all(|&byte| byte == 7));
        assert!(after.iter().all(|&byte| byte == 7));
        assert!(inner.iter().all(|&byte| byte == 0));
        bytes.fill(9);
        assert!(bytes.iter().all(|&byte| byte == 9));
    }

    #[test]
    fn less_than_a_page_is_not_given_back() {
        for length in [0, 1, 100, 4095] {
            let mut bytes = vec![7_u8; length];
            give_back(&mut bytes);
            assert!(bytes.iter().all(|&byte| byte == 7), "{length}");
        }
    }

    #[test]
    fn a_flight_beyond_the_window_takes_round_trips() {
        let facts = TcpFacts {
            congestion_window: 10,
            segment_size: 1000,
            ..TcpFacts::default()
        };
        for (bytes, more) in [(0, 0), (10_000, 0), (10_001, 1), (30_000, 1), (30_001, 2)] {
            assert_eq!(facts.round_trips_beyond_the_first(bytes), more, "{bytes}");
        }
        assert_eq!(TcpFacts::default().round_trips_beyond_the_first(1), 0);
    }

    #[test]
    fn short_and_strange_answers_are_no_facts() {
        assert_eq!(parse_info(&[0; INFO - 1]), None);
        let mut unknown = [0; INFO];
        unknown[148..152].fill(0xff);
        assert_eq!(parse_info(&unknown), Some(TcpFacts::default()));
        assert_eq!(stamp(&[]), None);
        assert_eq!(stamp(&[0; CONTROL]), None);
        assert_eq!(stamp(&[0xff; CONTROL]), None);
    }
}
