//! Connections that are carried as bytes.

use squall_net::exposition::{Exposition, Kind};

use super::{Side, State, side_word};

impl State {
    pub(super) fn render_streams(&self, page: &mut Exposition) {
        let name = "squall_streams_total";
        page.family(name, Kind::Counter, "Connections carried as bytes that are over, by how they ended.");
        for ((side, route, backend, ended), count) in self.streams.iter() {
            let labels = self.labels(*side, *route, *backend);
            page.sample(name, &[&labels[..], &[("ended", *ended)]].concat(), count);
        }
        let name = "squall_streams_open";
        page.family(name, Kind::Gauge, "Connections carried as bytes that are not over.");
        for (side, count) in [Side::Outbound, Side::Inbound].into_iter().zip(self.streams_open) {
            page.sample(name, &[("side", side_word(side))], count);
        }
        let name = "squall_stream_duration_seconds";
        page.family(name, Kind::Histogram, "How long connections carried as bytes lasted.");
        for ((side, route, backend), histogram) in self.stream_durations.iter() {
            histogram.render(page, name, &self.labels(*side, *route, *backend));
        }
        let name = "squall_stream_bytes_total";
        page.family(name, Kind::Counter, "Bytes of such connections, from callers (up) and to them (down).");
        for ((side, route, backend, direction), count) in self.stream_bytes.iter() {
            let labels = self.labels(*side, *route, *backend);
            page.sample(name, &[&labels[..], &[("direction", *direction)]].concat(), count);
        }
        page.single(
            "squall_strangers_refused_total",
            Kind::Counter,
            "Connections to addresses that the mesh does not know, refused as was asked for.",
            self.strangers_refused,
        );
    }
}
