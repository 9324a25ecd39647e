//! What all requests of one proxy share, besides the mesh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HeaderValue;
use squall_net::Host;
use squall_policy::{Here, Instant, Rng};
use tokio::sync::Semaphore;

use crate::identity::Keyring;
use crate::pool::Pool;
use crate::{Node, Record, Recorder, RequestNumber, Sampling, headers};

/// The machine, the recorder, the connections and the dice of one proxy.
pub(crate) struct Core {
    pub(crate) host: Host,
    pub(crate) pool: Arc<Pool>,
    pub(crate) keyring: Arc<Keyring>,
    /// Where the proxy is.
    pub(crate) here: Here,
    /// The SPIFFE id of its workload; `None`: it is to have none.
    pub(crate) own: Option<Arc<str>>,
    pub(crate) tracing: Option<Sampling>,
    /// Handshakes of those who come in take one each.
    pub(crate) handshakes: Semaphore,
    recorder: Arc<dyn Recorder>,
    requests: AtomicU64,
    /// For ids and weighted backends; the dice of decisions belong to their backends.
    dice: Mutex<Rng>,
    date: Mutex<(u64, HeaderValue)>,
    number: Mutex<(u64, HeaderValue)>,
}

impl Core {
    /// `secure`: it is to have an identity.
    pub(crate) fn new(
        host: &Host,
        recorder: Arc<dyn Recorder>,
        node: &Node,
        keyring: &Arc<Keyring>,
        secure: bool,
        tracing: Option<Sampling>,
        handshakes: u32,
    ) -> Self {
        Self {
            keyring: Arc::clone(keyring),
            here: Here { zone: node.zone.as_str().into(), proxy: node.id().into() },
            own: secure.then(|| node.spiffe_id().into()),
            pool: Arc::default(),
            tracing,
            handshakes: Semaphore::new(handshakes as usize),
            recorder,
            requests: AtomicU64::new(0),
            dice: Mutex::new(host.rng("proxy")),
            date: Mutex::new((u64::MAX, HeaderValue::from_static(""))),
            number: Mutex::new((0, HeaderValue::from_static("0"))),
            host: host.clone(),
        }
    }

    pub(crate) fn next_request(&self) -> RequestNumber {
        RequestNumber(self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn record(&self, at: Instant, record: &Record<'_>) {
        self.recorder.record(at, record);
    }

    pub(crate) fn roll<T>(&self, roll: impl FnOnce(&mut Rng) -> T) -> T {
        roll(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number as a value. Written once if it comes again and again, as the time that a route leaves does.
    pub(crate) fn decimal(&self, number: u64) -> HeaderValue {
        let mut last = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != number {
            *last = (number, headers::decimal(number));
        }
        last.1.clone()
    }

    /// The `Date` of an answer made now. Made once a second.
    pub(crate) fn date(&self) -> HeaderValue {
        let seconds = self.host.wall().since_epoch().as_secs();
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if date.0 != seconds {
            *date = (seconds, HeaderValue::try_from(http_date(seconds)).expect("letters, digits and colons"));
        }
        date.1.clone()
    }
}

/// IMF-fixdate (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, second) = calendar(seconds);
    format!(
        "{}, {day:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[(seconds / 86_400 % 7) as usize],
        MONTHS[month as usize],
        year,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month from 0, day from 1, and second of the day.
fn calendar(seconds: u64) -> (u64, u64, u64, u64) {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    (era * 400 + year + next, month, day, second)
}

/// RFC 3339 to the millisecond: `1994-11-06T08:49:37.250Z`.
pub(crate) fn timestamp(since_epoch: std::time::Duration) -> String {
    let (year, month, day, second) = calendar(since_epoch.as_secs());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    // Where each number ends.
    for (number, end) in [
        (year % 10_000, 4),
        (month + 1, 7),
        (day, 10),
        (second / 3600, 13),
        (second / 60 % 60, 16),
        (second % 60, 19),
        (u64::from(since_epoch.subsec_millis()), 23),
    ] {
        let (mut left, mut place) = (number, end);
        while left > 0 {
            place -= 1;
            text[place] += (left % 10) as u8;
            left /= 10;
        }
    }
    std::str::from_utf8(&text).expect("digits and signs").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(seconds), want);
        }
    }

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        let at = std::time::Duration::from_millis(784_111_777_250);
        assert_eq!(timestamp(at), "1994-11-06T08:49:37.250Z");
    }
}
