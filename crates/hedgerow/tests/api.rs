//! Tests of the API over a real socket, with the real model.

mod support;

use serde_json::{Value, json};
use support::Server;

fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Say hi." }], "max_tokens": 8, "temperature": 0 })
}

fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

/// A claim about the API, and its check.
type Claim = (&'static str, fn(&Server));

/// Uses one server for all claims, because starting one measures the machine, which takes seconds.
#[test]
fn the_api_behaves_as_documented() {
    let Some(server) = Server::start(&[]) else { return };
    let claims: [Claim; 15] = [
        ("it reports its health and what it serves", reports_what_it_serves),
        ("a chat is answered whole, with its usage", answers_a_chat),
        ("a stream has the same text in pieces", streams_the_same_text),
        ("a completion continues a text or tokens", continues_a_text),
        ("the same seed gives the same text", same_seed_same_text),
        ("a stop text ends the answer and is not shown", stops_at_a_stop_text),
        ("an answer of a set length ignores the end token", ignores_the_end_token),
        ("a prefix of another prompt is computed once", caches_prefixes),
        ("a request may bypass the prefix cache", bypasses_the_cache),
        ("an infeasible deadline is refused for good", refuses_an_infeasible_deadline),
        ("a deadline that can be met is met", meets_a_deadline),
        ("a quality floor is checked", checks_the_quality_floor),
        ("bad input gets one clear error", refuses_bad_input),
        ("a body that is too large is refused", refuses_a_large_body),
        ("the metrics have counted all of it", counts_everything),
    ];
    for (claim, check) in claims {
        eprintln!("{claim}");
        check(&server);
    }
    assert!(server.terminate(), "SIGTERM ends it well");
}

fn reports_what_it_serves(server: &Server) {
    assert_eq!(server.get("/livez").json(), json!({ "status": "ok" }));
    for path in ["/health", "/v1/health", "/readyz"] {
        let health = server.get(path).json();
        assert_eq!(health["status"], "ok", "{path}");
        assert_eq!(health["kernels"][0]["precision"], "Q4_1", "{path}");
        assert!(["fast", "plain"].map(Value::from).contains(&health["kernels"][0]["in_use"]), "{health}");
    }
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "small");
    assert_eq!(models["data"][0]["hedgerow"]["precision"], "Q4_1");
    let known = &models["data"][0]["hedgerow"]["catalogue"];
    assert_eq!(known["decode"][0]["tokens_per_s"]["source"]["kind"], "measured");
    assert_eq!(known["file"], serde_json::Value::Null, "the path of the file is private");
    assert_eq!(server.get("/v1/models/small:Q4_1").json(), models["data"][0]);
    assert_eq!(server.get("/v1/models/large").code(), "model_not_found");
}

