//! Lines of the access log are JSON whatever a client sends.

use std::time::Duration;

use fairlead::base::time;
use fairlead::model::failure::FailureKind;
use fairlead::model::name::Name;
use fairlead::telemetry::access_record::{AccessRecord, FIELDS, LineFormat, RequestText};

fn record(path: &[u8]) -> AccessRecord {
    let client = "[2001:db8::7]:40000".parse().unwrap();
    AccessRecord {
        request: RequestText::new(b"GET", b"example.com", path, b"id"),
        status: Some(404),
        total: Duration::from_micros(1500),
        reason: Some(FailureKind::NoRoute),
        ..AccessRecord::begun(time::now(), Name::from("web"), client)
    }
}

#[test]
fn every_byte_in_a_path_gives_one_line_of_valid_json() {
    for byte in 0..=255_u8 {
        let mut text = String::new();
        record(&[b'/', byte, b'x']).write_line(LineFormat::Json, &mut text);
        assert_eq!(text.matches('\n').count(), 1, "{byte}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = line["path"].as_str().unwrap();
        assert!(path.starts_with('/'), "{byte}: {path}");
        assert_eq!(line["total_seconds"], 0.0015);
        let known = |name: &String| FIELDS.iter().any(|(field, _)| field == name);
        assert!(line.as_object().unwrap().keys().all(known));
    }
}
