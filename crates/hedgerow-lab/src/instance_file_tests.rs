use expect_test::{Expect, expect};
use hedgerow_sim::generators::{Family, draw, instance_name};
use serde_json::json;

use super::*;

/// A file of two requests, the second without its optional value.
const GOOD: &str = r#"{
  "format": "hedgerow-instance/1",
  "name": "two",
  "capacity": { "uplink": 10, "downlink": 20, "memory": 30, "compute_us": 40 },
  "requests": [
    { "id": "a", "uplink": 1, "downlink": 2, "memory": 3, "compute_us": 4, "slack_us": 5, "value": 6 },
    { "id": "b", "uplink": 7, "downlink": 8, "memory": 9, "compute_us": 10, "slack_us": 11 }
  ]
}"#;

fn good() -> Value {
    serde_json::from_str(GOOD).unwrap()
}

/// Checks the error message for the valid file after a change.
fn check_change(change: impl FnOnce(&mut Value), message: Expect) {
    let mut file = good();
    change(&mut file);
    check_text(&file.to_string(), message);
}

fn check_text(text: &str, message: Expect) {
    message.assert_eq(&InstanceFile::parse(text.as_bytes()).unwrap_err().to_string());
}

fn check_number(number: Value, message: Expect) {
    check_change(|file| file["requests"][1]["memory"] = number, message);
}

#[test]
fn reads_every_number_into_its_place_and_a_missing_value_as_one() {
    let file = InstanceFile::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(file.name.as_deref(), Some("two"));
    assert_eq!(file.ids, ["a", "b"]);
    assert_eq!(
        file.instance,
        Instance {
            capacity: Capacity { uplink: 10, downlink: 20, memory: 30, compute_us: 40 },
            items: vec![
                Item { uplink: 1, downlink: 2, memory: 3, compute_us: 4, slack_us: 5, value: 6 },
                Item { uplink: 7, downlink: 8, memory: 9, compute_us: 10, slack_us: 11, value: 1 },
            ],
            timing: Timing::Together,
        }
    );
}

