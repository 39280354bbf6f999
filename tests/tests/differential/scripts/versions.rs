//! What a broker speaks, and how it says so.

use crate::session::Session;
use serde_json::json;

pub(crate) fn play(s: &mut Session) {
    let java = json!({"client_software_name": "apache-kafka-java", "client_software_version": "4.3.1"});
    s.each("java asks", "ApiVersions", java);
    for name in ["", "-a", "a b", "a_b"] {
        s.from(
            &format!("software {name:?}"),
            "ApiVersions",
            3,
            json!({
                "client_software_name": name, "client_software_version": "1",
            }),
        );
        s.from(
            &format!("software version {name:?}"),
            "ApiVersions",
            3,
            json!({
                "client_software_name": "a", "client_software_version": name,
            }),
        );
    }
    s.send_frame_of(18, 99, b"\0whatever it is by then");
    s.hear("a version to come", "ApiVersions", 4);
    for (key, version) in [(0, 2), (0, 14), (3, 14), (18 + 400, 0), (-1, 0), (12, -1), (4, 0)] {
        s.send_frame_of(key, version, &[0; 24]);
        s.hear_end(&format!("API {key} version {version}"));
    }
    s.send_frame_of(3, 1, &[0, 0xff, 0x7f]);
    s.hear_end("half a request");
    s.send_frame_of(3, 1, &[0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    s.hear_end("a count that nothing backs");
}
