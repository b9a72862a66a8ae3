"""The official client against a real server: argument 1 is its base URL."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=2)
messages = [{"role": "user", "content": "Say hi."}]

assert [model.id for model in client.models.list()] == ["small"]

answer = client.chat.completions.create(model="small", messages=messages, max_tokens=8, temperature=0)
assert answer.choices[0].message.content
assert answer.usage.completion_tokens <= 8

stream = client.chat.completions.create(
    model="small", messages=messages, max_tokens=8, temperature=0, stream=True,
    stream_options={"include_usage": True}, extra_headers={"x-slo-e2e-ms": "60000"},
)
text, usage = "", None
for chunk in stream:
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
assert text == answer.choices[0].message.content, (text, answer)
assert usage.prompt_tokens == answer.usage.prompt_tokens
assert usage.completion_tokens == answer.usage.completion_tokens
# The same prompt again: all of it is cached except the last token, which must be computed again.
assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1, usage

completion = client.completions.create(model="small", prompt="The capital of France is", max_tokens=4, temperature=0)
assert "Paris" in completion.choices[0].text

# The client obeys x-should-retry: false, so a request with an infeasible deadline is sent only once.
try:
    client.chat.completions.create(
        model="small", messages=messages, max_tokens=8, extra_body={"hedgerow": {"deadline_ms": 1}}
    )
    raise SystemExit("a deadline of 1 ms was accepted")
except openai.UnprocessableEntityError as error:
    assert error.code == "deadline_infeasible", error

try:
    client.chat.completions.create(model="other", messages=messages)
    raise SystemExit("an unknown model was accepted")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error

print("the official client is content")
