//! What a watcher wants to see, as the query of a URL: `path=/cart*&status=5xx`.

use crate::HowEnded;
use crate::line::{End, Line, Word, how_word, side};

use super::story::Story;

/// What may be asked for, and how.
const KNOWN: &str = "\
side=outbound|inbound, method=GET, status=503 or 5xx (0: none), slower_us=N, \
ended=complete|local|broken|idle|too-long|caller-gone, and with * for any characters: \
authority, path, route, backend, endpoint, peer, reason";

/// Everything that was asked for must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    side: Option<&'static str>,
    method: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    route: Option<String>,
    backend: Option<String>,
    endpoint: Option<String>,
    peer: Option<String>,
    reason: Option<String>,
    ended: Option<&'static str>,
    /// From, to, both included.
    status: Option<(u16, u16)>,
    slower_us: Option<u64>,
}

impl Filter {
    /// Or what is wrong with it, in words.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                return Err(format!("`{name}` says nothing; there are {KNOWN}"));
            }
            let is_new = match &*name {
                "side" => filter.side.replace(word("side", &value, &["outbound", "inbound"])?).is_none(),
                "ended" => {
                    let words = ALL_ENDS.map(how_word);
                    filter.ended.replace(word("ended", &value, &words)?).is_none()
                }
                "status" => filter.status.replace(statuses(&value)?).is_none(),
                "slower_us" => {
                    let micros = value.parse().map_err(|_| format!("`{value}` is no number of microseconds"))?;
                    filter.slower_us.replace(micros).is_none()
                }
                "method" => filter.method.replace(value.into_owned()).is_none(),
                "authority" => filter.authority.replace(value.into_owned()).is_none(),
                "path" => filter.path.replace(value.into_owned()).is_none(),
                "route" => filter.route.replace(value.into_owned()).is_none(),
                "backend" => filter.backend.replace(value.into_owned()).is_none(),
                "endpoint" => filter.endpoint.replace(value.into_owned()).is_none(),
                "peer" => filter.peer.replace(value.into_owned()).is_none(),
                "reason" => filter.reason.replace(value.into_owned()).is_none(),
                _ => return Err(format!("`{name}` is not known; there are {KNOWN}")),
            };
            if !is_new {
                return Err(format!("`{name}` stands there twice"));
            }
        }
        Ok(filter)
    }

    /// False: whatever becomes of the request that has just begun, it will not fit.
    pub(super) fn may_fit(&self, line: &Line) -> bool {
        self.side.is_none_or(|wanted| wanted == side(line.side))
            && self.method.as_ref().is_none_or(|method| *method == *line.word(Word::Method))
            && fits(&self.authority, line.word(Word::Authority))
            && fits(&self.path, line.word(Word::Path))
            && fits(&self.peer, line.word(Word::Peer))
    }

    /// Whether a request that is over fits.
    pub(super) fn fits(&self, story: &Story, end: &End) -> bool {
        let line = story.line();
        self.may_fit(line)
            && fits(&self.route, line.word(Word::Route))
            && fits(&self.backend, line.word(Word::Backend))
            && self.endpoint.as_ref().is_none_or(|glob| story.endpoints().any(|name| matches(glob, name)))
            && fits(&self.reason, line.reason.unwrap_or_default())
            && self.ended.is_none_or(|wanted| wanted == how_word(end.how))
            && self.status.is_none_or(|(from, to)| (from..=to).contains(&end.status))
            && self.slower_us.is_none_or(|least| end.micros() >= least)
    }
}

const ALL_ENDS: [HowEnded; 6] =
    [HowEnded::Complete, HowEnded::Local, HowEnded::Broken, HowEnded::Idle, HowEnded::TooLong, HowEnded::CallerGone];

fn word(name: &str, value: &str, known: &[&'static str]) -> Result<&'static str, String> {
    let found = known.iter().find(|word| **word == value);
    found.copied().ok_or_else(|| format!("`{value}` is no `{name}`; there are {}", known.join(", ")))
}

fn statuses(text: &str) -> Result<(u16, u16), String> {
    let class = match text.strip_suffix("xx") {
        Some(class) => {
            class.parse().ok().filter(|class| (1..=5).contains(class)).map(|class: u16| (class * 100, class * 100 + 99))
        }
        None => text
            .parse()
            .ok()
            .filter(|status| *status == 0 || (100..=599).contains(status))
            .map(|status| (status, status)),
    };
    class.ok_or_else(|| format!("`{text}` is no status; say one such as 503, 5xx, or 0 for none"))
}

fn fits(glob: &Option<String>, text: &str) -> bool {
    glob.as_ref().is_none_or(|glob| matches(glob, text))
}

/// Whether all of `text` is what `glob` says, in which a `*` stands for any characters, or none.
fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return left.is_empty() };
    for part in parts {
        // The earliest place leaves the most for the rest.
        let Some(place) = left.find(part) else { return false };
        left = &left[place + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (glob, fitting, not) in [
            ("/cart", "/cart", "/carts"),
            ("/cart*", "/cart", "/car"),
            ("*", "", "-"),
            ("*.shop", "a.shop", "a.shops"),
            ("a*b*c", "aXbbc", "acb"),
            ("a*a", "aa", "a"),
            ("*b*b", "bb", "b"),
            ("*ab*ab*", "xabyabz", "xaby"),
            ("é*", "éa", "e"),
        ] {
            assert!(matches(glob, fitting), "{glob} {fitting}");
            assert!(glob == "*" || !matches(glob, not), "{glob} {not}");
        }
    }

    #[test]
    fn a_query_is_read_as_urls_write_it() {
        let filter =
            Filter::read("path=%2Fa+b*&status=5xx&side=inbound&slower_us=1500&ended=too-long").expect("a filter");
        let want = Filter {
            path: Some("/a b*".to_owned()),
            status: Some((500, 599)),
            side: Some("inbound"),
            slower_us: Some(1_500),
            ended: Some("too-long"),
            ..Filter::default()
        };
        assert_eq!(filter, want);
        assert_eq!(Filter::read(""), Ok(Filter::default()));
        assert_eq!(Filter::read("status=0").expect("none").status, Some((0, 0)));
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error_that_names_it() {
        for (query, want) in [
            ("pth=/a", "`pth` is not known; there are side="),
            ("path=", "`path` says nothing"),
            ("path=/a&path=/b", "`path` stands there twice"),
            ("side=left", "`left` is no `side`; there are outbound, inbound"),
            ("ended=badly", "`badly` is no `ended`; there are complete,"),
            ("status=6xx", "`6xx` is no status"),
            ("status=600", "`600` is no status"),
            ("status=abc", "`abc` is no status"),
            ("slower_us=1ms", "`1ms` is no number of microseconds"),
        ] {
            let why = Filter::read(query).expect_err(query);
            assert!(why.contains(want), "{query}: {why}");
        }
    }
}