fn answers_a_chat(server: &Server) {
    let answer = server.chat(&[("x-request-id", "mine")], &with(hello(), json!({ "model": "small" })));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert!(!body["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
    let usage = &body["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    assert!(count("completion_tokens") <= 8);
}

fn streams_the_same_text(server: &Server) {
    let whole = server.chat(&[], &hello()).json();
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let answer = server.chat(&[], &with(hello(), more));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    let reasons: Vec<_> =
        events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, [whole["choices"][0]["finish_reason"].as_str().unwrap()]);
    let usage = &events.last().unwrap()["usage"];
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(usage[count], whole["usage"][count], "{count}");
    }
}

fn continues_a_text(server: &Server) {
    let ask = |prompt: Value| {
        let body = json!({ "prompt": prompt, "max_tokens": 6, "temperature": 0 });
        let answer = server.send("POST", "/v1/completions", &[], &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let text = ask(json!("The capital of France is"));
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(ask(json!(["The capital of France is"])), text);
    assert!(!ask(json!([504, 3575, 282, 4649, 314])).is_empty());
}

fn same_seed_same_text(server: &Server) {
    let ask = |seed: i64| {
        // A prompt computed in other chunks may round differently, which can change a sampled token.
        let more = json!({ "temperature": 1.5, "seed": seed, "max_tokens": 24, "cache_prompt": false });
        let body = with(hello(), more);
        server.chat(&[], &body).json()["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(ask(7), ask(7));
    assert_ne!(ask(7), ask(8));
}

fn stops_at_a_stop_text(server: &Server) {
    let body = json!({ "prompt": "1, 2, 3, 4, 5, 6,", "max_tokens": 40, "temperature": 0, "stop": [" 9"] });
    let answer = server.send("POST", "/v1/completions", &[], &body.to_string()).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    let text = choice["text"].as_str().unwrap();
    assert!(text.contains('8') && !text.contains('9'), "{text}");
}

fn ignores_the_end_token(server: &Server) {
    let body = with(hello(), json!({ "ignore_eos": true, "max_tokens": 70 }));
    let answer = server.chat(&[], &body).json();
    assert_eq!(answer["usage"]["completion_tokens"], 70);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

/// Sends a chat with a long system prompt; returns its prompt tokens, how many of them were cached, and the answer.
fn consult(server: &Server, topic: &str, question: &str, more: Value) -> (u64, u64, Value) {
    let system = format!("You know all there is to know about {topic}. ").repeat(8);
    let messages = json!([{ "role": "system", "content": system }, { "role": "user", "content": question }]);
    let body = json!({ "messages": messages, "max_tokens": 12, "temperature": 0 });
    let answer = server.chat(&[], &with(body, more));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = match answer.events().as_slice() {
        [] => answer.json(),
        events => serde_json::from_str(&events[events.len() - 2]).unwrap(),
    };
    let cached = body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    (body["usage"]["prompt_tokens"].as_u64().unwrap(), cached, body)
}

fn caches_prefixes(server: &Server) {
    let counted = |name: &str| server.metric(&format!("hedgerow_prefix_cache_{name}_total"));
    let before = (counted("queries"), counted("hits"));
    let (length, cached, first) = consult(server, "hedges", "How wide?", json!({}));
    assert!(length > 80 && cached < 32, "{cached} of {length}");
    let mut expected = (before.0 + length as f64, before.1 + cached as f64);
    assert_eq!((counted("queries"), counted("hits")), expected);
    let (_, cached, again) = consult(server, "hedges", "How wide?", json!({}));
    assert_eq!((cached, &again["choices"]), (length - 1, &first["choices"]));
    let stream = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (other, shared, _) = consult(server, "hedges", "What else lives there?", stream);
    assert!((64..length).contains(&shared), "the system prompt and more: {shared} of {length}");
    expected = (expected.0 + (length + other) as f64, expected.1 + (cached + shared) as f64);
    assert_eq!((counted("queries"), counted("hits")), expected);
}

fn bypasses_the_cache(server: &Server) {
    let queries = || server.metric("hedgerow_prefix_cache_queries_total");
    let before = queries();
    let apart = || json!({ "cache_prompt": false });
    let (_, cached, first) = consult(server, "orchards", "How wide?", apart());
    assert_eq!(cached, 0);
    let (_, cached, again) = consult(server, "orchards", "How wide?", apart());
    assert_eq!((cached, &again["choices"]), (0, &first["choices"]));
    assert_eq!(queries(), before);
    assert!(consult(server, "orchards", "How wide?", json!({})).1 < 32, "it left nothing for others");
}

fn refuses_an_infeasible_deadline(server: &Server) {
    let by_body = with(hello(), json!({ "hedgerow": { "deadline_ms": 1 } }));
    for answer in [server.chat(&[("x-slo-e2e-ms", "1")], &hello()), server.chat(&[], &by_body)] {
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.code(), "deadline_infeasible");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let hint = answer.json()["error"]["hint"].as_str().unwrap().to_owned();
        assert!(hint.starts_with("ask for a deadline of "), "{hint}");
    }
}

fn meets_a_deadline(server: &Server) {
    let answer = server.chat(&[("x-slo-e2e-ms", "60000")], &hello());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn checks_the_quality_floor(server: &Server) {
    let fine = server.chat(&[("x-slo-min-quality", "1")], &hello());
    assert_eq!(fine.status, 200, "the loaded file is its own reference");
    let absurd = server.chat(&[("x-slo-min-quality", "1.1")], &hello());
    assert_eq!((absurd.status, absurd.code().as_str()), (400, "invalid_value"));
}

fn refuses_bad_input(server: &Server) {
    let long = "word ".repeat(3000);
    let message = json!({ "role": "user", "content": long });
    let refused = [
        (json!({ "messages": [] }), 400, "empty_messages"),
        (json!({}), 400, "invalid_type"),
        (json!({ "messages": "hi" }), 400, "invalid_type"),
        (json!({ "messages": [{ "role": "user" , "content": 5 }] }), 400, "invalid_type"),
        (json!({ "messages": [message], "max_tokens": 4 }), 400, "context_length_exceeded"),
        (with(hello(), json!({ "max_tokens": 4000 })), 400, "context_length_exceeded"),
        (with(hello(), json!({ "max_tokens": 0 })), 400, "invalid_value"),
        (with(hello(), json!({ "model": "gpt-4" })), 404, "model_not_found"),
        (with(hello(), json!({ "temperature": -1 })), 400, "invalid_value"),
        (with(hello(), json!({ "temperature": "warm" })), 400, "invalid_type"),
        (with(hello(), json!({ "top_p": 2 })), 400, "invalid_value"),
        (with(hello(), json!({ "n": 2 })), 400, "invalid_value"),
        (with(hello(), json!({ "tools": [{}] })), 400, "unsupported_parameter"),
        (
            with(hello(), json!({ "response_format": { "type": "json_object" } })),
            400,
            "unsupported_parameter",
        ),
        (with(hello(), json!({ "hedgerow": { "deadline_ms": -5 } })), 400, "invalid_value"),
        (with(hello(), json!({ "hedgerow": { "deadline_ms": 1e12 } })), 400, "invalid_value"),
        (with(hello(), json!({ "hedgerow": { "min_quality": 1.5 } })), 400, "invalid_value"),
    ];
    for (body, status, code) in refused {
        let answer = server.chat(&[], &body);
        let shown = body.to_string().chars().take(120).collect::<String>();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{shown}\n{}", answer.body);
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{shown}");
    }
    let malformed = server.send("POST", "/v1/chat/completions", &[], "{\"messages\": [");
    assert_eq!((malformed.status, malformed.code().as_str()), (400, "invalid_json"));
    assert_eq!(server.get("/v1/nothing").code(), "not_found");
    assert_eq!(server.get("/v1/chat/completions").code(), "method_not_allowed");
    let unknown_token = json!({ "prompt": [99_999_999], "max_tokens": 1 }).to_string();
    assert_eq!(server.send("POST", "/v1/completions", &[], &unknown_token).code(), "invalid_value");
    assert_eq!(server.chat(&[], &hello()).status, 200, "and the server keeps serving");
}

fn refuses_a_large_body(server: &Server) {
    let body = " ".repeat(5 << 20);
    let answer = server.send("POST", "/v1/chat/completions", &[], &body);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
}

fn counts_everything(server: &Server) {
    let text = server.get("/metrics").body;
    for line in [
        "hedgerow_requests_total{outcome=\"rejected\",reason=\"deadline_infeasible\"} 2",
        "hedgerow_num_requests_waiting 0",
        "hedgerow_num_requests_running 0",
        "hedgerow_kv_cache_tokens 0",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    for name in [
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "plan_duration_seconds",
        "batch_size",
    ] {
        assert!(server.metric(&format!("hedgerow_{name}_count")) > 0.0, "{name}");
    }
}
