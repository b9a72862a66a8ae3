"""The official client submits a batch to a real server: argument 1 is its base URL."""

import io
import json
import sys
import time

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=2)


def line(number):
    body = {
        "model": "small" if number != 13 else "another",
        "messages": [{"role": "user", "content": f"Say the number {number}."}],
        "max_tokens": 8,
        "temperature": 0,
    }
    return {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def upload(lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return client.files.create(file=("lines.jsonl", io.BytesIO(text.encode())), purpose="batch")


def wait(batch):
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def results(file):
    return [json.loads(line) for line in client.files.content(file).text.splitlines()]


file = upload([line(number) for number in range(1, 21)])
assert file.purpose == "batch" and file.filename == "lines.jsonl", file
assert client.files.retrieve(file.id).bytes == file.bytes == len(client.files.content(file.id).content)

batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "test"}
)
assert batch.status in ("validating", "in_progress") and batch.metadata == {"run": "test"}, batch
assert batch.expires_at - batch.created_at == 24 * 3600
batch = wait(batch)
assert batch.status == "completed", batch
counts = batch.request_counts
assert (counts.total, counts.completed, counts.failed) == (20, 19, 1), counts
output = results(batch.output_file_id)
assert [line["custom_id"] for line in output] == [f"line-{number}" for number in range(1, 21) if number != 13]
for one in output:
    assert one["id"].startswith("batch_req_") and one["error"] is None, one
    response = one["response"]
    assert response["status_code"] == 200 and response["request_id"], one
    assert response["body"]["choices"][0]["message"]["content"], one
    assert response["body"]["usage"]["completion_tokens"] <= 8, one
(error,) = results(batch.error_file_id)
assert error["custom_id"] == "line-13" and error["response"]["status_code"] == 404, error
assert error["response"]["body"]["error"]["code"] == "model_not_found", error

# The same request by itself has the same answer.
alone = client.chat.completions.create(**line(1)["body"], extra_body={"cache_prompt": False})
assert alone.choices[0].message.content == output[0]["response"]["body"]["choices"][0]["message"]["content"]

# Wrong lines fail the batch with their numbers.
wrong = line(2) | {"method": "GET"}
failed = wait(client.batches.create(
    input_file_id=upload([line(1), wrong, line(1)]).id, endpoint="/v1/chat/completions", completion_window="1h"
))
assert failed.status == "failed" and failed.output_file_id is None, failed
faults = [(fault.line, fault.code, fault.param) for fault in failed.errors.data]
assert faults == [(2, "invalid_method", "method"), (3, "duplicate_custom_id", "custom_id")], faults

# A batch that is cancelled ends with what is there.
long = [line(number) for number in range(1, 101)]
for one in long:
    one["body"] |= {"max_tokens": 200, "ignore_eos": True}
cancelled = client.batches.create(
    input_file_id=upload(long).id, endpoint="/v1/chat/completions", completion_window="1h"
)
assert client.batches.cancel(cancelled.id).status == "cancelling"
cancelled = wait(cancelled)
assert cancelled.status == "cancelled", cancelled
try:
    client.batches.cancel(cancelled.id)
    raise SystemExit("a batch was cancelled twice")
except openai.ConflictError as error:
    assert error.code == "batch_ended", error

# A batch whose window passes ends with what is there, and names the rest.
expired = wait(client.batches.create(
    input_file_id=cancelled.input_file_id, endpoint="/v1/chat/completions", completion_window="2s"
))
assert expired.status == "expired" and expired.expired_at >= expired.expires_at, expired
errors = results(expired.error_file_id)
done = results(expired.output_file_id) if expired.output_file_id else []
assert len(errors) + len(done) == 100
assert all(line["error"]["code"] == "batch_expired" for line in errors), errors[0]

# Pages, and what is not there.
page = client.batches.list(limit=2)
assert [batch.id for batch in page.data] == [expired.id, cancelled.id] and page.has_more
assert [batch.id for batch in client.batches.list(limit=2)] == [expired.id, cancelled.id, failed.id, batch.id]
assert {file.purpose for file in client.files.list(purpose="batch_output")} == {"batch_output"}
assert client.files.delete(file.id).deleted
for absent in (
    lambda: client.files.retrieve(file.id),
    lambda: client.files.content("file-none"),
    lambda: client.batches.retrieve("batch_none"),
    lambda: client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    ),
):
    try:
        absent()
        raise SystemExit("something was found that is not there")
    except openai.NotFoundError as error:
        assert error.code in ("file_not_found", "batch_not_found"), error
try:
    client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    raise SystemExit("another purpose was accepted")
except openai.BadRequestError as error:
    assert error.param == "purpose", error

print("the official client is content")