#[test]
fn what_is_written_is_read_back() {
    let mut file = InstanceFile::parse(GOOD.as_bytes()).unwrap();
    expect![[r#"
        { "format": "hedgerow-instance/1", "name": "two",
          "capacity": { "uplink": 10, "downlink": 20, "memory": 30, "compute_us": 40 },
          "requests": [
            { "id": "a", "uplink": 1, "downlink": 2, "memory": 3, "compute_us": 4, "slack_us": 5, "value": 6 },
            { "id": "b", "uplink": 7, "downlink": 8, "memory": 9, "compute_us": 10, "slack_us": 11, "value": 1 }
          ] }
    "#]]
    .assert_eq(&file.to_json());
    let check =
        |file: &InstanceFile| assert_eq!(InstanceFile::parse(file.to_json().as_bytes()).unwrap(), *file);
    check(&file);
    file.name = Some("a \"quoted\\name\"\n".to_owned());
    file.ids[1] = "ü\t\u{1}".to_owned();
    file.instance.capacity.memory = NUMBER_LIMIT - 1;
    check(&file);
    file.name = None;
    (file.ids, file.instance.items) = (Vec::new(), Vec::new());
    check(&file);
}

#[test]
fn every_familys_instances_are_read_back() {
    for family in Family::ALL {
        for requests in [1, 2, 30] {
            let instance = draw(family, requests, 1);
            let ids = (0..requests).map(|index| format!("r{index}")).collect();
            let file = InstanceFile { name: Some(instance_name(family, requests, 1)), ids, instance };
            assert_eq!(InstanceFile::parse(file.to_json().as_bytes()).unwrap(), file);
        }
    }
}

#[test]
fn a_file_may_have_no_name_and_no_requests() {
    let mut file = good();
    file["requests"] = json!([]);
    file.as_object_mut().unwrap().remove("name");
    let file = InstanceFile::parse(file.to_string().as_bytes()).unwrap();
    assert_eq!((file.name, file.ids.len()), (None, 0));
}

#[test]
fn the_largest_number_is_one_below_the_limit() {
    let mut file = good();
    file["capacity"]["memory"] = json!(NUMBER_LIMIT - 1);
    let file = InstanceFile::parse(file.to_string().as_bytes()).unwrap();
    assert_eq!(file.instance.capacity.memory, 9_007_199_254_740_991);
    check_change(
        |file| file["capacity"]["memory"] = json!(NUMBER_LIMIT),
        expect!["capacity.memory: 9007199254740992 is not a non-negative integer below 2^53"],
    );
}

#[test]
fn a_wrong_number_is_named_with_its_place() {
    check_number(json!(-1), expect!["requests[1].memory: -1 is not a non-negative integer below 2^53"]);
    check_number(json!(1.5), expect!["requests[1].memory: 1.5 is not a non-negative integer below 2^53"]);
    check_number(json!(2.0), expect!["requests[1].memory: 2.0 is not a non-negative integer below 2^53"]);
    check_number(
        json!("3"),
        expect![[r#"requests[1].memory: "3" is not a non-negative integer below 2^53"#]],
    );
    check_number(json!(null), expect!["requests[1].memory: null is not a non-negative integer below 2^53"]);
    check_number(json!(true), expect!["requests[1].memory: true is not a non-negative integer below 2^53"]);
    check_number(
        json!([1]),
        expect!["requests[1].memory: an array is not a non-negative integer below 2^53"],
    );
    check_number(
        json!({}),
        expect!["requests[1].memory: an object is not a non-negative integer below 2^53"],
    );
    check_number(
        json!(u64::MAX),
        expect!["requests[1].memory: 18446744073709551615 is not a non-negative integer below 2^53"],
    );
    check_number(
        json!("many words that nobody wants to read in a message"),
        expect![[
            r#"requests[1].memory: "many words that nobody wants to read... is not a non-negative integer below 2^53"#
        ]],
    );
    check_text(&GOOD.replace(": 9,", ": 1e400,"), expect!["number out of range at line 7 column 60"]);
    check_text(&GOOD.replace(": 9,", ": NaN,"), expect!["expected value at line 7 column 56"]);
}

#[test]
fn a_missing_key_is_named_with_its_place() {
    let without = |pointer: &str, key: &str, message| {
        let remove =
            |file: &mut Value| drop(file.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key));
        check_change(remove, message);
    };
    without("", "format", expect!["missing field `format`"]);
    without("", "capacity", expect!["missing field `capacity`"]);
    without("", "requests", expect!["missing field `requests`"]);
    without("/capacity", "uplink", expect!["capacity: missing field `uplink`"]);
    without("/requests/1", "slack_us", expect!["requests[1]: missing field `slack_us`"]);
    without("/requests/0", "id", expect!["requests[0]: missing field `id`"]);
}

#[test]
fn an_unknown_key_is_named_with_those_that_are_known() {
    check_change(
        |file| file["node"] = json!(1),
        expect!["node: unknown field `node`, expected one of `format`, `name`, `capacity`, `requests`"],
    );
    check_change(
        |file| file["requests"][0]["memroy"] = json!(1),
        expect![
            "requests[0].memroy: unknown field `memroy`, expected one of `id`, `uplink`, `downlink`, `memory`, `compute_us`, `slack_us`, `value`"
        ],
    );
}

#[test]
fn a_key_given_twice_is_named() {
    let text = GOOD.replace("\"uplink\": 7", "\"downlink\": 7");
    check_text(&text, expect!["requests[1]: duplicate field `downlink`"]);
}

#[test]
fn an_id_given_twice_is_named_with_both_places() {
    check_change(
        |file| file["requests"][1]["id"] = json!("a"),
        expect!["requests[1].id: `a` is also the id of requests[0]"],
    );
}

#[test]
fn an_id_must_be_text() {
    check_change(
        |file| file["requests"][1]["id"] = json!(3),
        expect!["requests[1].id: invalid type: integer `3`, expected a string"],
    );
}

#[test]
fn another_format_is_named_beside_the_right_one() {
    check_change(
        |file| file["format"] = json!("hedgerow-instance/2"),
        expect![[r#"format: "hedgerow-instance/2" is not "hedgerow-instance/1""#]],
    );
    check_change(|file| file["format"] = json!(1), expect![[r#"format: 1 is not "hedgerow-instance/1""#]]);
}

#[test]
fn what_is_no_object_is_said_to_be_none() {
    check_text("[]", expect!["invalid type: sequence, expected an object"]);
    check_text(
        r#"["hedgerow-instance/1", null, [1, 2, 3, 4], []]"#,
        expect!["invalid type: sequence, expected an object"],
    );
    check_text("3", expect!["invalid type: integer `3`, expected an object"]);
    check_change(
        |file| file["requests"] = json!({}),
        expect!["requests: invalid type: map, expected a sequence"],
    );
    check_change(
        |file| file["requests"][0] = json!(["a", 1, 2, 3, 4, 5]),
        expect!["requests[0]: invalid type: sequence, expected an object"],
    );
    check_change(
        |file| file["requests"][1] = json!(7),
        expect!["requests[1]: invalid type: integer `7`, expected an object"],
    );
    check_change(
        |file| file["capacity"] = json!(null),
        expect!["capacity: invalid type: null, expected an object"],
    );
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    check_text("", expect!["EOF while parsing a value at line 1 column 0"]);
    check_text(
        "{\n  \"format\": \"hedgerow-instance/1\"\n  \"name\": 1\n}",
        expect!["expected `,` or `}` at line 3 column 3"],
    );
    check_text(
        "{\"format\": \"hedgerow-instance/1\", ",
        expect!["EOF while parsing a value at line 1 column 34"],
    );
    check_text(&format!("{GOOD} {{}}"), expect!["trailing characters at line 9 column 3"]);
    check_text(&"[".repeat(10_000), expect!["invalid type: sequence, expected an object"]);
    expect!["invalid unicode code point at line 1 column 13"]
        .assert_eq(&InstanceFile::parse(b"{\"format\": \"\xff\"}").unwrap_err().to_string());
}
