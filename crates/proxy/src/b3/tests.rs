use super::*;

const TRACE: u128 = 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7;
const SPAN: u64 = 0xe457_b5a2_e4d8_6bd1;

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn said(lines: &[(&'static str, &'static str)]) -> (Said, Formats, HeaderMap) {
    let mut headers = map(lines);
    let seen = Seen::of(&headers);
    let (said, formats) = read(&mut headers, seen);
    (said, formats, headers)
}

fn ids(is_short: bool) -> Option<Ids> {
    let trace = if is_short { TRACE & u128::from(u64::MAX) } else { TRACE };
    Some(Ids { trace, span: SPAN, is_short })
}

#[test]
fn the_single_header_is_read_as_the_specification_has_it() {
    use Decision::{Accept, Debug, Deny};
    for (line, want) in [
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90", (ids(false), Some(Accept))),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d-05e3ac9a4f6e3b90", (ids(false), Some(Debug))),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0", (ids(false), Some(Deny))),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1", (ids(false), None)),
        ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-1", (ids(true), Some(Accept))),
        ("0", (None, Some(Deny))),
        ("1", (None, Some(Accept))),
        ("d", (None, Some(Debug))),
    ] {
        let (said, formats, headers) = said(&[("b3", line)]);
        assert_eq!((said.ids, said.decision), want, "{line}");
        assert!(formats.single && !formats.several, "{line}");
        assert_eq!(headers["b3"], line);
    }
}

#[test]
fn several_headers_are_read_as_the_specification_has_it() {
    use Decision::{Accept, Debug, Deny};
    let trace = ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7");
    let (span, parent) = (("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-parentspanid", "05e3ac9a4f6e3b90"));
    let sampled = |word| ("x-b3-sampled", word);
    let flags = |word| ("x-b3-flags", word);
    for (lines, want) in [
        (vec![trace, span, parent, sampled("1")], (ids(false), Some(Accept))),
        (vec![trace, span, sampled("0")], (ids(false), Some(Deny))),
        (vec![trace, span], (ids(false), None)),
        (vec![trace, span, sampled("true")], (ids(false), Some(Accept))),
        (vec![trace, span, sampled("False")], (ids(false), Some(Deny))),
        (vec![trace, span, flags("1")], (ids(false), Some(Debug))),
        (vec![trace, span, flags("1"), sampled("0")], (ids(false), Some(Debug))),
        (vec![trace, span, flags("0"), sampled("0")], (ids(false), Some(Deny))),
        (vec![trace, span, flags("5")], (ids(false), None)),
        (vec![("x-b3-traceid", "64fe8b2a57d3eff7"), span, sampled("1")], (ids(true), Some(Accept))),
        (vec![trace, ("x-b3-traceid", "another"), span], (ids(false), None)),
        (vec![sampled("0")], (None, Some(Deny))),
        (vec![sampled("1")], (None, Some(Accept))),
        (vec![flags("1")], (None, Some(Debug))),
    ] {
        let (said, formats, headers) = said(&lines);
        assert_eq!((said.ids, said.decision), want, "{lines:?}");
        assert!(formats.several && !formats.single, "{lines:?}");
        assert_eq!(headers, map(&lines));
    }
}

#[test]
fn what_is_no_sound_b3_says_nothing_and_goes_nowhere() {
    let (trace, span) = (("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1"));
    let mut broken: Vec<Vec<(&str, &str)>> = [
        "",
        "-",
        "2",
        "D",
        "true",
        "80f198ee56343ba864fe8b2a57d3eff7",
        "80f198ee56343ba864fe8b2a57d3eff7-",
        "80F198EE56343BA864FE8B2A57D3EFF7-e457b5a2e4d86bd1-1",
        "00000000000000000000000000000000-e457b5a2e4d86bd1-1",
        "80f198ee56343ba864fe8b2a57d3eff7-0000000000000000-1",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd-1",
        "0f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        "80f198ee56343ba8g4fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-0000000000000000",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90-",
    ]
    .map(|line| vec![("b3", line)])
    .to_vec();
    broken.extend([
        vec![trace],
        vec![span],
        vec![trace, ("x-b3-spanid", "0000000000000000")],
        vec![("x-b3-traceid", "80f198ee56343ba8"), ("x-b3-spanid", "xyz")],
        vec![trace, span, ("x-b3-sampled", "maybe")],
        vec![trace, span, ("x-b3-sampled", "d")],
        vec![trace, span, ("x-b3-parentspanid", "short")],
    ]);
    for lines in broken {
        let (said, formats, headers) = said(&lines);
        assert_eq!((said, formats), Default::default(), "{lines:?}");
        assert!(headers.is_empty(), "{lines:?} leaves {headers:?}");
    }
}

