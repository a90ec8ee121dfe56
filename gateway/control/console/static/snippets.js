// Examples of how a key is used, ready to paste.

const GREETING = "Hello!";

/** A text as one word of a POSIX shell. */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A text as a literal of Python and of JavaScript alike. */
function literal(text) {
  return JSON.stringify(text);
}

function environment({ key, endpoint }) {
  return `export OPENAI_API_KEY=${shellWord(key)}\nexport OPENAI_BASE_URL=${shellWord(endpoint)}`;
}

function curl({ key, endpoint, model }) {
  const body = `{"model": ${literal(model)}, "messages": [{"role": "user", "content": ${literal(GREETING)}}]}`;
  return `curl ${shellWord(`${endpoint}/chat/completions`)} \\
  -H ${shellWord(`Authorization: Bearer ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${shellWord(body)}`;
}

function python({ key, endpoint, model }) {
  return `from openai import OpenAI

client = OpenAI(
    base_url=${literal(endpoint)},
    api_key=${literal(key)},
)
reply = client.chat.completions.create(
    model=${literal(model)},
    messages=[{"role": "user", "content": ${literal(GREETING)}}],
)
print(reply.choices[0].message.content)`;
}

function node({ key, endpoint, model }) {
  return `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${literal(endpoint)},
  apiKey: ${literal(key)},
});
const reply = await client.chat.completions.create({
  model: ${literal(model)},
  messages: [{ role: "user", content: ${literal(GREETING)} }],
});
console.log(reply.choices[0].message.content);`;
}

/** The snippets by name; each takes {key, endpoint, model}. */
export const SNIPPETS = { environment, curl, python, node };
