//! What is said about batches.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Whether a batch stays as it is.
pub(super) fn has_ended(batch: &Value) -> bool {
    ["completed", "failed", "expired", "cancelled"].iter().any(|status| batch["status"] == *status)
}

/// A batch's status, with its numbers once its lines have been counted.
pub(super) fn summary(batch: &Value) -> String {
    let status = batch["status"].as_str().unwrap_or("in an unknown state");
    let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or(0);
    let (total, completed, failed) = (count("total"), count("completed"), count("failed"));
    if total == 0 {
        return status.to_owned();
    }
    let errors = if failed > 0 { format!(", {failed} with an error") } else { String::new() };
    format!("{status}: {} of {total} requests are done{errors}", completed + failed)
}

/// A batch, in a few lines.
pub(super) fn of_batch(batch: &Value) -> String {
    let id = batch["id"].as_str().unwrap_or_default();
    let mut text = format!("{id}  {}\n", summary(batch));
    if !has_ended(batch) {
        text += &format!("it expires in {}\n", until(batch));
    }
    for error in batch["errors"]["data"].as_array().into_iter().flatten() {
        let message = error["message"].as_str().unwrap_or_default();
        match error["line"].as_i64() {
            Some(line) => text += &format!("line {line}: {message}\n"),
            None => text += &format!("{message}\n"),
        }
    }
    if batch["output_file_id"].is_string() {
        text += &format!("`hedgerow batch fetch {id}` fetches the answers\n");
    }
    if batch["error_file_id"].is_string() {
        text += &format!("`hedgerow batch fetch {id} --errors` fetches the errors\n");
    }
    text
}

/// A list of batches, one per line.
pub(super) fn of_list(batches: &[Value]) -> String {
    if batches.is_empty() {
        return "no batches; `hedgerow batch submit FILE` submits one\n".to_owned();
    }
    let line = |batch: &Value| format!("{}  {}\n", batch["id"].as_str().unwrap_or_default(), summary(batch));
    batches.iter().map(line).collect()
}

/// The time until a batch expires.
fn until(batch: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = batch["expires_at"].as_u64().unwrap_or(0).saturating_sub(now);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_told_in_a_few_lines() {
        let counts = json!({ "total": 20, "completed": 17, "failed": 3 });
        let batch = json!({
            "id": "batch_1", "status": "completed", "request_counts": counts, "output_file_id": "file-1",
            "error_file_id": "file-2",
        });
        assert_eq!(
            of_batch(&batch),
            "batch_1  completed: 20 of 20 requests are done, 3 with an error\n\
             `hedgerow batch fetch batch_1` fetches the answers\n\
             `hedgerow batch fetch batch_1 --errors` fetches the errors\n"
        );
        let failed = json!({ "id": "batch_2", "status": "failed", "errors": { "data": [
            { "line": 3, "message": "`method` is `GET`, but must be POST" }, { "message": "two" },
        ]}});
        assert_eq!(of_batch(&failed), "batch_2  failed\nline 3: `method` is `GET`, but must be POST\ntwo\n");
        assert_eq!(of_list(&[failed]), "batch_2  failed\n");
    }
}