#[test]
fn the_single_header_counts_before_the_others_if_it_is_sound() {
    let several = [("x-b3-traceid", "00000000000000aa"), ("x-b3-spanid", "00000000000000bb")];
    let sound = ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
    let (both, formats, _) = said(&[several[0], several[1], sound]);
    assert_eq!((both.ids, formats.single, formats.several), (ids(false), true, true));
    let (others, formats, headers) = said(&[several[0], several[1], ("b3", "broken")]);
    assert_eq!(others.ids, Some(Ids { trace: 0xaa, span: 0xbb, is_short: true }));
    assert_eq!((formats.single, formats.several, headers.contains_key("b3")), (false, true, false));
}

/// What is written for a caller who said `lines`.
#[track_caller]
fn check(
    lines: &[(&'static str, &'static str)],
    parent: Option<u64>,
    is_sampled: bool,
    want: &[(&'static str, &'static str)],
) {
    let (said, formats, mut headers) = said(lines);
    let trace = said.ids.map_or(TRACE, |ids| ids.trace);
    formats.write(&mut headers, trace, 0xa1, parent, is_sampled);
    assert_eq!(headers, map(want));
    let seen = Seen::of(&headers);
    let (again, _) = read(&mut headers, seen);
    assert_eq!(again.ids.map(|ids| (ids.trace, ids.span)), (!lines.is_empty()).then_some((trace, 0xa1)));
}

#[test]
fn callers_are_followed_in_the_formats_they_used() {
    let span = ("x-b3-spanid", "e457b5a2e4d86bd1");
    let next = ("x-b3-spanid", "00000000000000a1");
    let long = ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7");
    let (short, parent) = (("x-b3-traceid", "64fe8b2a57d3eff7"), ("x-b3-parentspanid", "00000000000000b2"));
    check(&[], Some(0xb2), true, &[]);
    check(
        &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1")],
        Some(0xb2),
        false,
        &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-00000000000000a1-0-00000000000000b2")],
    );
    check(
        &[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1-d")],
        Some(0xb2),
        true,
        &[("b3", "64fe8b2a57d3eff7-00000000000000a1-d-00000000000000b2")],
    );
    check(&[("b3", "1")], None, true, &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-00000000000000a1-1")]);
    check(&[long, span], Some(0xb2), true, &[long, next, parent, ("x-b3-sampled", "1")]);
    check(
        &[long, span, ("x-b3-flags", "1"), ("x-b3-sampled", "1")],
        Some(0xb2),
        true,
        &[long, next, parent, ("x-b3-flags", "1")],
    );
    check(&[short, span, ("x-b3-sampled", "false")], Some(0xb2), false, &[short, next, parent, ("x-b3-sampled", "0")]);
    // A trace that begins here has no parent, whatever was said of one.
    check(
        &[("x-b3-sampled", "0"), ("x-b3-parentspanid", "e457b5a2e4d86bd1")],
        None,
        false,
        &[long, next, ("x-b3-sampled", "0")],
    );
}

#[test]
fn beside_a_traceparent_b3_says_what_that_says() {
    let (debug, formats, mut headers) = said(&[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1-d")]);
    let of_another = formats.beside(debug, TRACE);
    of_another.write(&mut headers, TRACE, 0xa1, None, true);
    assert_eq!(headers["b3"], "80f198ee56343ba864fe8b2a57d3eff7-00000000000000a1-1");
    let short = TRACE & u128::from(u64::MAX);
    for (is_sampled, want) in
        [(true, "64fe8b2a57d3eff7-00000000000000a1-d"), (false, "64fe8b2a57d3eff7-00000000000000a1-0")]
    {
        formats.beside(debug, short).write(&mut headers, short, 0xa1, None, is_sampled);
        assert_eq!(headers["b3"], want);
    }
}
